"""What stands on the lines that a fix takes away, and which of it a new statement takes the place of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from suture.tripwire import syntax
from suture.tripwire.departure import EXITS
from suture.tripwire.fragment import Fragment
from suture.tripwire.syntax import Node, bare, key, lines, operands, plain

LOOPS = frozenset({"while_statement", "for_statement", "do_statement", "for_range_loop"})
CONDITIONAL = LOOPS | {"if_statement", "switch_statement", "conditional_expression"}
BODIES = frozenset({"function_definition", "lambda_expression"})
_Key = tuple[str, str, str]


@dataclass
class Before:
    """`values` are the right sides of assignments, declarations and returns, by function, kind and left side; `lost`
    are whole assignments by function, with their lines in the file. `callees` are what is called as a statement, by
    function and arguments, and `passed` all calls by function and what they call. `renamed` are variables that new ones
    stand for, and these, by function (`renamings`): what only has another name is the same."""

    renamed: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    conditions: set[str] = field(default_factory=set)
    operands: set[str] = field(default_factory=set)
    exits: set[tuple[str, str]] = field(default_factory=set)
    expressions: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    statements: set[tuple[str, str]] = field(default_factory=set)
    cases: set[tuple[str, str]] = field(default_factory=set)
    values: dict[_Key, list[Node]] = field(default_factory=lambda: defaultdict(list))
    lost: dict[str, list[tuple[int, Node]]] = field(default_factory=lambda: defaultdict(list))
    callees: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    passed: dict[tuple[str, str], list[Node]] = field(default_factory=lambda: defaultdict(list))

    def take(self, fragment: Fragment, removed: Mapping[int, str]) -> None:
        """All of one fragment of the old file; `removed` are lines of the file."""
        own = fragment.own_lines(removed)
        for node in syntax.walk(fragment.root):
            if any(n in own for n in lines(node)):
                self._note(node, own, fragment.rows)
        self.operands |= self.conditions

    def keys(self, node: Node | None) -> set[str]:
        """The key of a node of the old file, and those that it has with variables that stand for others now."""
        return self._named(key(node), node) if node is not None else {""}

    def _named(self, text: str, node: Node) -> set[str]:
        return {text, *(_with(text, old, new) for old, new in self.renamed.get(syntax.function(node), ()))}

    def _note(self, node: Node, removed: Mapping[int, str], rows: int) -> None:
        if node.type in CONDITIONAL:
            condition = bare(node.child_by_field_name("condition"))
            if condition is not None and any(n in removed for n in lines(condition)):
                self.conditions |= self.keys(condition)
        if node.type == "binary_expression":
            self.operands |= {k for sign in ("&&", "||") for o in operands(node, sign) for k in self.keys(bare(o))}
        if node.type in EXITS:
            self.exits |= {(k, g) for k in self.keys(node) for g in self._named(governing(node), node)}
        if node.type == "call_expression":
            self.calls.add(key(node.child_by_field_name("function")))
            self.passed[syntax.function(node), key(node.child_by_field_name("function"))].append(node)
        if node.type == "case_statement":
            self.cases.add((syntax.function(node), case(node)))
        if node.type.endswith("_expression") or node.type in ("identifier", "number_literal"):
            self.expressions |= self.keys(bare(node))
        if node.type == "expression_statement":
            name = syntax.function(node)
            self.statements |= {(name, k) for k in self.keys(node)}
            inner = node.named_children[0] if node.named_children else None
            if inner is not None and is_plain_assignment(inner):
                self.lost[name].append((lines(node)[0] + rows, inner))
            if inner is not None and inner.type == "call_expression":
                self.callees[name, key(inner.child_by_field_name("arguments"))].append(
                    key(inner.child_by_field_name("function"))
                )
        place, value = value_of(node)
        if place is not None and value is not None:
            self.values[place].append(value)


def renamings(root: Node, added: Collection[int]) -> Iterator[tuple[str, str, str]]:
    """The function, the old name and the new one of variables that the fix declares and sets to an old one as it is."""
    declared: set[tuple[str, str]] = set()
    for node in syntax.walk(root):
        if node.type == "declaration" and lines(node)[0] in added:
            declared |= {(syntax.function(node), _declared(d)) for d in node.children_by_field_name("declarator")}
    for node in syntax.walk(root):
        if lines(node)[0] not in added or not (node.type == "init_declarator" or is_plain_assignment(node)):
            continue
        sides = ("declarator", "value") if node.type == "init_declarator" else ("left", "right")
        to, what = (node.child_by_field_name(side) for side in sides)
        name = _declared(to) if to is not None else ""
        if what is not None and what.type == "identifier" and (syntax.function(node), name) in declared:
            yield syntax.function(node), plain(what), name


def _declared(declarator: Node) -> str:
    """The name of a variable that is declared."""
    while (inner := declarator.child_by_field_name("declarator")) is not None:
        declarator = inner
    return plain(declarator)


def _with(text: str, old: str, new: str) -> str:
    """A key with another variable; members of that name stay."""
    tokens = text.split(" ")
    before = ["", *tokens]
    return " ".join(new if t == old and b not in ("->", ".") else t for b, t in zip(before, tokens, strict=False))


def value_of(node: Node) -> tuple[_Key | None, Node | None]:
    """What a value is for (function, kind, left side), and the value."""
    if node.type == "return_statement":
        value = next((c for c in node.named_children if c.type != "comment"), None)
        return (syntax.function(node), "return", governing(node)), value
    if is_plain_assignment(node):
        return (syntax.function(node), "=", key(node.child_by_field_name("left"))), node.child_by_field_name("right")
    if node.type == "init_declarator":
        left = key(node.child_by_field_name("declarator"))
        return (syntax.function(node), "=", left.lstrip("* ")), node.child_by_field_name("value")
    return None, None


def is_plain_assignment(node: Node) -> bool:
    return node.type == "assignment_expression" and plain(node.child_by_field_name("operator")) == "="


def governing(node: Node) -> str:
    """The condition that a statement stands under, as text."""
    for one in syntax.above(node):
        if one.type in CONDITIONAL:
            return key(bare(one.child_by_field_name("condition")))
        if one.type == "case_statement":
            return case(one)
        if one.type in BODIES:
            break
    return ""


def case(node: Node) -> str:
    value = node.child_by_field_name("value")
    return f"case {plain(value)}" if value is not None else "default"


def arguments(call: Node) -> list[Node]:
    """What a call is given."""
    given = call.child_by_field_name("arguments")
    return [c for c in given.named_children if c.type != "comment"] if given is not None else []


def alone(found: Sequence[Node]) -> Node | None:
    """The one, where there is one."""
    return found[0] if len(found) == 1 else None
