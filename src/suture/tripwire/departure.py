"""How a block of code leaves, and which side of a choice is the limit."""

from __future__ import annotations

import re
from collections.abc import Iterator

from suture.tripwire import syntax
from suture.tripwire.site import SiteKind
from suture.tripwire.syntax import Node, bare, lines, operands, plain

EXITS = frozenset({
    "return_statement", "goto_statement", "break_statement", "continue_statement", "throw_statement",
})  # fmt: skip
_CLEANING = frozenset({
    "free", "release", "unref", "clear", "clean", "cleanup", "cleanse", "reset", "destroy", "delete",
    "debug", "log", "print", "printf", "zfree", "kfree", "sfree", "xfree",
})  # fmt: skip
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ERROR_NAME = re.compile(
    r"(?:\b|_)(?:err|error|errno|ret|rc|rv|retval|result|res|status|ok|valid|bad|fail|failed|failure|code)\b", re.I
)
_ERROR_CALL = re.compile(r"err|fail|die\b|abort|fatal|warn|raise|panic|throw|invalid|reject|_bad", re.I)


def departure(node: Node, condition: str) -> SiteKind | None:
    """How a block leaves, by the statements that are done whatever else; None where it does not."""
    rows = [s for s in statements(node) if s.type != "comment"]
    if any(s.type in EXITS for s in rows):
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


def statements(node: Node) -> Iterator[Node]:
    """The statements of a block, those of plain blocks in it among them."""
    if node.type in ("compound_statement", "labeled_statement", "else_clause", "attributed_statement"):
        for child in node.named_children:
            yield from statements(child)
    else:
        yield node


def deciding(condition: Node) -> list[Node]:
    """The operands of || of which one that is true makes the condition true: those of the last part of a chain of
    &&."""
    parts = operands(condition, "&&")
    while len(parts) > 1:
        last = bare(parts[-1])
        condition = last if last is not None else parts[-1]
        parts = operands(condition, "&&")
    return operands(condition, "||")


def beyond(condition: Node | None, then: Node, other: Node) -> Node | None:
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


def body_lines(node: Node) -> range:
    """The lines of a body, without that of the brace at its end."""
    whole = lines(node)
    return whole[:-1] if node.type == "compound_statement" and len(whole) > 1 else whole


def else_of(node: Node) -> Node | None:
    """What an `if` does otherwise."""
    clause = node.child_by_field_name("alternative")
    if clause is not None and clause.type == "else_clause":
        return next((c for c in clause.named_children if c.type != "comment"), None)
    return clause


def holds_exit(node: Node | None) -> bool:
    return node is not None and any(x.type in EXITS for x in syntax.walk(node))


def is_error_call(name: str) -> bool:
    """Whether a function reports an error, by its name."""
    return _ERROR_CALL.search(name) is not None


def cleans(name: str) -> bool:
    """Whether a function cleans up or reports, by the words in its name."""
    return any(part.lower() in _CLEANING for part in _PARTS.findall(name))


def is_cleaning(node: Node) -> bool:
    """Whether all that a block does is to clean up."""
    rows = [s for s in statements(node) if s.type != "comment"]
    calls = [s.named_children[0] for s in rows if s.type == "expression_statement" and s.named_children]
    named = [plain(c.child_by_field_name("function")) for c in calls if c.type == "call_expression"]
    return bool(named) and all(cleans(n) for n in named)
