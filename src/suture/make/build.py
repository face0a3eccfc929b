"""From the changes of one binary's units to the bytes of its live patch: select, check, place, write.

Pure: it reads no file and runs nothing; what only the source tree can tell comes through `elsewhere`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from suture.delta.change import UnitChange
from suture.delta.clobber import Violation, World, violations
from suture.delta.compare import difference, reconciled
from suture.delta.early import run_already
from suture.delta.exception import may_unwind
from suture.delta.family import joined
from suture.delta.kept import escapes, kept_constants
from suture.delta.layout import SignatureChange, changed_layouts, changed_signatures
from suture.delta.leftover import callers_left
from suture.delta.line import line_of
from suture.delta.review import reviews
from suture.delta.selection import Node, Rejected, Selected, Selection, old_function, only_called_by_replaced
from suture.elf.abi import SymbolBind, SymbolType
from suture.elf.object_writer import NewRelocation, NewSection, NewSymbol, write_object
from suture.make.caller import places_that_refer
from suture.make.endless import never_returns
from suture.make.entry import Entry, plan_entry
from suture.make.old_code import old_code
from suture.make.place import Placement
from suture.make.relaxed import REMEDY, called_otherwise, told_of_one_another
from suture.make.resolve import Elsewhere, Resolver, Unresolvable
from suture.match.proof import Proof
from suture.match.run import Run
from suture.patch.consistency import Consistency
from suture.patch.file import MANIFEST_SECTION
from suture.patch.main_loop import endless_note
from suture.patch.manifest import (
    FixFact,
    Group,
    Manifest,
    OldPart,
    RefusedFunction,
    ReplacedFunction,
    Review,
    Suspending,
    Target,
    Verdict,
)
from suture.patch.seal import seal
from suture.refusal import RESTART, Refusal

# who needs one of these has libgcc's unwinder as long as it is loaded: libstdc++ needs it in turn
_RUNTIMES = frozenset({"libgcc_s.so.1", "libstdc++.so.6"})
_OWN_RUNTIME = frozenset({"dl_iterate_phdr", "_dl_find_object"})


@dataclass(frozen=True)
class Built:
    """`data` is the patch file, None when nothing of the fix could go in; `refused` lists what could not."""

    data: bytes | None
    manifest: Manifest | None
    refused: tuple[RefusedFunction, ...]


@dataclass(frozen=True)
class PatchContents:
    """What goes into a patch: `functions` as (object of the unit, name in post), `names` are all symbols that it
    uses."""

    functions: frozenset[tuple[str, str]]
    names: frozenset[str]


Close = Callable[[Sequence[UnitChange], PatchContents, Sequence[RefusedFunction]], tuple[FixFact, ...]]
"""The fixes with their ledgers, from the changes as they were compared, what goes in, and what is refused."""

Members = Callable[[Sequence[UnitChange]], Sequence[frozenset[tuple[str, str]]]]
"""The functions of each fix, as (object of the unit, name in post)."""


def build(
    name: str,
    target: Target,
    changes: Sequence[UnitChange],
    run: Run,
    fixes: Sequence[FixFact],
    elsewhere: Elsewhere,
    toolchain: dict[str, str],
    request: Mapping[str, tuple[str, ...]],
    refused: tuple[RefusedFunction, ...] = (),
    suspends: tuple[Suspending, ...] = (),
    close: Close | None = None,
    members: Members | None = None,
) -> Built:
    """Make the live patch of one binary. `changes` are its units that differ; they are taken in the order of their
    sources.

    `refused` is what was refused already and goes into the verdict; `request` is what `suture verify` needs to make it
    again. With a reason under `relaxed` in it, old frames may finish in old code; with one under `apart`, functions of
    one fix may switch at different times. `suspends` are functions that suspended coroutines stand in. `close` brings
    every line of the fixes to account; without it they account for nothing. `members` tells functions of several fixes
    apart; without it all are of one.
    """
    ordered = tuple(sorted((_reconciled(c) for c in changes), key=lambda c: (c.source, c.object)))
    return _Build(
        name, target, ordered, run, fixes, elsewhere, toolchain, request, refused, suspends, close, members
    ).result()


@dataclass
class _Build:
    name: str
    target: Target
    changes: Sequence[UnitChange]
    run: Run
    fixes: Sequence[FixFact]
    elsewhere: Elsewhere
    toolchain: dict[str, str]
    request: Mapping[str, tuple[str, ...]]
    refused_before: tuple[RefusedFunction, ...]
    suspends: tuple[Suspending, ...] = ()
    close: Close | None = None
    members: Members | None = None
    entries: dict[Node, Entry] = field(default_factory=dict)
    refusals: dict[Node, Refusal] = field(default_factory=dict)
    undiverted: set[Node] = field(default_factory=set)
    unwound: set[Node] = field(default_factory=set)

    def result(self) -> Built:
        self._plan_entries()
        self._check_types()
        self._check_exceptions()
        while True:
            selection = Selection(self.changes, self.refusals, frozenset(self.undiverted))
            alone, rejected = selection.groups()
            groups = self._joined(alone)
            found = (
                self._clobbers(alone, bool(self._relaxed))
                or self._unresolvable(selection, alone)
                or self._clobbers(groups, bool(self._relaxed))
                or (self._told(groups) if self._relaxed else {})
            )
            if not found:
                break
            self.refusals.update(found)
        refused = tuple(sorted({*self.refused_before, *self._refused(rejected)}, key=lambda r: (r.file, r.function)))
        if not groups:
            return Built(None, None, refused)
        layout = self._laid_out(selection, groups)
        manifest = self._manifest(layout, groups, refused)
        section = NewSection(MANIFEST_SECTION, 0, manifest.to_json())
        undefined = [NewSymbol(n, None, bind=SymbolBind.GLOBAL) for n in sorted(layout.resolver.symbols)]
        data = seal(write_object([*layout.sections(), section], [*layout.symbols, *undefined]))
        return Built(data, manifest, refused)

    def _joined(self, groups: tuple[Selected, ...]) -> tuple[Selected, ...]:
        """Groups of one fix as one, unless they may switch apart. What is refused of a fix is out of it by then."""
        return groups if self._apart else joined(groups, self._families)

    @cached_property
    def _families(self) -> Sequence[frozenset[Node]]:
        if self.members is None:
            return [frozenset(Node(u, n) for u, c in enumerate(self.changes) for n in c.replaced | c.new)]
        units = {c.object: u for u, c in enumerate(self.changes)}
        return [frozenset(Node(units[o], n) for o, n in one) for one in self.members(self.changes)]

    def _plan_entries(self) -> None:
        for u, change in enumerate(self.changes):
            self.refusals.update({Node(u, n): r for n, r in {**callers_left(change), **run_already(change)}.items()})
            self.refusals.update({Node(u, n): _chooses() for n in change.new if change.post.functions[n].is_ifunc})
            for name in sorted(change.replaced):
                node = Node(u, name)
                found = self._entry(change, name, bool(self._relaxed))
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
            return _chooses()
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
            problem = _layout_problem(change) or _vtable_problem(change)
            if problem is not None:
                for name in change.replaced:
                    self.refusals.setdefault(Node(u, name), problem)
            # a function whose code stays takes old and new arguments alike
            for signature in changed_signatures(change.pre.elf, change.post.elf):
                if signature.name in change.replaced and not self._all_callers_replaced(change, signature.name):
                    self.refusals.setdefault(Node(u, signature.name), _signature_problem(signature))
            if self._relaxed:
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

    def _clobbers(self, groups: Sequence[Selected], relaxed: bool) -> dict[Node, Refusal]:
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
                    found[node] = _clobber_problem(hit, hit.world is World.PRE and hit.caller in gone)
        return found

    def _told(self, groups: Sequence[Selected]) -> dict[Node, Refusal]:
        """What old frames may not lead to, by what the compiler told functions of one another."""
        found: dict[Node, Refusal] = {}
        for u, change in enumerate(self.changes):
            names = [n.name for g in groups for n in g.replaced if n.unit == u]
            found |= {Node(u, name): refusal for name, refusal in told_of_one_another(change, names).items()}
        return found

    def _may_be_relaxed(self, group: Selected) -> bool:
        """Whether a strict patch's group would also go in with old frames that go on."""
        by_unit = {n.unit: {m.name for m in group.replaced if m.unit == n.unit} for n in group.replaced}
        return (
            not any(called_otherwise(self.changes[u], names) for u, names in by_unit.items())
            and not self._clobbers([group], True)
            and not self._told([group])
            and all(isinstance(self._entry(self.changes[n.unit], n.name, True), Entry) for n in group.replaced)
        )

    def _unresolvable(self, selection: Selection, groups: Sequence[Selected]) -> dict[Node, Refusal]:
        """Place each group alone, to learn which can't be resolved."""
        found: dict[Node, Refusal] = {}
        for group in groups:
            try:
                Placement(selection, Resolver(self.run, self.elsewhere), self._leads).add((group,))
            except Unresolvable as problem:
                found[(group.replaced or group.new)[0]] = Refusal(str(problem), RESTART)
        return found

    @property
    def _leads(self) -> dict[Node, bytes]:
        return {n: e.undo for n, e in self.entries.items() if e.undo}

    def _laid_out(self, selection: Selection, groups: tuple[Selected, ...]) -> Placement:
        layout = Placement(selection, Resolver(self.run, self.elsewhere), self._leads)
        layout.add(groups)
        thunks = layout.outputs[".text.orig"]
        for group in groups:
            for node in group.replaced:
                entry = self.entries[node]
                offset = thunks.append(entry.thunk, 16)
                layout.define(f"{layout.symbol_of(node)}.orig", ".text.orig", offset, len(entry.thunk), SymbolType.FUNC)
                names = {
                    n: layout.resolver.image(n, a, ("displaced code of the old entry",))
                    for n, a in entry.symbols.items()
                }
                thunks.relocations.extend(
                    NewRelocation(offset + r.r_offset, r.r_type, names[r.symbol], r.r_addend) for r in entry.relocations
                )
        return layout

    def _manifest(
        self, layout: Placement, groups: Sequence[Selected], refused: tuple[RefusedFunction, ...]
    ) -> Manifest:
        units = tuple(c.match.unit for c in self.changes)
        fixes = tuple(self.fixes) if self.close is None else self.close(self.changes, self._carried(groups), refused)
        complete = self.close is None or all(f.ledger.is_complete for f in fixes)
        return Manifest(
            name=self.name,
            target=self.target,
            fixes=fixes,
            groups=tuple(self._group(layout, g) for g in groups),
            symbols=dict(sorted(layout.resolver.symbols.items())),
            verdict=Verdict(not refused and complete, self._notes(groups), refused, self._reviews(groups)),
            proof=Proof(units, layout.resolver.proof),
            toolchain=self.toolchain,
            request=dict(self.request),
            suspends=self.suspends,
            relaxed=self._relaxed,
            exceptions=any(n in self.unwound for g in groups for n in g.replaced + g.new),
        )

    @property
    def _relaxed(self) -> str:
        return next(iter(self.request.get("relaxed", ())), "")

    @property
    def _apart(self) -> str:
        return next(iter(self.request.get("apart", ())), "")

    def _group(self, layout: Placement, group: Selected) -> Group:
        functions = tuple(self._replaced(layout, n) for n in group.replaced)
        return Group(group.replaced[0].name, functions, tuple(self._parts(group)))

    def _replaced(self, layout: Placement, node: Node) -> ReplacedFunction:
        change = self.changes[node.unit]
        old = old_function(change, node.name)
        assert old is not None
        placed = change.match.functions[old.name]
        code = self.run.code_at(placed.address, placed.size)
        assert code is not None
        entry = self.entries[node]
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
            Consistency.RELAXED if self._relaxed else Consistency.STRICT,
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
            atoms = [] if old is None else list(old.atoms if node in self.undiverted else old.atoms[1:])
            for name in change.difference.gone:
                gone = change.pre.functions.get(name)
                atoms.extend(gone.atoms if gone else ())
            for atom in atoms:
                address = change.address_of_pre(atom)
                if address is not None:
                    found[address] = OldPart(atom.label, address, change.size_in_run(atom.label) or atom.size)
        return [found[a] for a in sorted(found)]

    def _carried(self, groups: Sequence[Selected]) -> PatchContents:
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

    def _notes(self, groups: Sequence[Selected]) -> tuple[str, ...]:
        notes = [f"functions of one fix may switch at different times: {self._apart}"] if self._apart else []
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
                    relaxed = bool(self._relaxed)
                    notes.append(endless_note(node.name, relaxed, relaxed or self._may_be_relaxed(group)))
        return tuple(sorted(set(notes)))

    def _reviews(self, groups: Sequence[Selected]) -> tuple[Review, ...]:
        """What a person should look at, of the functions that go in."""
        names = {(self.changes[n.unit].source, n.name) for g in groups for n in g.replaced}
        return tuple(Review(*r) for r in reviews(self.changes) if (r.file, r.function) in names)

    def _refused(self, rejected: Sequence[Rejected]) -> Iterable[RefusedFunction]:
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
                yield RefusedFunction(
                    label,
                    change.source,
                    line_of(change.post.elf, label),
                    reason,
                    RESTART,
                )
            for label, refusal in sorted(kept_constants(change).items()):
                line = line_of(change.post.elf, label)
                yield RefusedFunction(label, change.source, line, refusal.reason, refusal.remedy)
            for label in sorted(change.difference.changed_constants):
                atom = next((a for a in change.post.atoms.values() if a.label == label), None)
                if atom is not None and atom.is_global:
                    reason = f"the fix changes the constant {label}, which other files refer to"
                    yield RefusedFunction(
                        label,
                        change.source,
                        line_of(change.post.elf, label),
                        reason,
                        RESTART,
                    )


def _chooses() -> Refusal:
    return Refusal(
        "it chooses an implementation when the program is loaded (IFUNC), which has happened already",
        RESTART,
    )


def _reconciled(change: UnitChange) -> UnitChange:
    return replace(change, difference=reconciled(change.difference, difference(change.pre, change.post)))


def _layout_problem(change: UnitChange) -> Refusal | None:
    layouts = [c for c in changed_layouts(change.pre.elf, change.post.elf, change.replaced) if c.outlives]
    if not layouts:
        return None
    first = layouts[0]
    return Refusal(
        f"the fix changes the layout of {first.name} ({first.file}:{first.line}: {first.what}); objects that exist "
        "already would be misread",
        f"keep the layout in the fix (a shadow table beside it), or {RESTART}",
    )


def _vtable_problem(change: UnitChange) -> Refusal | None:
    changed = change.difference.changed_constants
    tables = sorted(a.label for a in change.post.atoms.values() if a.is_vtable and a.label in changed)
    if not tables:
        return None
    return Refusal(
        f"the fix changes the table of virtual functions {tables[0]}; objects that exist already keep the old one",
        "keep the class's virtual functions as they are in the fix, or restart the program",
    )


def _clobber_problem(hit: Violation, by_old_frame: bool) -> Refusal:
    if not hit.registers:
        return Refusal(
            f"a relaxed patch lets old frames of {hit.caller} go on, which may call {hit.callee} with a stack that "
            "is not aligned as the new code needs it",
            REMEDY,
        )
    registers = ", ".join(sorted(hit.registers))
    keeps = f"{hit.caller} keeps {registers} across its call of {hit.callee}, which the new code changes (-fipa-ra)"
    if by_old_frame:
        return Refusal(f"a relaxed patch lets old frames of {hit.caller} go on, and {keeps}", REMEDY)
    return Refusal(keeps, f"touch {hit.caller} in the fix, so that it is replaced too")


def _signature_problem(one: SignatureChange) -> Refusal:
    return Refusal(
        f"the fix changes the parameters of {one.name} ({one.file}:{one.line}: {one.old} to {one.new}), which other "
        "code calls as before",
        f"give the new function another name in the fix, or {RESTART}",
    )
