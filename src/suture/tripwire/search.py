"""The sites of a fixed file: what the fix adds, or makes conditional anew, that rejects something.

What was there before and only moved is none: conditions and exits are compared with those on the lines that the fix
takes away. Where a condition is a chain of which a part is new, the counter stands at that part, so that what was
rejected before the fix is not counted. Places where the fix does not reject but does something else than before are in
`suture.tripwire.other`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from suture.tripwire import syntax
from suture.tripwire.before import BODIES, LOOPS, Before, case, governing, renamings
from suture.tripwire.comparison import Comparison
from suture.tripwire.departure import (
    EXITS,
    beyond,
    body_lines,
    cleans,
    deciding,
    departure,
    else_of,
    holds_exit,
    is_cleaning,
)
from suture.tripwire.fragment import Fragment, fragments
from suture.tripwire.other import Gaps, Governor, OtherSites, is_special, is_there
from suture.tripwire.site import Form, Passed, Site, SiteKind, TextSpan
from suture.tripwire.syntax import Node, bare, key, lines, operands, plain

_MOST_TEXT = 200
_LIMIT = re.compile(r"\A(?:\w*_)?(?:min|max|clamp)(?:_\w+)?\Z", re.I)


def search(
    path: str,
    before: bytes | None,
    after: bytes,
    removed: Mapping[int, str],
    added: Mapping[int, str],
    is_cxx: bool,
    beside: Collection[int] = (),
) -> tuple[list[Site], list[Passed]]:
    """Sites of a file in the order of its text, and lines that get no counter. `removed` and `added` are texts by line
    number, of the file before and after the fix; `beside` are lines of `after` that other fixes add."""
    filled = {n: text for n, text in added.items() if text.strip()}
    now = list(fragments(path, after, filled, is_cxx))
    names: dict[str, list[tuple[str, str]]] = {}
    for fragment in now:
        for function, was, name in renamings(fragment.root, fragment.own_lines(filled)):
            names.setdefault(function, []).append((was, name))
    old = Before(names)
    for fragment in fragments(path, before, removed, is_cxx) if before else ():
        old.take(fragment, removed)
    gaps = Gaps(removed, {*added, *beside})
    sites: list[Site] = []
    passed: list[Passed] = []
    for fragment in now:
        found = _SiteSearch(old, frozenset(fragment.own_lines(filled)), fragment, gaps)
        found.visit(fragment.root, None)
        sites += found.sites
        passed += found.passed
    sites = sorted({(s.span, s.form): s for s in reversed(sites)}.values(), key=lambda s: (s.span.start, -s.span.end))
    told = {s.line for s in sites}  # what the parser sees of a macro outside of its fragment is no second place
    passed = [p for p in passed if p.function or p.line not in told]
    return sites, sorted(passed, key=lambda p: (p.line, p.condition))


@dataclass
class _SiteSearch:
    before: Before
    added: frozenset[int]
    fragment: Fragment
    gaps: Gaps
    sites: list[Site] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.other = OtherSites(self.before, self.added, self.fragment, self.gaps, self._add)

    def visit(self, node: Node, governor: Governor | None) -> None:
        """Look at a node and all below; `governor` is None where nothing but the function itself decides."""
        if node.type in BODIES:
            governor = None
        kind = node.type
        if kind == "if_statement":
            self._if(node, governor)
        elif kind in LOOPS:
            self._loop(node, governor)
        elif kind == "case_statement":
            self.other.new_case(node)
            self._within(node, Governor(case(node), False, True))
        elif kind == "conditional_expression":
            self._choice(node)
            self._within(node, governor)
        elif kind in EXITS:
            self._exit(node, governor)
            self._value(node)
            self._within(node, governor)
        elif kind in ("assignment_expression", "init_declarator"):
            self._value(node)
            self._limit(node)
            self._within(node, governor)
        elif kind == "expression_statement":
            self.other.statement(node, governor)
            self._within(node, governor)
        elif kind == "call_expression":
            if not self._is_decided(node):
                self.other.given(node)
            self._within(node, governor)
        else:
            self._within(node, governor)

    def _is_decided(self, node: Node) -> bool:
        """Whether a part of a chain that a node is in has a counter: what comes out counts, not what was given."""
        start, end = node.start_byte + self.fragment.bytes, node.end_byte + self.fragment.bytes
        parts = (s.span for s in self.sites if s.form in (Form.WHEN_FALSE, Form.WHEN_TRUE))
        return any(p.start <= start and end <= p.end for p in parts)

    def _within(self, node: Node, governor: Governor | None) -> None:
        for child in node.named_children:
            self.visit(child, governor)

    def _is_new(self, node: Node) -> bool:
        """Whether an expression stands on a line that the fix adds, and on none that it takes away."""
        return self._touches(node) and key(node) not in self.before.conditions

    def _touches(self, node: Node) -> bool:
        return any(n in self.added for n in lines(node))

    def _if(self, node: Node, governor: Governor | None) -> None:
        clause = node.child_by_field_name("condition")
        condition, then = bare(clause), node.child_by_field_name("consequence")
        other = else_of(node)
        text = _short(plain(condition if condition is not None else clause))
        counted_then = counted_else = False
        if clause is not None and then is not None and self._is_new(condition if condition is not None else clause):
            counted_then, counted_else = self._judge(node, condition, then, other, text, governor)
        for part in (clause, then):
            if part is not None:
                below = Governor(text, counted_then)
                if then is not None and is_there(condition, then) and not counted_then:
                    below = governor if governor is not None else Governor(text, False, is_loop=True)
                self.visit(part, below if part is then else governor)
        if other is not None:
            self.visit(other, Governor(f"not ({text})", counted_else))

    def _judge(
        self, node: Node, condition: Node | None, then: Node, other: Node | None, text: str, governor: Governor | None
    ) -> tuple[bool, bool]:
        """What a new condition decides: whether counters stand at its consequence, and at its alternative."""
        kind = departure(then, text)
        if kind is not None:
            if condition is not None:
                fresh = self._fresh(deciding(condition))
                if fresh:
                    for part in fresh:
                        self._add(part, SiteKind.OPERAND, Form.WHEN_TRUE, plain(part))
                    return True, False
                if self._fresh(operands(condition, "&&")) and self._narrows(condition):
                    self._pass(node, text, "the fix only narrows what was rejected before")
                    return True, False
            self._add(then, kind, Form.STATEMENT, text, node)
            return True, False
        if other is not None and other.type != "if_statement" and (kind := departure(other, text)) is not None:
            self._add(other, kind, Form.STATEMENT, f"not ({text})", node)
            return False, True
        if condition is None:
            self._pass(node, text, "a condition that declares something")
        elif fresh := self._fresh(operands(condition, "&&")):
            for part in fresh:
                wider = self._fresh(operands(part, "||"))
                for one in wider:
                    self._add(one, SiteKind.OTHER, Form.WHEN_TRUE, plain(one))
                if not wider:
                    self._add(part, SiteKind.SKIP, Form.WHEN_FALSE, f"not ({plain(part)})")
        elif other is None and (self._does_old(then) or (is_cleaning(then) and self._frees_again(then, text))):
            self._add(condition, SiteKind.SKIP, Form.WHEN_FALSE, f"not ({text})")
        elif other is not None and self._does_old(other) and not self._does_old(then):
            self._add(then, SiteKind.SKIP, Form.STATEMENT, text, node)
            return True, False
        elif not holds_exit(then) and not holds_exit(other):
            if is_there(condition, then):
                self._pass(node, text, "it only asks whether there is something")
            elif is_cleaning(then) and not is_special(governor):
                self._pass(node, text, "it cleans up, and does so whatever the input")
            elif lines(then)[0] in self.added or lines(then)[-1] in self.added:
                self._add(then, SiteKind.RELEASE if is_cleaning(then) else SiteKind.CASE, Form.STATEMENT, text, node)
                return True, False
        return False, False

    def _frees_again(self, then: Node, condition: str) -> bool:
        """Whether what is not done now would have been done twice: what it frees may have been freed before."""
        called = (key(x.child_by_field_name("function")) for x in syntax.walk(then) if x.type == "call_expression")
        name = syntax.function(then)
        return any(c in self.before.calls for c in called) and self.other.is_forgotten(
            condition, name, self.fragment.root
        )

    def _does_old(self, body: Node) -> bool:
        """Whether a body does what was done before: it has lines that were there, or calls what was called on lines
        that are gone, but for cleaning up."""
        called = (x.child_by_field_name("function") for x in syntax.walk(body) if x.type == "call_expression")
        return any(n not in self.added for n in body_lines(body)) or any(
            key(name) in self.before.calls and not cleans(plain(name)) for name in called
        )

    def _fresh(self, parts: list[Node]) -> list[Node]:
        """The new parts of a chain that has old ones too."""
        fresh = [p for p in parts if self._touches(p) and key(bare(p)) not in self.before.operands]
        return fresh if 0 < len(fresh) < len(parts) else []

    def _narrows(self, condition: Node) -> bool:
        parts = {key(bare(p)) for p in operands(condition, "&&")}
        return any(parts >= {plain_part for plain_part in old.split(" && ")} for old in self.before.conditions)

    def _loop(self, node: Node, governor: Governor | None) -> None:
        condition = bare(node.child_by_field_name("condition"))
        text = _short(plain(condition))
        if condition is not None and self._is_new(condition):
            for part in self._fresh(operands(condition, "&&")):
                self._add(part, SiteKind.SKIP, Form.WHEN_FALSE, f"not ({plain(part)})")
        self._within(node, Governor(text, False, is_loop=True) if text else governor)

    def _exit(self, node: Node, governor: Governor | None) -> None:
        if governor is None or governor.counted or lines(node)[0] not in self.added:
            return
        if governor.is_case and node.type == "break_statement":
            return
        if (key(node), governing(node)) in self.before.exits:
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
        if value is None or not self._is_new(value):
            return
        fresh = [(sign, part) for sign in ("&&", "||") for part in self._fresh(operands(value, sign))]
        for sign, part in fresh if value.type == "binary_expression" else ():
            text = plain(part)
            form = Form.WHEN_FALSE if sign == "&&" else Form.WHEN_TRUE
            self._add(part, SiteKind.OPERAND, form, f"not ({text})" if sign == "&&" else text)
        if node.type != "assignment_expression" and not fresh and value.type != "conditional_expression":
            self.other.value(node)

    def _choice(self, node: Node) -> None:
        """`c ? a : b` where one of both is what stood there before."""
        condition = node.child_by_field_name("condition")
        then, other = node.child_by_field_name("consequence"), node.child_by_field_name("alternative")
        if condition is None or then is None or other is None or not self._is_new(condition):
            return
        was = [key(bare(x)) in self.before.expressions for x in (then, other)]
        text = plain(bare(condition))
        if was == [False, True]:
            self._add(then, SiteKind.CLAMP, Form.VALUE, text)
        elif was == [True, False]:
            self._add(other, SiteKind.CLAMP, Form.VALUE, f"not ({text})")
        elif (limit := beyond(bare(condition), then, other)) is not None:
            self._add(limit, SiteKind.CLAMP, Form.VALUE, text if limit is then else f"not ({text})")
        else:
            self._pass(node, plain(node), "which side of ?: is the limit does not show")

    def _limit(self, node: Node) -> None:
        value = node.child_by_field_name("right" if node.type == "assignment_expression" else "value")
        name = value.child_by_field_name("function") if value is not None and value.type == "call_expression" else None
        if name is not None and self._touches(node) and _LIMIT.match(plain(name)):
            self._pass(node, plain(node), f"the limit is inside {plain(name)}")

    def _add(
        self,
        node: Node,
        kind: SiteKind,
        form: Form,
        text: str,
        of: Node | None = None,
        test: Comparison | None = None,
    ) -> None:
        shown = of or node
        if node.has_error:
            self._pass(shown, text, "the parser does not understand it")
        elif syntax.is_constant_evaluated(node):
            self._pass(shown, text, "it may be evaluated by the compiler (constexpr)")
        elif not syntax.function(node):
            self._pass(shown, text, "it is in no function that the parser sees")
        else:
            span = TextSpan(node.start_byte + self.fragment.bytes, node.end_byte + self.fragment.bytes)
            self.sites.append(Site(self._line(shown), syntax.function(node), _short(text), kind, form, span, test))

    def _pass(self, node: Node, text: str, reason: str) -> None:
        self.passed.append(Passed(self._line(node), syntax.function(node), _short(text), reason))

    def _line(self, node: Node) -> int:
        """The first line of a node that the fix adds, in the file."""
        return next((n for n in lines(node) if n in self.added), lines(node)[0]) + self.fragment.rows


def _short(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[: _MOST_TEXT - 1]}…"
