"""The sites of a fixed file: what the fix adds, or makes conditional anew, that rejects something.

What was there before and only moved is none: conditions and exits are compared with those on the lines that the fix
takes away. Where a condition is a chain of which a part is new, the counter stands at that part, so that what was
rejected before the fix is not counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from suture.tripwire import syntax
from suture.tripwire.site import Form, Passed, Site, SiteKind, TextSpan
from suture.tripwire.syntax import Node, bare, lines, operands, plain

_MOST_TEXT = 200
_EXITS = frozenset({
    "return_statement", "goto_statement", "break_statement", "continue_statement", "throw_statement",
})  # fmt: skip
_LOOPS = frozenset({"while_statement", "for_statement", "do_statement", "for_range_loop"})
_CONDITIONAL = _LOOPS | {"if_statement", "switch_statement", "conditional_expression"}
_BODIES = frozenset({"function_definition", "lambda_expression"})
_ERROR_NAME = re.compile(
    r"(?:\b|_)(?:err|error|errno|ret|rc|rv|retval|result|res|status|ok|valid|bad|fail|failed|failure|code)\b", re.I
)
_ERROR_CALL = re.compile(r"err|fail|die\b|abort|fatal|warn|raise|panic|throw|invalid|reject|_bad", re.I)
_CLEANING = re.compile(r"free|release|unref|clear|clean|reset|destroy|debug|log|print", re.I)
_LIMIT = re.compile(r"\A(?:\w*_)?(?:min|max|clamp)(?:_\w+)?\Z", re.I)
_LEAVES = re.compile(r"\b(return|goto|break|continue|throw)\b")


@dataclass
class _Before:
    """What stands on the lines that the fix takes away."""

    conditions: set[str] = field(default_factory=set)
    operands: set[str] = field(default_factory=set)
    exits: set[tuple[str, str]] = field(default_factory=set)
    expressions: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class _Governor:
    """What decides whether a statement is reached: its condition as text; `counted`, when a counter stands there."""

    text: str
    counted: bool
    is_case: bool = False


def search(
    path: str, before: bytes | None, after: bytes, removed: Mapping[int, str], added: Mapping[int, str], is_cxx: bool
) -> tuple[list[Site], list[Passed]]:
    """Sites of a file in the order of its text, and lines that get no counter. `removed` and `added` are texts by line
    number, of the file before and after the fix."""
    old = _before(syntax.parse(path, before, is_cxx), removed) if before else _Before()
    found = _SiteSearch(old, frozenset(n for n, text in added.items() if text.strip()))
    root = syntax.parse(path, after, is_cxx)
    found.visit(root, None)
    sites = sorted(found.sites, key=lambda s: (s.span.start, -s.span.end))
    return sites, sorted(found.passed, key=lambda p: (p.line, p.condition))


def _before(root: Node, removed: Mapping[int, str]) -> _Before:
    found = _Before()
    for node in syntax.walk(root):
        if not any(n in removed for n in lines(node)):
            continue
        if node.type in _CONDITIONAL:
            condition = bare(node.child_by_field_name("condition"))
            if condition is not None and any(n in removed for n in lines(condition)):
                found.conditions.add(plain(condition))
        if node.type == "binary_expression":
            found.operands |= {plain(bare(o)) for sign in ("&&", "||") for o in operands(node, sign)}
        if node.type in _EXITS:
            found.exits.add((plain(node), _governing(node)))
        if node.type == "call_expression":
            found.calls.add(plain(node.child_by_field_name("function")))
        if node.type.endswith("_expression") or node.type in ("identifier", "number_literal"):
            found.expressions.add(plain(bare(node)))
    found.operands |= found.conditions
    return found


def _governing(node: Node) -> str:
    """The condition that a statement stands under, as text."""
    for one in syntax.above(node):
        if one.type in _CONDITIONAL:
            return plain(bare(one.child_by_field_name("condition")))
        if one.type == "case_statement":
            return _case(one)
        if one.type in _BODIES:
            break
    return ""


def _case(node: Node) -> str:
    value = node.child_by_field_name("value")
    return f"case {plain(value)}" if value is not None else "default"


@dataclass
class _SiteSearch:
    before: _Before
    added: frozenset[int]
    sites: list[Site] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)

    def visit(self, node: Node, governor: _Governor | None) -> None:
        """Look at a node and all below; `governor` is None where nothing but the function itself decides."""
        if node.type in _BODIES:
            governor = None
        kind = node.type
        if kind == "if_statement":
            self._if(node, governor)
        elif kind in _LOOPS:
            self._loop(node, governor)
        elif kind == "case_statement":
            self._within(node, _Governor(_case(node), False, True))
        elif kind == "conditional_expression":
            self._choice(node)
            self._within(node, governor)
        elif kind in _EXITS:
            self._exit(node, governor)
            self._value(node)
            self._within(node, governor)
        elif kind in ("preproc_function_def", "preproc_def"):
            self._macro(node)
        elif kind in ("assignment_expression", "init_declarator"):
            self._value(node)
            self._limit(node)
            self._within(node, governor)
        else:
            self._within(node, governor)

    def _within(self, node: Node, governor: _Governor | None) -> None:
        for child in node.named_children:
            self.visit(child, governor)

    def _is_new(self, node: Node) -> bool:
        """Whether an expression stands on a line that the fix adds, and on none that it takes away."""
        return self._touches(node) and plain(node) not in self.before.conditions

    def _touches(self, node: Node) -> bool:
        return any(n in self.added for n in lines(node))

    def _if(self, node: Node, governor: _Governor | None) -> None:
        clause = node.child_by_field_name("condition")
        condition, then = bare(clause), node.child_by_field_name("consequence")
        other = _else_of(node)
        text = _short(plain(condition if condition is not None else clause))
        counted_then = counted_else = False
        if clause is not None and then is not None and self._is_new(condition if condition is not None else clause):
            counted_then, counted_else = self._judge(node, condition, then, other, text)
        for part in (clause, then):
            if part is not None:
                self.visit(part, _Governor(text, counted_then) if part is then else governor)
        if other is not None:
            self.visit(other, _Governor(f"not ({text})", counted_else))

    def _judge(
        self, node: Node, condition: Node | None, then: Node, other: Node | None, text: str
    ) -> tuple[bool, bool]:
        """What a new condition decides: whether counters stand at its consequence, and at its alternative."""
        kind = _departure(then, text)
        if kind is not None:
            if condition is not None:
                fresh = self._fresh(_deciding(condition))
                if fresh:
                    for part in fresh:
                        self._add(part, SiteKind.OPERAND, Form.WHEN_TRUE, plain(part))
                    return True, False
                if self._fresh(operands(condition, "&&")) and self._narrows(condition):
                    self._pass(node, text, "the fix only narrows what was rejected before")
                    return True, False
            self._add(then, kind, Form.STATEMENT, text, node)
            return True, False
        if other is not None and other.type != "if_statement" and (kind := _departure(other, text)) is not None:
            self._add(other, kind, Form.STATEMENT, f"not ({text})", node)
            return False, True
        if condition is None:
            self._pass(node, text, "a condition that declares something")
        elif fresh := self._fresh(operands(condition, "&&")):
            for part in fresh:
                self._add(part, SiteKind.SKIP, Form.WHEN_FALSE, f"not ({plain(part)})")
        elif other is None and self._does_old(then):
            self._add(condition, SiteKind.SKIP, Form.WHEN_FALSE, f"not ({text})")
        elif other is not None and self._does_old(other) and not self._does_old(then):
            self._add(then, SiteKind.SKIP, Form.STATEMENT, text, node)
            return True, False
        elif not _holds_exit(then) and not _holds_exit(other):
            self._pass(node, text, "what it decides is new and does not leave by an error path")
        return False, False

    def _does_old(self, body: Node) -> bool:
        """Whether a body does what was done before: it has lines that were there, or calls what was called on lines
        that are gone, but for cleaning up."""
        called = (x.child_by_field_name("function") for x in syntax.walk(body) if x.type == "call_expression")
        return any(n not in self.added for n in _body_lines(body)) or any(
            plain(name) in self.before.calls and not _CLEANING.search(plain(name)) for name in called
        )

    def _fresh(self, parts: list[Node]) -> list[Node]:
        """The new parts of a chain that has old ones too."""
        fresh = [p for p in parts if self._touches(p) and plain(bare(p)) not in self.before.operands]
        return fresh if 0 < len(fresh) < len(parts) else []

    def _narrows(self, condition: Node) -> bool:
        parts = {plain(bare(p)) for p in operands(condition, "&&")}
        return any(parts >= {plain_part for plain_part in old.split(" && ")} for old in self.before.conditions)

    def _loop(self, node: Node, governor: _Governor | None) -> None:
        condition = bare(node.child_by_field_name("condition"))
        text = _short(plain(condition))
        if condition is not None and self._is_new(condition):
            for part in self._fresh(operands(condition, "&&")):
                self._add(part, SiteKind.SKIP, Form.WHEN_FALSE, f"not ({plain(part)})")
        self._within(node, _Governor(text, False) if text else governor)

    def _exit(self, node: Node, governor: _Governor | None) -> None:
        if governor is None or governor.counted or lines(node)[0] not in self.added:
            return
        if governor.is_case and node.type == "break_statement":
            return
        if (plain(node), _governing(node)) in self.before.exits:
            return
        self._add(
            node,
            SiteKind.EXIT,
            Form.STATEMENT,
            f"{governor.text}: {plain(node)}" if governor.is_case else governor.text,
        )

    def _value(self, node: Node) -> None:
        """A chain whose outcome is returned or kept, and of which a part is new."""
        if node.type == "return_statement":
            value = next((c for c in node.named_children if c.type != "comment"), None)
        else:
            value = node.child_by_field_name("right" if node.type == "assignment_expression" else "value")
        value = bare(value)
        if value is None or value.type != "binary_expression" or not self._is_new(value):
            return
        for sign, form in (("&&", Form.WHEN_FALSE), ("||", Form.WHEN_TRUE)):
            for part in self._fresh(operands(value, sign)):
                text = plain(part)
                self._add(part, SiteKind.OPERAND, form, f"not ({text})" if sign == "&&" else text)

    def _choice(self, node: Node) -> None:
        """`c ? a : b` where one of both is what stood there before."""
        condition = node.child_by_field_name("condition")
        then, other = node.child_by_field_name("consequence"), node.child_by_field_name("alternative")
        if condition is None or then is None or other is None or not self._is_new(condition):
            return
        was = [plain(bare(x)) in self.before.expressions for x in (then, other)]
        text = plain(bare(condition))
        if was == [False, True]:
            self._add(then, SiteKind.CLAMP, Form.VALUE, text)
        elif was == [True, False]:
            self._add(other, SiteKind.CLAMP, Form.VALUE, f"not ({text})")
        elif (beyond := _beyond(bare(condition), then, other)) is not None:
            self._add(beyond, SiteKind.CLAMP, Form.VALUE, text if beyond is then else f"not ({text})")
        else:
            self._pass(node, plain(node), "which side of ?: is the limit does not show")

    def _limit(self, node: Node) -> None:
        value = node.child_by_field_name("right" if node.type == "assignment_expression" else "value")
        name = value.child_by_field_name("function") if value is not None and value.type == "call_expression" else None
        if name is not None and self._touches(node) and _LIMIT.match(plain(name)):
            self._pass(node, plain(node), f"the limit is inside {plain(name)}")

    def _macro(self, node: Node) -> None:
        if self._touches(node) and _LEAVES.search(plain(node.child_by_field_name("value"))):
            self._pass(node, plain(node.child_by_field_name("name")), "it is inside a macro's definition")

    def _add(self, node: Node, kind: SiteKind, form: Form, text: str, of: Node | None = None) -> None:
        shown = of or node
        if node.has_error:
            self._pass(shown, text, "the parser does not understand it")
        elif syntax.is_constant_evaluated(node):
            self._pass(shown, text, "it may be evaluated by the compiler (constexpr)")
        elif not syntax.function(node):
            self._pass(shown, text, "it is in no function that the parser sees")
        else:
            span = TextSpan(node.start_byte, node.end_byte)
            self.sites.append(Site(self._line(shown), syntax.function(node), _short(text), kind, form, span))

    def _pass(self, node: Node, text: str, reason: str) -> None:
        self.passed.append(Passed(self._line(node), syntax.function(node), _short(text), reason))

    def _line(self, node: Node) -> int:
        """The first line of a node that the fix adds."""
        return next((n for n in lines(node) if n in self.added), lines(node)[0])


def _deciding(condition: Node) -> list[Node]:
    """The operands of || of which one that is true makes the condition true: those of the last part of a chain of
    &&."""
    parts = operands(condition, "&&")
    while len(parts) > 1:
        last = bare(parts[-1])
        condition = last if last is not None else parts[-1]
        parts = operands(condition, "&&")
    return operands(condition, "||")


def _else_of(node: Node) -> Node | None:
    clause = node.child_by_field_name("alternative")
    if clause is not None and clause.type == "else_clause":
        return next((c for c in clause.named_children if c.type != "comment"), None)
    return clause


def _body_lines(node: Node) -> range:
    """The lines of a body, without that of the brace at its end."""
    whole = lines(node)
    return whole[:-1] if node.type == "compound_statement" and len(whole) > 1 else whole


def _statements(node: Node) -> Iterator[Node]:
    """The statements of a block, those of plain blocks in it among them."""
    if node.type in ("compound_statement", "labeled_statement", "else_clause", "attributed_statement"):
        for child in node.named_children:
            yield from _statements(child)
    else:
        yield node


def _departure(node: Node, condition: str) -> SiteKind | None:
    """How a block leaves, by the statements that are done whatever else; None where it does not."""
    rows = [s for s in _statements(node) if s.type != "comment"]
    if any(s.type in _EXITS for s in rows):
        return SiteKind.EXIT
    expressions = [s.named_children[0] for s in rows if s.type == "expression_statement" and s.named_children]
    for one in expressions:
        if one.type == "assignment_expression" and _ERROR_NAME.search(plain(one.child_by_field_name("left"))):
            return SiteKind.ERROR
        if one.type == "call_expression" and _ERROR_CALL.search(plain(one.child_by_field_name("function"))):
            return SiteKind.ERROR
    if len(rows) == 1 and len(expressions) == 1 and expressions[0].type == "assignment_expression":
        left = plain(expressions[0].child_by_field_name("left"))
        if left and re.search(rf"(?<!\w){re.escape(left)}(?!\w)", condition):
            return SiteKind.CLAMP
    return None


def _beyond(condition: Node | None, then: Node, other: Node) -> Node | None:
    """The side of `x > limit ? limit : x`, or of `x < limit ? x : limit`, that is the limit."""
    if condition is None or condition.type != "binary_expression":
        return None
    sign = plain(condition.child_by_field_name("operator"))
    value, limit = (_uncast(condition.child_by_field_name(side)) for side in ("left", "right"))
    sides = [_uncast(then), _uncast(other)]
    if sign in (">", ">=") and sides == [limit, value]:
        return then
    return other if sign in ("<", "<=") and sides == [value, limit] else None


def _uncast(node: Node | None) -> str:
    node = bare(node)
    while node is not None and node.type == "cast_expression":
        node = bare(node.child_by_field_name("value"))
    return plain(node)


def _holds_exit(node: Node | None) -> bool:
    return node is not None and any(x.type in _EXITS for x in syntax.walk(node))


def _short(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…"
