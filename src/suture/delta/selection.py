"""Which functions go into a patch, in which groups, and which are refused with what reason.

Groups: replaced functions that call one another, before or after the fix, or that share new or changed data, switch
together. One refused member refuses its group; the other groups stand on their own. Then those of one fix become one
(delta/family.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from suture.delta.atom import Atom, AtomFunction, AtomKind, Reference
from suture.delta.change import UnitChange
from suture.delta.kept import kept_constants
from suture.delta.storage import dropped
from suture.refusal import RESTART, Refusal


@dataclass(frozen=True, order=True)
class Node:
    """A function of one unit, by the unit's place in the list and the function's name in post."""

    unit: int
    name: str


@dataclass(frozen=True)
class Datum:
    """A data atom of one unit's post that is placed in the patch."""

    unit: int
    index: int


@dataclass
class Reach:
    """What one function of post needs in the patch beside itself."""

    functions: set[Node] = field(default_factory=set)
    data: set[Datum] = field(default_factory=set)
    refusals: list[Refusal] = field(default_factory=list)


@dataclass(frozen=True)
class Selected:
    """One group: the functions to divert, the new ones that come with them, the data that they need."""

    replaced: tuple[Node, ...]
    new: tuple[Node, ...]
    data: tuple[Datum, ...]


@dataclass(frozen=True)
class Rejected:
    """A function or variable that the fix changes and that is not in the patch."""

    unit: int
    name: str
    refusal: Refusal


class Selection:
    """Decides over all changed units of one binary. Pure: `refusals` gives what other checks say of single
    functions."""

    def __init__(
        self, changes: Sequence[UnitChange], refusals: Mapping[Node, Refusal], undiverted: frozenset[Node]
    ) -> None:
        self.changes = changes
        self.undiverted = undiverted
        self._given = refusals
        self._reach: dict[Node, Reach] = {}
        self._by_name = self._global_functions()
        self._new_data = self._global_data()
        self._made_global = self._all_made_global()
        self._kept = [kept_constants(c) for c in changes]

    def groups(self) -> tuple[tuple[Selected, ...], tuple[Rejected, ...]]:
        """Groups that go in, and what is refused."""
        roots = [Node(u, n) for u, c in enumerate(self.changes) for n in sorted(c.replaced)]
        members = self._closure(roots)
        parent = {n: n for n in members}
        self._join_calls(members, parent)
        self._join_data(members, parent)
        self._join_dropped(members, parent)
        gathered: dict[Node, list[Node]] = defaultdict(list)
        for node in sorted(members):
            gathered[_root(parent, node)].append(node)
        accepted: list[Selected] = []
        rejected: list[Rejected] = []
        for nodes in gathered.values():
            problems = [(n, r) for n in nodes for r in self._problems(n)]
            if problems:
                rejected.extend(self._reject(nodes, problems))
            else:
                accepted.append(self._selected(nodes))
        return tuple(a for a in accepted if a.replaced), tuple(rejected)

    def reach(self, node: Node) -> Reach:
        """What a function needs; computed once."""
        if node not in self._reach:
            self._reach[node] = self._compute(node)
        return self._reach[node]

    def is_replaced(self, node: Node) -> bool:
        return node.name in self.changes[node.unit].replaced

    def global_function(self, name: str) -> Node | None:
        """The included function that defines a name for other units."""
        return self._by_name.get(name)

    def global_datum(self, name: str) -> Datum | None:
        """The new datum that defines a name for other units."""
        return self._new_data.get(name)

    def made_global(self, name: str) -> Datum | None:
        """A function or variable that the fix makes global and leaves as it is: what other units now name was there
        before.

        Post's code of it was compiled for callers anywhere; when it is the code that runs, so was that.
        """
        return self._made_global.get(name)

    def _all_made_global(self) -> dict[str, Datum]:
        found: dict[str, Datum] = {}
        for u, change in enumerate(self.changes):
            differ = change.difference.changed_variables | change.difference.changed_constants | change.replaced
            for atom in change.post.atoms.values():
                before = change.pre.atoms.get(change.pairs.pre_of.get(atom.index, -1))
                if before is not None and atom.is_global and not before.is_global and atom.label not in differ:
                    found.update({s.name: Datum(u, atom.index) for s in atom.symbols})
        return found

    def _global_functions(self) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for u, change in enumerate(self.changes):
            for name in change.replaced | change.new:
                function = change.post.functions[name]
                if function.hot.is_global:
                    found.update({alias: Node(u, name) for alias in function.aliases})
        return found

    def _global_data(self) -> dict[str, Datum]:
        found: dict[str, Datum] = {}
        for u, change in enumerate(self.changes):
            for atom in change.post.atoms.values():
                if atom.kind is not AtomKind.CODE and atom.is_global and atom.index not in change.pairs.pre_of:
                    found.update({s.name: Datum(u, atom.index) for s in atom.symbols})
        return found

    def _closure(self, roots: Iterable[Node]) -> set[Node]:
        members: set[Node] = set()
        todo = list(roots)
        while todo:
            node = todo.pop()
            if node not in members:
                members.add(node)
                todo.extend(self.reach(node).functions)
        return members

    def _compute(self, node: Node) -> Reach:
        change = self.changes[node.unit]
        reach = Reach()
        seen: set[tuple[int, int, int]] = set()
        function = change.post.functions[node.name]
        parts = (*function.atoms, *change.post.tables_of(function))
        todo = [(node.unit, a, (0, a.size)) for a in parts]
        while todo:
            unit, atom, (low, high) = todo.pop()
            for ref in atom.references:
                if not low <= ref.offset < high:
                    continue
                for owner, following in self._follow(unit, atom, ref, reach):
                    post = self.changes[owner].post
                    part = post.piece(following, post.pointed(atom, ref)) if following.is_pool else (0, following.size)
                    if (owner, following.index, part[0]) not in seen and following.kind is not AtomKind.CODE:
                        seen.add((owner, following.index, part[0]))
                        todo.append((owner, following, part))
        reach.functions.discard(node)
        return reach

    def _follow(self, unit: int, source: Atom, ref: Reference, reach: Reach) -> list[tuple[int, Atom]]:
        """Note what a reference needs; return data atoms that come along and have references of their own."""
        change = self.changes[unit]
        if ref.section is None:
            return self._external(ref, reach)
        target = change.post.atoms.get(ref.section)
        if target is None:
            reach.refusals.append(_unplaced(change.post.elf.sections[ref.section].name))
            return []
        if target.kind is AtomKind.CODE:
            self._code(unit, target, reach)
            return []
        if target.kind is AtomKind.THREAD:
            if target.index not in change.pairs.pre_of:
                reach.refusals.append(_new_thread_variable(target.label))
            return []
        if change.is_copied(target):
            kept = self._kept[unit].get(target.label)
            if kept is not None:
                reach.refusals.append(kept)
            if target.label in change.unstored:
                reach.refusals.append(dropped(target.label))
            reach.data.add(Datum(unit, target.index))
            return [(unit, target)]
        problem = self._running_datum(change, target, ref)
        if problem is not None:
            reach.refusals.append(problem)
        return []

    def _external(self, ref: Reference, reach: Reach) -> list[tuple[int, Atom]]:
        function = self._by_name.get(ref.symbol)
        if function is not None:
            reach.functions.add(function)
            return []
        datum = self._new_data.get(ref.symbol)
        if datum is not None:
            reach.data.add(datum)
            return [(datum.unit, self.changes[datum.unit].post.atoms[datum.index])]
        return []

    def _code(self, unit: int, target: Atom, reach: Reach) -> None:
        change = self.changes[unit]
        function = change.post.function_of.get(target.index)
        if function is None:
            reach.refusals.append(_unplaced(target.section.name))
        elif function.name in change.replaced or function.name in change.new:
            reach.functions.add(Node(unit, function.name))
        elif change.address_of(target) is None:
            reach.refusals.append(
                Refusal(
                    f"it calls {function.name}, whose address in the running code is not proved",
                    "make the patch for a build whose whole unit matches",
                )
            )

    def _running_datum(self, change: UnitChange, target: Atom, ref: Reference) -> Refusal | None:
        if target.index in change.pairs.ambiguous:
            return Refusal(
                f"several variables are called {target.label.split('.')[0]} and can't be told apart",
                f"rename the static local in the fix so that it is a variable of its own, or {RESTART}",
            )
        if target.label in change.difference.changed_variables:
            return Refusal(
                f"the fix changes the initial value or size of the variable {target.label}, which is set already in "
                "a running process",
                f"give the new value in code that runs after the patch, or {RESTART}",
            )
        if change.leads_inside(target):
            return Refusal(
                f"the variable {target.label} holds addresses of labels inside functions that the fix changes",
                RESTART,
            )
        if not target.is_exportable(ref.symbol) and change.address_of(target) is None:
            return Refusal(
                f"the address of the variable {target.label} in the running process is not proved",
                "make the patch for a build whose whole unit matches",
            )
        return None

    def _join_calls(self, members: set[Node], parent: dict[Node, Node]) -> None:
        for node in members:
            for other in self.reach(node).functions & members:
                _join(parent, node, other)
        for u, change in enumerate(self.changes):
            for name in change.replaced:
                for called in self._called_before(u, change, name):
                    if called in members:
                        _join(parent, Node(u, name), called)

    def _called_before(self, unit: int, change: UnitChange, name: str) -> Iterable[Node]:
        old = old_function(change, name)
        for atom in old.atoms if old else ():
            for ref in atom.references:
                if ref.section is None:
                    node = self._by_name.get(ref.symbol)
                    if node is not None and self.is_replaced(node):
                        yield node
                elif ref.section in change.pre.function_of:
                    called = change.pre.function_of[ref.section]
                    post_index = change.pairs.post_of.get(called.hot.index)
                    if post_index is not None and post_index in change.post.function_of:
                        post_name = change.post.function_of[post_index].name
                        if post_name in change.replaced:
                            yield Node(unit, post_name)

    def _join_data(self, members: set[Node], parent: dict[Node, Node]) -> None:
        """Functions that share a new variable or a changed constant."""
        owner: dict[Datum, Node] = {}
        for node in sorted(members):
            for datum in self.reach(node).data:
                atom = self.changes[datum.unit].post.atoms[datum.index]
                shared = (
                    atom.kind in (AtomKind.DATA, AtomKind.BSS)
                    or atom.label in self.changes[datum.unit].difference.changed_constants
                )
                if shared:
                    _join(parent, node, owner.setdefault(datum, node))

    def _join_dropped(self, members: set[Node], parent: dict[Node, Node]) -> None:
        """Functions whose old code uses a variable that one of them no longer does: once no code of post reads it, the
        compiler leaves out what other functions store there, and old code that goes on would read what nobody has
        stored."""
        for u, change in enumerate(self.changes):
            users: dict[int, list[Node]] = defaultdict(list)
            dropped: set[int] = set()
            for node in sorted(n for n in members if n.unit == u and self.is_replaced(n)):
                before = _variables_before(change, node.name)
                after = {
                    change.pairs.pre_of.get(ref.section, -1)
                    for atom in change.post.functions[node.name].atoms
                    for ref in atom.references
                    if ref.section is not None
                }
                dropped |= before - after
                for index in before:
                    users[index].append(node)
            for index in dropped:
                for node in users[index][1:]:
                    _join(parent, users[index][0], node)

    def _problems(self, node: Node) -> list[Refusal]:
        given = self._given.get(node)
        return ([given] if given else []) + self.reach(node).refusals

    def _reject(self, nodes: Sequence[Node], problems: Sequence[tuple[Node, Refusal]]) -> Iterable[Rejected]:
        own = {n: r for n, r in reversed(problems)}
        for node in nodes:
            if node in own:
                yield Rejected(node.unit, node.name, own[node])
            elif self.is_replaced(node):
                cause, _ = problems[0]
                yield Rejected(
                    node.unit,
                    node.name,
                    Refusal(f"it belongs together with {cause.name}, which is refused", f"see {cause.name}"),
                )

    def _selected(self, nodes: Sequence[Node]) -> Selected:
        data = {d for n in nodes for d in self.reach(n).data}
        return Selected(
            tuple(n for n in nodes if self.is_replaced(n) and n not in self.undiverted),
            tuple(n for n in nodes if not self.is_replaced(n) or n in self.undiverted),
            tuple(sorted(data, key=lambda d: (d.unit, d.index))),
        )


def only_called_by_replaced(change: UnitChange, name: str) -> bool:
    """Whether an old function is reached by nothing but calls from functions that are replaced too, so that it needs no
    jump."""
    old = old_function(change, name)
    if old is None or old.hot.is_global:
        return False
    inside = {a.index for a in old.atoms}
    for atom in change.pre.atoms.values():
        for ref in atom.references:
            if ref.section not in inside or atom.index in inside:
                continue
            caller = change.pre.function_of.get(atom.index)
            post_index = change.pairs.post_of.get(caller.hot.index) if caller else None
            if caller is None or not atom.is_branch(ref):
                return False
            if post_index is not None and change.post.function_of[post_index].name not in change.replaced:
                return False
    return True


def _variables_before(change: UnitChange, name: str) -> set[int]:
    """Variables (atoms of pre) that an old function uses, itself or through functions that the fix has no more."""
    old = old_function(change, name)
    todo = [old] if old else []
    seen: set[int] = set()
    found: set[int] = set()
    while todo:
        for atom in todo.pop().atoms:
            for section in {r.section for r in atom.references if r.section is not None} - seen:
                seen.add(section)
                target = change.pre.atoms.get(section)
                called = change.pre.function_of.get(section)
                if called is not None and called.hot.index not in change.pairs.post_of:
                    todo.append(called)
                elif target is not None and target.kind in (AtomKind.DATA, AtomKind.BSS):
                    found.add(section)
    return found


def old_function(change: UnitChange, name: str) -> AtomFunction | None:
    """The pre function that a function of post takes the place of."""
    index = change.pairs.pre_of.get(change.post.functions[name].hot.index)
    return change.pre.function_of.get(index) if index is not None else None


def _unplaced(section: str) -> Refusal:
    return Refusal(
        f"it refers to section {section}, which a live patch does not carry",
        RESTART,
    )


def _new_thread_variable(label: str) -> Refusal:
    return Refusal(
        f"the fix adds the thread-local variable {label}; a running process has no room for it in its threads",
        f"rewrite the fix without a new thread-local variable, or {RESTART}",
    )


def _root(parent: dict[Node, Node], node: Node) -> Node:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


def _join(parent: dict[Node, Node], a: Node, b: Node) -> None:
    low, high = sorted((_root(parent, a), _root(parent, b)))
    parent[high] = low
