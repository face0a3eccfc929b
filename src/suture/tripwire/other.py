"""Places where a fix does not reject, but does something else than the old code did: it takes another value, sets what
was left as it was, frees what leaked, or treats a case that was not told apart.

Where both ways can be computed, the counter stands behind a test that compares them, so that it counts only where the
old code would have gone another way.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from suture.tripwire import comparison, syntax
from suture.tripwire.before import BODIES, CONDITIONAL, Before, alone, arguments, case, is_plain_assignment, value_of
from suture.tripwire.comparison import Comparison
from suture.tripwire.departure import cleans, is_error_call
from suture.tripwire.fragment import Fragment
from suture.tripwire.site import Form, SiteKind
from suture.tripwire.syntax import Node, bare, key, lines, plain

_MAKES = re.compile(r"init|new|create|alloc|setup|open|start|dup|copy|memset", re.I)
_NOTHING = re.compile(r"NULL|0|nullptr")
_PLACES = frozenset({"field_expression", "subscript_expression", "pointer_expression"})
_UPPER = re.compile(r"[A-Z_][A-Z0-9_]*\Z")


class Add(Protocol):
    """Takes a site, or what speaks against it."""

    def __call__(
        self,
        node: Node,
        kind: SiteKind,
        form: Form,
        text: str,
        of: Node | None = None,
        test: Comparison | None = None,
    ) -> None: ...


@dataclass(frozen=True)
class Governor:
    """What decides whether a statement is reached: its condition as text; `counted`, when a counter stands there."""

    text: str
    counted: bool
    is_case: bool = False
    is_loop: bool = False


def is_special(governor: Governor | None) -> bool:
    """Whether something tells apart when a statement is reached; that a loop goes on does not."""
    return governor is not None and not governor.is_loop


def is_there(condition: Node | None, then: Node) -> bool:
    """Whether a condition only asks that a pointer, which is followed then, is none to nothing."""
    if condition is None:
        return False
    if condition.type == "binary_expression" and plain(condition.child_by_field_name("operator")) == "!=":
        right = bare(condition.child_by_field_name("right"))
        return right is not None and plain(right) in ("NULL", "nullptr", "((void *)0)")
    follows = (f"{plain(condition)}->", f"{plain(condition)}[", f"*{plain(condition)}")
    return condition.type in ("identifier", "field_expression") and any(f in plain(then) for f in follows)


class Gaps:
    """Tells which removed and which added lines stand at the same place: between the same two lines that are left."""

    def __init__(self, removed: Collection[int], added: Collection[int]) -> None:
        self._removed, self._added = sorted(removed), sorted(added)

    def of_old(self, line: int) -> int:
        return line - bisect_right(self._removed, line)

    def of_new(self, line: int) -> int:
        return line - bisect_right(self._added, line)


@dataclass
class OtherSites:
    """Finds them in one fragment; `added` are lines of the fragment."""

    before: Before
    added: frozenset[int]
    fragment: Fragment
    gaps: Gaps
    add: Add

    def statement(self, node: Node, governor: Governor | None) -> None:
        """An expression that is a statement."""
        inner = node.named_children[0] if node.named_children else None
        if inner is None or lines(node)[0] not in self.added or (governor is not None and governor.counted):
            return
        if (syntax.function(node), key(node)) in self.before.statements:
            return
        if is_plain_assignment(inner):
            self._assignment(node, inner, governor)
        elif inner.type == "call_expression":
            self._call(node, inner, governor)

    def _assignment(self, node: Node, inner: Node, governor: Governor | None) -> None:
        left, right = inner.child_by_field_name("left"), inner.child_by_field_name("right")
        assert left is not None and right is not None
        place, _ = value_of(inner)
        old = self.before.values.get(place, []) if place is not None else []
        if old:
            self._value(node, Form.STATEMENT, old, right)
            return
        lost = [o for line, o in self.before.lost.get(syntax.function(node), ()) if self._is_at(line, node)]
        gone = lost[0] if lost else None
        if gone is not None:
            to, what = gone.child_by_field_name("left"), gone.child_by_field_name("right")
            assert to is not None and what is not None
            test = comparison.of_lost_assignment(to, what, (left, right))
            if test is not None:
                self.add(node, SiteKind.VALUE, Form.STATEMENT, f"{_side(to)} != {_side(what)}", test=test)
                return
        target = bare(left)
        if target is None or target.type not in _PLACES or self._follows_cleaning(node, left):
            return
        if not is_special(governor) and makes_something(node):  # what is there before is anything
            return
        test = comparison.of_assignment(left, right)
        if test is not None:
            self.add(node, SiteKind.VALUE, Form.STATEMENT, f"{_side(left)} != {_side(right)}", test=test)

    def _is_at(self, line: int, node: Node) -> bool:
        return self.gaps.of_old(line) == self.gaps.of_new(lines(node)[0] + self.fragment.rows)

    def _follows_cleaning(self, node: Node, left: Node) -> bool:
        """Whether a statement only forgets what the one before it has freed."""
        earlier = node.prev_named_sibling
        while earlier is not None and earlier.type == "comment":
            earlier = earlier.prev_named_sibling
        return earlier is not None and plain(left) in plain(earlier) and _has_cleaning(earlier)

    def _call(self, node: Node, inner: Node, governor: Governor | None) -> None:
        name, given = plain(inner.child_by_field_name("function")), arguments(inner)
        if governor is None or not is_special(governor):
            return
        was = self.before.callees.get((syntax.function(node), key(inner.child_by_field_name("arguments"))), [])
        if was and name not in was and is_error_call(name) and is_error_call(was[0]):
            self.add(node, SiteKind.OTHER, Form.STATEMENT, f"{governor.text}: {name} for {was[0]}")
        elif cleans(name) and given and name not in was:
            test = comparison.of_pointer(given[0])
            self.add(node, SiteKind.RELEASE, Form.STATEMENT, f"{governor.text}: {plain(inner)}", test=test)

    def value(self, node: Node) -> None:
        """A declaration's or a return's value."""
        place, value = value_of(node)
        if place is None or value is None or not any(n in self.added for n in lines(value)):
            return
        if value.type not in ("initializer_list", "string_literal") and not _is_static(node):
            self._value(value, Form.VALUE, self.before.values.get(place, []), value)

    def _value(self, node: Node, form: Form, old: Sequence[Node], new: Node) -> None:
        was, inner = alone(old), bare(new)
        if inner is None or inner.type == "conditional_expression":  # which of its sides is new is asked elsewhere
            return
        if was is None or any(key(inner) in self.before.keys(bare(o)) for o in old):
            return
        test = comparison.of_values(was, new)
        if test is not None:
            self.add(node, SiteKind.VALUE, form, f"{_side(new)} != {_side(was)}", test=test)

    def given(self, node: Node) -> None:
        """A call that is given something else than it was."""
        name = key(node.child_by_field_name("function"))
        if (
            _UPPER.match(name)
            or is_error_call(name)
            or _is_asked(node)
            or not any(n in self.added for n in lines(node))
        ):
            return
        was = alone(self.before.passed.get((syntax.function(node), name), []))
        new = arguments(node)
        old = arguments(was) if was is not None else []
        if len(old) != len(new):
            return
        for a, b in zip(old, new, strict=True):
            if key(b) not in self.before.keys(a) and b.type not in (
                "number_literal",
                "char_literal",
                "null",
                "true",
                "false",
            ):
                self._value(b, Form.VALUE, [a], b)

    def new_case(self, node: Node) -> None:
        """A case of a switch that there was not."""
        label = case(node)
        if lines(node)[0] not in self.added or (syntax.function(node), label) in self.before.cases:
            return
        first = next((c for c in node.named_children if c.type == "expression_statement"), None)
        if first is not None:
            self.add(first, SiteKind.CASE, Form.STATEMENT, label, node)

    def is_forgotten(self, condition: str, function: str, root: Node) -> bool:
        """Whether a condition asks for a pointer that the fix sets to nothing elsewhere in the function."""
        for node in syntax.walk(root):
            if is_plain_assignment(node) and lines(node)[0] in self.added and syntax.function(node) == function:
                left, right = plain(node.child_by_field_name("left")), plain(node.child_by_field_name("right"))
                if _NOTHING.fullmatch(right) and re.search(rf"(?<!\w){re.escape(left)}(?!\w)", condition):
                    return True
        return False


def _is_asked(node: Node) -> bool:
    """Whether an expression is part of a condition, which has counters of its own."""
    inner = node
    for one in syntax.above(node):
        if one.type in CONDITIONAL and one.child_by_field_name("condition") == inner:
            return True
        if one.type.endswith("_statement") or one.type in BODIES:
            break
        inner = one
    return False


def makes_something(node: Node) -> bool:
    """Whether the function that a statement is in makes what it sets, or copies it, as far as names tell."""
    body = next((x for x in syntax.above(node) if x.type == "function_definition"), None)
    if body is None or _MAKES.search(syntax.function(node)):
        return True
    called = (x.child_by_field_name("function") for x in syntax.walk(body) if x.type == "call_expression")
    return any(_MAKES.search(plain(name)) for name in called)


def _has_cleaning(node: Node) -> bool:
    called = (x.child_by_field_name("function") for x in syntax.walk(node) if x.type == "call_expression")
    return any(cleans(plain(name)) for name in called)


def _side(node: Node) -> str:
    """One side of a comparison as text."""
    text, inner = plain(bare(node)), bare(node)
    return f"({text})" if inner is not None and inner.type == "binary_expression" else text


def _is_static(node: Node) -> bool:
    declaration = node.parent
    if node.type != "init_declarator" or declaration is None:
        return False
    return any(c.type == "storage_class_specifier" and plain(c) == "static" for c in declaration.children) or any(
        c.type == "type_qualifier" and plain(c) == "constexpr" for c in declaration.children
    )
