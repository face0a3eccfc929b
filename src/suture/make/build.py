"""From the changes of one binary's units to the bytes of its live patch: select, check, place, write.

Pure: it reads no file and runs nothing; what only the source tree can tell comes through `elsewhere`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from suture.delta.change import UnitChange
from suture.delta.compare import difference, reconciled
from suture.delta.family import joined
from suture.delta.selection import Node, Selected, Selection
from suture.elf.abi import SymbolBind, SymbolType
from suture.elf.object_writer import NewRelocation, NewSection, NewSymbol, write_object
from suture.make.check import Checks
from suture.make.place import Placement
from suture.make.resolve import Elsewhere, Resolver, Unresolvable
from suture.make.statement import PatchContents, Statements
from suture.match.proof import Proof
from suture.match.run import Run
from suture.number import SectionOffset
from suture.patch.file import MANIFEST_SECTION
from suture.patch.manifest import (
    FixFact,
    Manifest,
    RefusedFunction,
    Suspending,
    Target,
    Verdict,
)
from suture.patch.seal import seal
from suture.patch.tripwire import Tripwire, WithoutTripwire
from suture.refusal import RESTART, Refusal


@dataclass(frozen=True)
class Built:
    """`data` is the patch file, None when nothing of the fix could go in; `refused` lists what could not."""

    data: bytes | None
    manifest: Manifest | None
    refused: tuple[RefusedFunction, ...]


Close = Callable[[Sequence[UnitChange], PatchContents, Sequence[RefusedFunction]], tuple[FixFact, ...]]
"""The fixes with their ledgers, from the changes as they were compared, what goes in, and what is refused."""

Tell = Callable[[Mapping[str, int]], tuple[tuple[Tripwire, ...], tuple[WithoutTripwire, ...]]]
"""The tripwires, and what has none, from the offsets of the counters that the code names, by symbol."""

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
    tell: Tell | None = None,
) -> Built:
    """Make the live patch of one binary. `changes` are its units that differ; they are taken in the order of their
    sources.

    `refused` is what was refused already and goes into the verdict; `request` is what `suture verify` needs to make it
    again. With a reason under `relaxed` in it, old frames may finish in old code; with one under `apart`, functions of
    one fix may switch at different times. `suspends` are functions that suspended coroutines stand in. `close` brings
    every line of the fixes to account; without it they account for nothing. `members` tells functions of several fixes
    apart; without it all are of one. `tell` is for changes whose new code has counters.
    """
    ordered = tuple(sorted((as_patched(c) for c in changes), key=lambda c: (c.source, c.object)))
    return _Build(
        name, target, ordered, run, fixes, elsewhere, toolchain, request, refused, suspends, close, members, tell
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
    tell: Tell | None = None

    def __post_init__(self) -> None:
        self.checks = Checks(self.changes, self.run, bool(self._relaxed))
        self.statements = Statements(self.changes, self.run, self.checks, self._relaxed, self._apart)

    def result(self) -> Built:
        checks = self.checks
        while True:
            selection = Selection(self.changes, checks.refusals, frozenset(checks.undiverted))
            alone, rejected = selection.groups()
            groups = self._joined(alone)
            found = (
                checks.clobbers(alone, checks.relaxed)
                or self._unresolvable(selection, alone)
                or checks.clobbers(groups, checks.relaxed)
                or (checks.told(groups) if checks.relaxed else {})
            )
            if not found:
                break
            checks.refusals.update(found)
        refused = tuple(
            sorted({*self.refused_before, *self.statements.refused(rejected)}, key=lambda r: (r.file, r.function))
        )
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

    def _unresolvable(self, selection: Selection, groups: Sequence[Selected]) -> dict[Node, Refusal]:
        """Place each group alone, to learn which can't be resolved."""
        found: dict[Node, Refusal] = {}
        for group in groups:
            try:
                Placement(selection, Resolver(self.run, self.elsewhere), self.checks.leads).add((group,))
            except Unresolvable as problem:
                found[(group.replaced or group.new)[0]] = Refusal(str(problem), RESTART)
        return found

    def _laid_out(self, selection: Selection, groups: tuple[Selected, ...]) -> Placement:
        layout = Placement(selection, Resolver(self.run, self.elsewhere), self.checks.leads)
        layout.add(groups)
        thunks = layout.outputs[".text.orig"]
        for group in groups:
            for node in group.replaced:
                entry = self.checks.entries[node]
                offset = thunks.append(entry.thunk, 16)
                layout.define(f"{layout.symbol_of(node)}.orig", ".text.orig", offset, len(entry.thunk), SymbolType.FUNC)
                names = {
                    n: layout.resolver.image(n, a, ("displaced code of the old entry",))
                    for n, a in entry.symbols.items()
                }
                thunks.relocations.extend(
                    NewRelocation(SectionOffset(offset + r.r_offset), r.r_type, names[r.symbol], r.r_addend)
                    for r in entry.relocations
                )
        return layout

    def _manifest(
        self, layout: Placement, groups: Sequence[Selected], refused: tuple[RefusedFunction, ...]
    ) -> Manifest:
        units = tuple(c.match.unit for c in self.changes)
        fixes = (
            tuple(self.fixes)
            if self.close is None
            else self.close(self.changes, self.statements.carried(groups), refused)
        )
        tripwires, without = ((), ()) if self.tell is None else self.tell(layout.counters)
        complete = self.close is None or all(f.ledger.is_complete for f in fixes)
        return Manifest(
            name=self.name,
            target=self.target,
            fixes=fixes,
            groups=tuple(self.statements.group(layout, g) for g in groups),
            symbols=dict(sorted(layout.resolver.symbols.items())),
            verdict=Verdict(
                not refused and complete, self.statements.notes(groups), refused, self.statements.reviews(groups)
            ),
            proof=Proof(units, layout.resolver.proof),
            toolchain=self.toolchain,
            request=dict(self.request),
            suspends=self.suspends,
            relaxed=self._relaxed,
            exceptions=any(n in self.checks.unwound for g in groups for n in g.replaced + g.new),
            tripwires=tripwires,
            without_tripwire=without,
        )

    @property
    def _relaxed(self) -> str:
        return next(iter(self.request.get("relaxed", ())), "")

    @property
    def _apart(self) -> str:
        return next(iter(self.request.get("apart", ())), "")


def as_patched(change: UnitChange) -> UnitChange:
    """A change with the difference that counts for the objects that are patched from."""
    return replace(change, difference=reconciled(change.difference, difference(change.pre, change.post)))
