"""Tests that compare what the old code would have had with what the new one has, as C: woven beside the new code, so
they may neither change anything nor touch memory that the new code does not.

An expression of the old code is computed from copies that the compiler knows nothing of. Else what C leaves undefined
in it (an overflow that the fix is there for) would tell the compiler something of the new code's own values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from suture.tripwire import syntax
from suture.tripwire.syntax import Node, bare, plain

_LEAVES = frozenset({
    "identifier", "field_expression", "subscript_expression", "pointer_expression", "call_expression",
})  # fmt: skip
_WHOLE = frozenset({"sizeof_expression", "alignof_expression", "offsetof_expression", "type_descriptor"})
_CHANGING = frozenset({
    "assignment_expression", "update_expression", "new_expression", "delete_expression", "lambda_expression",
    "throw_expression", "co_await_expression",
})  # fmt: skip
_MACRO = re.compile(r"[A-Z_][A-Z0-9_]*\Z")
_PURE = frozenset({
    "strlen", "__builtin_strlen", "__builtin_expect", "__builtin_constant_p", "__builtin_offsetof",
    "__builtin_choose_expr", "__builtin_types_compatible_p", "__builtin_bswap16", "__builtin_bswap32",
    "__builtin_bswap64", "__bswap_16", "__bswap_32", "__bswap_64", "ntohs", "ntohl", "htons", "htonl",
    "__errno_location", "__ctype_b_loc",
})  # fmt: skip
_UNEVALUATED = frozenset({"sizeof_expression", "alignof_expression", "offsetof_expression"})
_CONDITIONED = frozenset({"&&", "||"})
_WAS, _IS = "suture_was_", "suture_is_"
_MOST_TEXT = 1000
NOWHERE = "its test is in no code"


@dataclass(frozen=True)
class Comparison:
    """`was` and `now` are what is compared; `evaluated` are expressions that the new code evaluates right after it
    whatever happens."""

    was: str
    now: str
    evaluated: tuple[str, ...]

    def test(self, number: int, is_cxx: bool) -> str:
        """The test as an expression, with names of its own."""
        kind = "auto" if is_cxx else "__auto_type"
        told = "".join(f"(void) sizeof (0 ? ({e}) : ({e})); " for e in self.evaluated)
        was = self.was.replace(_KIND, kind)
        return (
            f"__extension__ ({{ {kind} {_WAS}{number} = 0 ? ({was}) : ({was}); "
            f"{kind} {_IS}{number} = 0 ? ({self.now}) : ({self.now}); {told}{_WAS}{number} != {_IS}{number}; }})"
        )


_KIND = "@AUTO@"


def opaque(node: Node) -> str:
    """An expression whose values the compiler knows nothing of."""
    text = node.text or b""
    made, at = bytearray(), node.start_byte
    for leaf in _leaves(node):
        whole = (leaf.text or b"").decode(errors="replace")
        made += text[at - node.start_byte : leaf.start_byte - node.start_byte]
        made += (
            f'__extension__ ({{ {_KIND} suture_x = 0 ? ({whole}) : ({whole}); __asm__ ("" : "+r" (suture_x)); '
            "suture_x; })"
        ).encode()
        at = leaf.end_byte
    made += text[at - node.start_byte :]
    return " ".join(made.decode(errors="replace").split())


def _leaves(node: Node) -> Iterator[Node]:
    if node.type in _WHOLE:
        return
    if node.type in _LEAVES:
        yield node
        return
    for child in node.named_children:
        yield from _leaves(child)


def is_comparable(*nodes: Node | None) -> bool:
    """Whether expressions may be evaluated once more, as far as their text tells."""
    for node in nodes:
        if node is None or node.has_error or len(node.text or b"") > _MOST_TEXT:
            return False
        for one in syntax.walk(node):
            if one.type in _CHANGING or one.type in ("initializer_list", "compound_literal_expression", "comment"):
                return False
            if one.type == "string_literal" and one.parent is not None and one.parent.type != "call_expression":
                return False
            if one.type == "call_expression":
                name = plain(one.child_by_field_name("function"))
                if not (_MACRO.match(name) or name in _PURE):
                    return False
    return True


def why_unsafe(text: bytes, number: int, is_cxx: bool) -> str:
    """Why the tests of a counter in a preprocessed text are none that may be made there; "" where nothing speaks
    against them. They are told by what macros make of them."""
    mark = f" {_WAS}{number} = ".encode()
    found = 0
    for match in re.finditer(re.escape(mark), text):
        start = text.rfind(b"({", 0, match.start())
        end = text.find(f"{_WAS}{number} != ".encode(), match.end())
        if start < 0 or end < 0:
            return "its test is not to be read"
        found += 1
        source = b"void f(void) { (" + _without_types(text[start:end]) + b"0; })); }"
        reason = _why_unsafe(syntax.parse("test.cc" if is_cxx else "test.c", source), number)
        if reason:
            return reason
    return "" if found else NOWHERE


def _without_types(text: bytes) -> bytes:
    """The text with a plain type for each `typeof`, which the parser takes for a call."""
    made, at = bytearray(), 0
    for match in re.finditer(rb"\b(?:__typeof__|__typeof|typeof)\s*\(", text):
        if match.start() < at:
            continue
        end, depth = match.end(), 1
        while depth and end < len(text):
            depth += {ord("("): 1, ord(")"): -1}.get(text[end], 0)
            end += 1
        made += text[at : match.start()] + b"int"
        at = end
    return bytes(made + text[at:])


def _why_unsafe(root: Node, number: int) -> str:
    if root.has_error:
        return "the parser does not understand its test"
    for one in syntax.walk(root):
        if one.type in _CHANGING:
            return "its test would change something"
        if one.type == "call_expression" and plain(one.child_by_field_name("function")) not in _PURE:
            return f"its test would call {plain(one.child_by_field_name('function'))}"
        if one.type == "gnu_asm_expression" and not re.match(r'__asm__\s*\(\s*""\s*:', plain(one)):
            return "its test would execute assembly"
    read: set[str] = set()
    for name in (f"{_WAS}{number}", f"{_IS}{number}"):
        declared = next(
            d for d in syntax.walk(root)
            if d.type == "init_declarator" and plain(d.child_by_field_name("declarator")) == name
        )  # fmt: skip
        read |= {t for t, _ in _reads(declared, True)}
    sure: set[str] = set()
    for one in syntax.walk(root):
        if one.type == "sizeof_expression":
            choice = next((x for x in syntax.walk(one) if x.type == "conditional_expression"), None)
            if choice is not None and plain(choice.child_by_field_name("condition")) == "0":
                value = choice.child_by_field_name("consequence")
                sure |= {t for t, always in _reads(value, True) if always} if value is not None else set()
    if not read <= sure:
        return "its test would read memory that the new code may not"
    return ""


def _reads(node: Node, always: bool) -> Iterator[tuple[str, bool]]:
    """What an expression reads through pointers, as text, and whether it does in any case."""
    if node.type in _UNEVALUATED:
        return
    if _is_read(node):
        yield "".join(plain(node).split()), always
    if node.type == "conditional_expression":
        condition = node.child_by_field_name("condition")
        is_ours = plain(condition) == "0"
        for child in node.named_children:
            yield from _reads(child, always and (child == condition or is_ours))
        return
    sign = plain(node.child_by_field_name("operator")) if node.type == "binary_expression" else ""
    for number, child in enumerate(node.named_children):
        yield from _reads(child, always and not (sign in _CONDITIONED and number))


def _is_read(node: Node) -> bool:
    if node.type == "pointer_expression":
        return plain(node.child_by_field_name("operator")) == "*"
    if node.type == "field_expression":
        return plain(node.child_by_field_name("operator")) == "->"
    return node.type in ("subscript_expression", "call_expression") and "__builtin_expect" not in plain(
        node.child_by_field_name("function")
    )


def of_values(was: Node, now: Node) -> Comparison | None:
    """Whether the value that the old code computed is another than the new one's; None where both cannot be
    evaluated."""
    old, new = bare(was), bare(now)
    if old is None or new is None or not is_comparable(old, new):
        return None
    return Comparison(opaque(old), plain(new), (plain(new),))


def of_assignment(left: Node, right: Node) -> Comparison | None:
    """Whether an assignment changes what is there."""
    if not is_comparable(left, right):
        return None
    return Comparison(plain(left), plain(right), (plain(left), plain(right)))


def of_lost_assignment(left: Node, right: Node, evaluated: Sequence[Node]) -> Comparison | None:
    """Whether an assignment of the old code, that the new one does not make, would have changed what is there."""
    if not is_comparable(left, right, *evaluated):
        return None
    return Comparison(opaque(right), plain(left), tuple(plain(e) for e in evaluated))


def of_pointer(pointer: Node) -> Comparison | None:
    """Whether there is something at the end of a pointer."""
    if not is_comparable(pointer):
        return None
    return Comparison("(void *) 0", plain(pointer), (plain(pointer),))
