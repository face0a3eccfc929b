"""Which changed functions can be replaced live, each by itself and in groups: entries, types, exceptions, registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from suture.delta.change import UnitChange
from suture.delta.clobber import World, violations
from suture.delta.early import run_already
from suture.delta.exception import may_unwind
from suture.delta.layout import changed_signatures
from suture.delta.leftover import callers_left
from suture.delta.selection import Node, Selected, old_function, only_called_by_replaced
from suture.make.caller import places_that_refer
from suture.make.entry import Entry, plan_entry
from suture.make.refusal import chooses, clobber_problem, layout_problem, signature_problem, vtable_problem
from suture.make.relaxed import called_otherwise, told_of_one_another
from suture.match.run import Run
from suture.refusal import RESTART, Refusal

# who needs one of these has libgcc's unwinder as long as it is loaded: libstdc++ needs it in turn
_RUNTIMES = frozenset({"libgcc_s.so.1", "libstdc++.so.6"})
_OWN_RUNTIME = frozenset({"dl_iterate_phdr", "_dl_find_object"})


@dataclass
class Checks:
    """What is known of each changed function: how its old code is diverted (`entries`), or why it can't be replaced
    (`refusals`).

    `undiverted` are replaced functions that only replaced ones call; an exception may pass through those of `unwound`.
    """

    changes: Sequence[UnitChange]
    run: Run
    relaxed: bool
    entries: dict[Node, Entry] = field(default_factory=dict)
    refusals: dict[Node, Refusal] = field(default_factory=dict)
    undiverted: set[Node] = field(default_factory=set)
    unwound: set[Node] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._plan_entries()
        self._check_types()
        self._check_exceptions()

    def _plan_entries(self) -> None:
        for u, change in enumerate(self.changes):
            self.refusals.update({Node(u, n): r for n, r in {**callers_left(change), **run_already(change)}.items()})
            self.refusals.update({Node(u, n): chooses() for n in change.new if change.post.functions[n].is_ifunc})
            for name in sorted(change.replaced):
                node = Node(u, name)
                found = self._entry(change, name, self.relaxed)
                if isinstance(found, Entry):
                    self.entries[node] = found
                elif only_called_by_replaced(change, name):
                    self.undiverted.add(node)
                else:
                    self.refusals.setdefault(node, found)

    def _entry(self, change: UnitChange, name: str, relaxed: bool) -> Entry | Refusal:
        old = old_function(change, name)
        placed = change.match.functions.get(old.name) if old else None
        if old is None or placed is None:
            return change.unlike
        if name.startswith("."):
            return Refusal("the fix changes assembly at file level", RESTART)
        if old.is_ifunc or change.post.functions[name].is_ifunc:
            return chooses()
        code = self.run.code_at(placed.address, placed.size)
        if code is None:
            return Refusal("its old code is not in one executable section", RESTART)
        targets = change.pre.inner_targets(old)
        if targets and old.name not in change.match.verified:
            return Refusal(
                "its switch tables could not be compared with the running ones",
                RESTART,
            )
        return plan_entry(code, placed.address, targets, relaxed)

    def _check_types(self) -> None:
        for u, change in enumerate(self.changes):
            problem = layout_problem(change) or vtable_problem(change)
            if problem is not None:
                for name in change.replaced:
                    self.refusals.setdefault(Node(u, name), problem)
            # a function whose code stays takes old and new arguments alike
            for signature in changed_signatures(change.pre.elf, change.post.elf):
                if signature.name in change.replaced and not self._all_callers_replaced(change, signature.name):
                    self.refusals.setdefault(Node(u, signature.name), signature_problem(signature))
            if self.relaxed:
                diverted = {n for n in change.replaced if Node(u, n) not in self.undiverted}
                for name, refusal in called_otherwise(change, diverted).items():
                    self.refusals.setdefault(Node(u, name), refusal)

    def _all_callers_replaced(self, change: UnitChange, name: str) -> bool:
        """Whether nothing in the running binary leads to a function but calls from old code of functions that are
        replaced.

        Those call it before the fix, so they are in its group, and switch with it or not at all.
        """
        old = old_function(change, name)
        placed = change.match.functions.get(old.name) if old else None
        if old is None or placed is None or any(alias in self.run.exports for alias in old.aliases):
            return False
        places = places_that_refer(self.run, placed.address)
        return places is not None and all(
            p.is_branch and any(p.address in body for body in self._old_bodies) for p in places
        )

    @cached_property
    def _old_bodies(self) -> list[range]:
        """Addresses of the running code of all functions that are replaced, cold parts included."""
        found = []
        for change in self.changes:
            for name in change.replaced:
                old = old_function(change, name)
                for atom in old.atoms if old else ():
                    address = change.address_of_pre(atom)
                    if address is not None:
                        found.append(range(address, address + (change.size_in_run(atom.label) or atom.size)))
        return found

    def _check_exceptions(self) -> None:
        for u, change in enumerate(self.changes):
            for name in sorted(change.replaced | change.new):
                if not may_unwind(change.post, change.post.functions[name], change.source):
                    continue
                if change.post.strange_frames:
                    problem = (
                        "an exception may have to pass through it, and its unwind tables are not understood: "
                        f"{change.post.strange_frames}"
                    )
                elif _RUNTIMES & set(self.run.needed):
                    self.unwound.add(Node(u, name))
                    continue
                elif self._has_no_runtime and not change.post.tables_of(change.post.functions[name]):
                    continue  # what passes comes from other binaries; where they have a runtime, it is told
                else:
                    problem = (
                        "an exception may have to pass through it, and the binary does not take the C++ runtime from "
                        "a shared library"
                    )
                refusal = Refusal(problem, RESTART)
                self.refusals.setdefault(Node(u, name), refusal)

    @property
    def _has_no_runtime(self) -> bool:
        """Whether the binary brings no unwinder of its own: that would ask the loader where the images are."""
        return self.run.is_dynamic and not _OWN_RUNTIME & self.run.imports

    def clobbers(self, groups: Sequence[Selected], relaxed: bool) -> dict[Node, Refusal]:
        """Each group is checked on its own, since others may stay busy, and then all together."""
        found: dict[Node, Refusal] = {}
        sets = [[g] for g in groups] + ([list(groups)] if len(groups) > 1 else [])
        for some in sets:
            for u, change in enumerate(self.changes):
                replaced = frozenset(n.name for g in some for n in g.replaced if n.unit == u)
                new = frozenset(n.name for g in some for n in g.new if n.unit == u)
                if not replaced:
                    continue
                gone = {old.name for n in replaced | new if n in change.replaced and (old := old_function(change, n))}
                undiverted = new & change.replaced
                for hit in violations(change.pre.elf, change.post.elf, replaced, new - undiverted, undiverted, relaxed):
                    node = next((n for g in some for n in g.replaced if n.unit == u and n.name == hit.callee), None)
                    node = node or next(n for g in some for n in g.replaced if n.unit == u)
                    found[node] = clobber_problem(hit, hit.world is World.PRE and hit.caller in gone)
        return found

    def told(self, groups: Sequence[Selected]) -> dict[Node, Refusal]:
        """What old frames may not lead to, by what the compiler told functions of one another."""
        found: dict[Node, Refusal] = {}
        for u, change in enumerate(self.changes):
            names = [n.name for g in groups for n in g.replaced if n.unit == u]
            found |= {Node(u, name): refusal for name, refusal in told_of_one_another(change, names).items()}
        return found

    def may_be_relaxed(self, group: Selected) -> bool:
        """Whether a strict patch's group would also go in with old frames that go on."""
        by_unit = {n.unit: {m.name for m in group.replaced if m.unit == n.unit} for n in group.replaced}
        return (
            not any(called_otherwise(self.changes[u], names) for u, names in by_unit.items())
            and not self.clobbers([group], True)
            and not self.told([group])
            and all(isinstance(self._entry(self.changes[n.unit], n.name, True), Entry) for n in group.replaced)
        )

    @property
    def leads(self) -> dict[Node, bytes]:
        return {n: e.undo for n, e in self.entries.items() if e.undo}
