"""One update becomes live patches: planned, tried in rounds until what is left is whole, and written down.

All fixes are tried together first, since most updates go in whole. A fix of which something is missing is left out, the
rest is tried again, and so on: what remains is one patch for each binary, with fixes that are all complete. What was
left out is then tried by itself, so that its reasons are its own.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

from suture.compile.inputs import Inputs
from suture.compile.job import CompileFailed
from suture.compile.post import apply
from suture.compile.preparation import anew
from suture.compile.tree import Tree
from suture.convert.offered import PatchesToOffer
from suture.convert.result import (
    Closing,
    Conversion,
    ConvertOutcome,
    CveResult,
    FixResult,
    PatchResult,
    after_trial,
    close,
)
from suture.delta.ledger import Fate
from suture.error import Refused, SutureError
from suture.make.earlier import EarlierMakings
from suture.make.make import Making, make
from suture.make.request import Ready, Request, ready_for
from suture.progress import Clock, Progress, silent
from suture.source.archive import Archive, SourceVersion, archive_for
from suture.source.claim import told
from suture.source.difference import cves_between
from suture.source.fix import Fix
from suture.source.plan import plan
from suture.source.update import Update
from suture.source.witness import witnesses


class FixesToConvert(Protocol):
    """Fixes in the order in which they apply, the CVEs that they are for, and by CVE the names of those that may be for
    one that no fix claims. A `Plan` is such."""

    @property
    def fixes(self) -> tuple[Fix, ...]: ...

    @property
    def cves(self) -> tuple[str, ...]: ...

    @property
    def candidates(self) -> Mapping[str, Sequence[str]]: ...


def convert(
    update: Update,
    folder: Path,
    progress: Progress = silent,
    with_trial: bool = True,
    known: Sequence[str] = (),
    with_tripwires: bool = True,
) -> Conversion:
    """Convert one update; patches go to `folder`, each with tripwires and tried before it stays there. What fails is
    part of the result: nothing is raised for one package but what is a fault of this host (no root, no space). `known`
    are CVEs that it fixes, beside those that the changelog names."""
    clock = Clock()
    try:
        with clock.step("fetch"):
            old, new = _sources(update, progress)
        with clock.step("plan"):
            found = plan(old, new, known, partial(witnesses, update, progress=progress))
            progress(f"{update.source}: {found.text}")
    except SutureError as problem:
        return _untried(update, problem, clock.seconds)
    return convert_fixes(update, old, found, folder, clock, progress, with_trial, with_tripwires)


def convert_fixes(
    update: Update,
    old: SourceVersion,
    found: FixesToConvert,
    folder: Path,
    clock: Clock,
    progress: Progress = silent,
    with_trial: bool = True,
    with_tripwires: bool = True,
) -> Conversion:
    """Convert fixes to the version that hosts run, as `convert` does with those of an update; wherever they are
    from."""
    archive = archive_for(update.source, update.old, progress)
    try:
        with clock.step("prepare"):
            prepared = ready_for(old, archive, progress)
    except SutureError as problem:
        return _untried(update, problem, clock.seconds, found)
    with clock.step("make"):
        attempt, (making, results) = _made(update, prepared, archive, found.fixes, progress)
    prepared, patches = attempt.prepared, tuple[PatchResult, ...]()
    if making and making.patches:
        remake = attempt.wired if with_tripwires else None
        offer = PatchesToOffer(prepared, making, remake, folder, clock, progress)
        patches = offer.tried() if with_trial else offer.made()
        results = tuple(after_trial(f, patches) for f in results)
    cves = close(found.cves, found.candidates, results)
    way = prepared.tree.recipe.way if prepared.tree.recipe else ""
    return Conversion(update.source, update.release, update.old, update.new, way, results, cves, patches, clock.seconds)


_Results = tuple[Making | None, tuple[FixResult, ...]]


class _Unmade(Exception):
    """A unit does not compile as it was shipped."""


def _made(
    update: Update, prepared: Ready, archive: Archive, fixes: Sequence[Fix], progress: Progress
) -> tuple[_Attempt, _Results]:
    """What came of all fixes, and of which attempt: where recorded commands did not bring all that a unit needs, with a
    tree that was built once for real."""
    recipe, source = prepared.tree.recipe, prepared.tree.source
    attempt = _Attempt(update, prepared, fixes, progress, recipe is not None and recipe.is_stand_in)
    try:
        return attempt, attempt.run()
    except _Unmade as unmade:
        progress(f"{update.source}: {unmade} does not compile from the recorded commands; building it once for real")
    try:
        assert source is not None
        prepared = ready_for(source, archive, progress, real=True)
    except SutureError as problem:
        progress(f"{update.source}: {problem.what}")
    attempt = _Attempt(update, prepared, fixes, progress)
    return attempt, attempt.run()


def planned(update: Update, progress: Progress = silent, known: Sequence[str] = ()) -> Conversion:
    """An update taken apart, with nothing tried. What does not arrive is told as its problem."""
    clock = Clock()
    try:
        with clock.step("plan"):
            old, new = _sources(update, progress)
            found = plan(old, new, known, partial(witnesses, update, progress=progress))
    except SutureError as problem:
        return _untried(update, problem, clock.seconds)
    fixes = tuple(FixResult(f.name, f.cves, ConvertOutcome.UNTRIED) for f in found.fixes)
    cves = close(found.cves, found.candidates, fixes)
    return Conversion(update.source, update.release, update.old, update.new, "", fixes, cves, (), clock.seconds)


def _sources(update: Update, progress: Progress = silent) -> tuple[SourceVersion, SourceVersion]:
    """The older and the newer source. Raises `NotFound`."""
    old = archive_for(update.source, update.old, progress).source(update.source, update.old)
    return old, archive_for(update.source, update.new, progress).source(update.source, update.new)


def unfinished(update: Update, problem: str) -> Conversion:
    """An update that was given up, with the CVEs that its changelog names. Raises `NotFound` without its sources."""
    old, new = _sources(update)
    cves = tuple(CveResult(c, Closing.UNTRIED, (), (problem,)) for c in cves_between(old, new))
    return Conversion(update.source, update.release, update.old, update.new, "", (), cves, (), {}, problem)


def _untried(
    update: Update, problem: SutureError, seconds: Mapping[str, float], found: FixesToConvert | None = None
) -> Conversion:
    fixes = tuple(
        FixResult(f.name, f.cves, ConvertOutcome.UNTRIED, {}, (problem.what,)) for f in (found.fixes if found else ())
    )
    cves = close(found.cves, found.candidates, fixes) if found else ()
    return Conversion(update.source, update.release, update.old, update.new, "", fixes, cves, (), seconds, problem.what)


@dataclass
class _Attempt:
    """The rounds of one update."""

    update: Update
    prepared: Ready
    fixes: Sequence[Fix]
    progress: Progress
    is_stand_in: bool = False  # a tree that holds more can be had, so a unit that does not compile ends the attempt
    whole_fixes: Sequence[Fix] = ()  # those of which nothing is missing when it has run

    def __post_init__(self) -> None:
        # what becomes a patch is proved as it is; of fixes by themselves many are asked about at a time
        self.inputs = Inputs(anew)
        self.whole = EarlierMakings(self.inputs.exactly)
        self.single = replace(self.whole, generators=self.inputs)

    @cached_property
    def _paths(self) -> dict[str, frozenset[str]]:
        return {f.name: frozenset(p.path for p in f.files) for f in self.fixes}

    def run(self) -> _Results:
        """The making of all fixes that are whole, None where none is, and what came of each fix."""
        left: dict[str, FixResult] = {}
        going = list(self.fixes)
        while going:
            apart = self._inapplicable(going)
            left |= {f.name: self._standing_on(f, left) for f in apart}
            going = [f for f in going if f not in apart]
            found = self._make(going, self.whole) if going else None
            if isinstance(found, Making):
                wrong = self._wrong(going, found)
                if not wrong:
                    inside = {f.name: self._inside(found, f) for f in going}
                    self.whole_fixes = going
                    return found, tuple(inside.get(f.name) or left[f.name] for f in self.fixes)
            else:  # it cannot be told whose fault it is, so each is judged by itself
                each = {f.name: self._alone(f) for f in going}
                wrong = {n: r for n, r in each.items() if r.outcome is not ConvertOutcome.LIVE} or each
            left |= wrong
            going = [f for f in going if f.name not in wrong]
        return None, tuple(left[f.name] for f in self.fixes)

    def _wrong(self, going: Sequence[Fix], making: Making) -> dict[str, FixResult]:
        """The fixes that have to go, of those of which something is missing. One such fix spoils the functions that
        others change too, so each is judged by itself first."""
        lacking = [f for f in going if not _is_whole(making, f)]
        if len(going) == 1:
            return {f.name: self._inside(making, f) for f in lacking}
        each = {f.name: self._alone(f) for f in lacking}
        wrong = {n: r for n, r in each.items() if r.outcome is ConvertOutcome.DISK}
        return wrong or {f.name: self._inside(making, f) for f in lacking}

    def _standing_on(self, fix: Fix, left: Mapping[str, FixResult]) -> FixResult:
        """A fix that does not apply once others are left out."""
        shared = [n for n in left if self._paths[n] & self._paths[fix.name]]
        why = f"it changes what {', '.join(shared)} changes, which is not live" if shared else "it does not apply"
        return FixResult(fix.name, fix.cves, ConvertOutcome.DISK, {}, (why,))

    def _needs(self, fix: Fix) -> list[Fix]:
        """The earlier fixes that change a file of this one, and those that they stand on themselves."""
        wanted, found = set(self._paths[fix.name]), list[Fix]()
        for one in reversed(self.fixes[: self.fixes.index(fix)]):
            if wanted & self._paths[one.name]:
                wanted |= self._paths[one.name]
                found.insert(0, one)
        return found

    def _inapplicable(self, fixes: Sequence[Fix]) -> list[Fix]:
        """The fixes that do not apply one after another, where some were left out before them."""
        tree, apart = self.prepared.tree, []
        with tempfile.TemporaryDirectory(prefix="suture-apply-") as folder:
            for fix in fixes:
                try:
                    _apply(fix, tree, Path(folder))
                except Refused:
                    apart.append(fix)
        return apart

    def _make(self, fixes: Sequence[Fix], earlier: EarlierMakings) -> Making | SutureError:
        try:
            found = self._makes(fixes, self._request(fixes), earlier)
        except (Refused, CompileFailed, SutureError) as problem:
            return problem
        if found.unmade and self.is_stand_in:
            raise _Unmade(found.unmade[0])
        return found

    def _makes(self, fixes: Sequence[Fix], request: Request, earlier: EarlierMakings) -> Making:
        ready = self.prepared
        return make(ready.tree, ready.shipped, fixes, request.facts(), self.progress, ready.beside, earlier)

    def wired(self, unwanted: Mapping[str, str]) -> Making:
        """What `run` made, again with tripwires; `unwanted` are places (FILE:LINE) that are to have none, and why.
        Raises what `make` does."""
        request = replace(self._request(self.whole_fixes), tripwires=True, no_tripwire=tuple(sorted(unwanted.items())))
        return self._makes(self.whole_fixes, request, self.whole)

    def _request(self, fixes: Sequence[Fix]) -> Request:
        """What makes the same patch again: the fixes as texts, and what they are for."""
        texts, claims = tuple((f.name, f.text) for f in fixes), tuple(told(f) for f in fixes)
        return Request(f"{self.update.source}={self.update.old}", fixes=texts, claims=claims)

    def _alone(self, fix: Fix) -> FixResult:
        """What comes of a fix by itself, with no more than the earlier ones that it stands on."""
        making = self._make([*self._needs(fix), fix], self.single)
        if isinstance(making, SutureError):
            nothing = "changes no code" in making.what or "changes documentation" in making.what
            outcome = ConvertOutcome.NO_CODE if isinstance(making, Refused) and nothing else ConvertOutcome.DISK
            return FixResult(
                fix.name, fix.cves, outcome, {}, () if outcome is ConvertOutcome.NO_CODE else (making.what,)
            )
        return self._inside(making, fix)

    def _inside(self, making: Making, fix: Fix) -> FixResult:
        functions: dict[str, tuple[str, ...]] = {}
        for made in making.patches:
            for row in made.manifest.fixes:
                if row.name == fix.name:
                    names = sorted({n for a in row.ledger.accounts if a.fate is Fate.PATCHED for n in a.functions})
                    functions |= {made.manifest.target.file: tuple(names)} if names else {}
        if _is_whole(making, fix):
            looks = [
                f"{r.file}: {r.function} {r.what} ({r.kind})"
                for made in making.patches
                for r in made.manifest.verdict.review
                if r.function in functions.get(made.manifest.target.file, ())
            ]
            outcome = ConvertOutcome.LIVE if functions else ConvertOutcome.NO_CODE
            return FixResult(fix.name, fix.cves, outcome, functions, (), tuple(dict.fromkeys(looks)))
        reasons = [r.reason for r in making.refused]
        for made in making.patches:
            reasons += [a.reason for row in made.manifest.fixes if row.name == fix.name for a in row.ledger.missing]
        return FixResult(
            fix.name, fix.cves, ConvertOutcome.DISK, functions, tuple(dict.fromkeys(r for r in reasons if r))
        )


def _apply(fix: Fix, tree: Tree, over: Path) -> None:
    """Apply a fix to the files in `over`, and where they are not there to copies of the tree's. Raises `Refused`, with
    nothing changed."""
    paths = {place for f in fix.files for place in tree.places_of(f.path)}
    before = {p: (over / p).read_bytes() if (over / p).is_file() else None for p in paths}
    try:
        for part in fix.files:
            if part.changes and not part.deletes:
                for place in tree.places_of(part.path):
                    apply(part, tree.files, over, place, fix.name)
    except Refused:
        for path, data in before.items():
            (over / path).unlink(missing_ok=True)
            if data is not None:
                (over / path).write_bytes(data)
        raise


def _is_whole(making: Making, fix: Fix) -> bool:
    """Whether nothing of a fix is missing in any binary. What is refused with no patch to say so counts for every
    fix."""
    rows = [row for made in making.patches for row in made.manifest.fixes if row.name == fix.name]
    if not making.patches:
        return not making.refused
    said = {a.reason for made in making.patches for row in made.manifest.fixes for a in row.ledger.missing}
    unsaid = [r for r in making.refused if r.reason not in said]
    return bool(rows) and all(row.ledger.is_complete for row in rows) and not any(_is_of(r.file, fix) for r in unsaid)


def _is_of(file: str, fix: Fix) -> bool:
    return any(f.path == file for f in fix.files) or not file
