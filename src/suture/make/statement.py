"""What a live patch says of itself: its groups, what it refuses, notes, and what a person should look at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from suture.delta.change import UnitChange
from suture.delta.kept import escapes, kept_constants
from suture.delta.line import line_of
from suture.delta.review import reviews
from suture.delta.selection import Node, Rejected, Selected, old_function
from suture.make.check import Checks
from suture.make.endless import never_returns
from suture.make.old_code import old_code
from suture.make.place import Placement
from suture.match.run import Run
from suture.patch.consistency import Consistency
from suture.patch.main_loop import endless_note
from suture.patch.manifest import (
    Group,
    OldPart,
    RefusedFunction,
    ReplacedFunction,
    Review,
)
from suture.refusal import RESTART


@dataclass(frozen=True)
class PatchContents:
    """What goes into a patch: `functions` as (object of the unit, name in post), `names` are all symbols that it
    uses."""

    functions: frozenset[tuple[str, str]]
    names: frozenset[str]


@dataclass
class Statements:
    """What a patch says of the groups that go in, and of what doesn't. `relaxed` and `apart` are the reasons given for
    them."""

    changes: Sequence[UnitChange]
    run: Run
    checks: Checks
    relaxed: str
    apart: str

    def group(self, layout: Placement, group: Selected) -> Group:
        functions = tuple(self._replaced(layout, n) for n in group.replaced)
        return Group(group.replaced[0].name, functions, tuple(self._parts(group)))

    def _replaced(self, layout: Placement, node: Node) -> ReplacedFunction:
        change = self.changes[node.unit]
        old = old_function(change, node.name)
        assert old is not None
        placed = change.match.functions[old.name]
        code = self.run.code_at(placed.address, placed.size)
        assert code is not None
        entry = self.checks.entries[node]
        symbol = layout.symbol_of(node)
        digest = hashlib.sha256(code).hexdigest()
        return ReplacedFunction(
            old.name,
            placed.address,
            placed.size,
            digest,
            entry.entry,
            entry.displaced,
            f"{symbol}.entry" if entry.undo else symbol,
            f"{symbol}.orig",
            Consistency.RELAXED if self.relaxed else Consistency.STRICT,
            self._is_endless(node),
            old_code(old, change.post.functions.get(node.name)),
        )

    def _is_endless(self, node: Node) -> bool:
        """Whether the running function with its cold parts loops and never returns."""
        change = self.changes[node.unit]
        old = old_function(change, node.name)
        bodies = []
        for atom in old.atoms if old else ():
            address = change.address_of_pre(atom)
            code = (
                self.run.code_at(address, change.size_in_run(atom.label) or atom.size) if address is not None else None
            )
            if code is None or address is None:
                return False
            bodies.append((address, code))
        return old is not None and never_returns(bodies, bool(change.pre.inner_targets(old)))

    def _parts(self, group: Selected) -> Iterable[OldPart]:
        """Cold parts, functions that need no jump, and functions that are gone: code that an old frame may still be
        in."""
        found: dict[int, OldPart] = {}
        for node in group.replaced + group.new:
            change = self.changes[node.unit]
            old = old_function(change, node.name)
            atoms = [] if old is None else list(old.atoms if node in self.checks.undiverted else old.atoms[1:])
            for name in change.difference.gone:
                gone = change.pre.functions.get(name)
                atoms.extend(gone.atoms if gone else ())
            for atom in atoms:
                address = change.address_of_pre(atom)
                if address is not None:
                    found[address] = OldPart(atom.label, address, change.size_in_run(atom.label) or atom.size)
        return [found[a] for a in sorted(found)]

    def carried(self, groups: Sequence[Selected]) -> PatchContents:
        functions, names = set[tuple[str, str]](), set[str]()
        for group in groups:
            for node in group.replaced + group.new:
                change = self.changes[node.unit]
                functions.add((change.object, node.name))
                for atom in change.post.functions[node.name].atoms:
                    names.update(r.symbol for r in atom.references)
            for datum in group.data:
                atom = self.changes[datum.unit].post.atoms[datum.index]
                names.update(r.symbol for r in atom.references)
        return PatchContents(frozenset(functions), frozenset(names))

    def notes(self, groups: Sequence[Selected]) -> tuple[str, ...]:
        notes = [f"functions of one fix may switch at different times: {self.apart}"] if self.apart else []
        for change in self.changes:
            if not change.match.unit.whole:
                notes.append(
                    f"{change.source}: not every code section was found as a whole; functions were matched one by one"
                )
        for group in groups:
            for datum in group.data:
                change = self.changes[datum.unit]
                atom = change.post.atoms[datum.index]
                before = change.pre.atoms.get(change.pairs.pre_of.get(atom.index, -1))
                if atom.label not in change.difference.changed_constants or before is None:
                    continue
                if escapes(change.pre, before):
                    notes.append(
                        f"{change.source}: new code uses a new copy of the constant {atom.label}; who was passed the "
                        "address of the old one and kept it reads the old contents"
                    )
        for group in groups:
            for node in group.replaced:
                if self._is_endless(node):
                    relaxed = bool(self.relaxed)
                    notes.append(endless_note(node.name, relaxed, relaxed or self.checks.may_be_relaxed(group)))
        return tuple(sorted(set(notes)))

    def reviews(self, groups: Sequence[Selected]) -> tuple[Review, ...]:
        """What a person should look at, of the functions that go in."""
        names = {(self.changes[n.unit].source, n.name) for g in groups for n in g.replaced}
        return tuple(Review(*r) for r in reviews(self.changes) if (r.file, r.function) in names)

    def refused(self, rejected: Sequence[Rejected]) -> Iterable[RefusedFunction]:
        for row in rejected:
            change = self.changes[row.unit]
            line = line_of(change.post.elf, row.name)
            yield RefusedFunction(row.name, change.source, line, row.refusal.reason, row.refusal.remedy)
        for change in self.changes:
            for label in sorted(change.difference.changed_variables):
                reason = (
                    f"the fix changes the initial value or size of the variable {label}, which a running process has "
                    "set already"
                )
                yield RefusedFunction(label, change.source, line_of(change.post.elf, label), reason, RESTART)
            for label, refusal in sorted(kept_constants(change).items()):
                line = line_of(change.post.elf, label)
                yield RefusedFunction(label, change.source, line, refusal.reason, refusal.remedy)
            for label in sorted(change.difference.changed_constants):
                atom = next((a for a in change.post.atoms.values() if a.label == label), None)
                if atom is not None and atom.is_global:
                    reason = f"the fix changes the constant {label}, which other files refer to"
                    yield RefusedFunction(label, change.source, line_of(change.post.elf, label), reason, RESTART)
