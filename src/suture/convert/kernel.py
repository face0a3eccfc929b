"""A new version of the kernel becomes one cumulative livepatch module for one kernel that hosts run.

Each change is tried by itself first: compiled, matched and judged as `suture make` does it, with the other changes that
it needs to compile. What is safe goes into one module; where changes do not go together, those that are in the way are
found by halves and left out. The module says that it reaches the newer version only where nothing is left out.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from suture.compile.job import CompileFailed
from suture.convert.kernel_plan import SingleChanges, plan_kernel
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
from suture.convert.tried import TriedChange, TriedChanges
from suture.delta.review import Reviewed
from suture.error import Refused, SutureError
from suture.make_kernel.changelog import commits_between
from suture.make_kernel.make import KernelMaking, consider, make
from suture.make_kernel.prepare import KernelTree, prepare
from suture.make_kernel.refusal import KernelRefused, NoChange
from suture.make_kernel.request import KernelReady, KernelRequest, ready
from suture.make_kernel.target import SOURCE, ArchiveKernel, find, flavours_of
from suture.patch.manifest import Grade
from suture.progress import Clock, Progress, silent
from suture.source.fix import Fix
from suture.source.split import joined, placed
from suture.source.update import Update
from suture.trial.kernel import try_kernel_patch
from suture.trial.result import TrialOutcome

_QUOTED = re.compile("\u2018(?:struct |union |enum )?[^\u2019]*?([A-Za-z_]\\w{3,})\u2019")
_MOST_NEEDED = 6  # other changes that one may need: more than that is no single change
_ROUNDS = 3  # of asking the compiler what it misses


@dataclass(frozen=True)
class KernelScope:
    """What is tried: changes of files under `only` (all where it is empty), for as long as `seconds` (0: to the end).
    With `review` what a person should look at goes in too."""

    only: tuple[str, ...] = ()
    seconds: float = 0.0
    review: bool = False


def convert_kernel(
    update: Update,
    folder: Path,
    scope: KernelScope,
    progress: Progress = silent,
    with_trial: bool = True,
    known: Sequence[str] = (),
) -> Conversion:
    """Convert one update of one kernel, as `suture.convert.conversion.convert` does it for packages."""
    clock = Clock()
    try:
        with clock.step("prepare"):
            tree = prepare(find(update.old, progress, update.flavour), progress)
        with clock.step("plan"):
            plan = plan_kernel(tree, update.new, progress)
            progress(f"linux {tree.target.release}: {len(plan.fixes)} changes, and {plan.unread} files besides")
    except SutureError as problem:
        untried = tuple(CveResult(c, Closing.UNTRIED, (), (problem.what,)) for c in _named(update, known))
        return _conversion(update, (), untried, (), clock.seconds, problem.what)
    tried = TriedChanges.open(folder)
    with clock.step("try"):
        results = _Singles(tree, plan.fixes, tried, progress).run(scope)
    with clock.step("make"):
        making, results = _Cumulative(update, tree, plan, results, scope.review, progress).run()
    grade = Grade.REVIEW if any(r.result.review for r in results) else Grade.SAFE
    patches = (_written(making, tree.target, folder, grade),) if making else ()
    if with_trial and patches:
        with clock.step("trial"):
            patches = (_tried(tree.target, patches[0], progress),)
    fixes = tuple(after_trial(r.result, patches) for r in results)
    tried.close()
    return _conversion(update, fixes, _closed(plan, known, fixes), patches, clock.seconds)


def for_flavours(update: Update, flavours: Sequence[str], progress: Progress = silent) -> tuple[Update, ...]:
    """An update of the kernel for each flavour, those that the archive built of the older version where none is named;
    an update of a package as it is."""
    if update.source != SOURCE:
        return (update,)
    return tuple(replace(update, flavour=f) for f in flavours or flavours_of(update.old, progress))


def planned_kernel(update: Update, progress: Progress = silent, known: Sequence[str] = ()) -> Conversion:
    """An update of a kernel taken apart, with nothing tried."""
    clock = Clock()
    with clock.step("plan"):
        tree = prepare(find(update.old, progress, update.flavour), progress)
        plan = plan_kernel(tree, update.new, progress)
    fixes = tuple(FixResult(f.name, _claimed(plan, f), ConvertOutcome.UNTRIED) for f in plan.fixes)
    return _conversion(update, fixes, _closed(plan, known, fixes), (), clock.seconds)


def _conversion(
    update: Update,
    fixes: tuple[FixResult, ...],
    cves: tuple[CveResult, ...],
    patches: tuple[PatchResult, ...],
    seconds: Mapping[str, float],
    problem: str = "",
) -> Conversion:
    way = "the archive's configuration"
    return Conversion(
        update.source,
        update.release,
        update.old,
        update.new,
        way,
        fixes,
        cves,
        patches,
        seconds,
        problem,
        update.flavour,
    )


def _closed(plan: SingleChanges, known: Sequence[str], fixes: Sequence[FixResult]) -> tuple[CveResult, ...]:
    """What came of each CVE; one that is not this kernel's needs no live patch."""
    why = ("the changelog says that it is for other architectures, or for a driver that this kernel does not have",)
    elsewhere = [CveResult(c, Closing.NO_CODE, (), why) for c in plan.elsewhere]
    rest = sorted({*plan.cves, *known} - plan.elsewhere)
    return tuple(sorted((*close(rest, plan.candidates, fixes), *elsewhere), key=lambda c: c.cve))


def _named(update: Update, known: Sequence[str]) -> tuple[str, ...]:
    """The CVEs that the changelog names, where it can be had, and others."""
    try:
        target = find(update.old, silent, update.flavour)
        commits = commits_between(target.changelog(update.new), update.old, update.new)
    except SutureError:
        commits = ()
    return tuple(sorted({*known, *(c for one in commits for c in one.cves)}))


def _claimed(plan: SingleChanges, fix: Fix) -> tuple[str, ...]:
    """The CVEs that a change may be for."""
    return tuple(sorted(c for c, names in plan.candidates.items() if fix.name in names))


@dataclass
class _Singles:
    """Each change by itself."""

    tree: KernelTree
    fixes: Sequence[Fix]
    tried: TriedChanges
    progress: Progress
    _by_name: dict[str, Fix] = field(init=False)

    def __post_init__(self) -> None:
        self._by_name = {f.name: f for f in self.fixes}

    def run(self, scope: KernelScope) -> list[TriedChange]:
        """What came of each, in their order; what was tried before is not tried again."""
        end, found = time.monotonic() + (scope.seconds or float("inf")), list[TriedChange]()
        for number, fix in enumerate(self.fixes, 1):
            known = self.tried.get(fix)
            if known is None and scope.only and not _is_under(fix, scope.only):
                known = _not_tried(fix, f"it is not under {', '.join(scope.only)} (--only)")
            elif known is None and time.monotonic() > end:
                known = _not_tried(fix, f"the {scope.seconds:g} s for changes were over (--limit)")
            elif known is None:
                self.progress(f"{number} of {len(self.fixes)}: {fix.name}")
                known = self._tried(fix)
                self.tried.add(fix, known)
            found.append(known)
        return found

    def _tried(self, fix: Fix) -> TriedChange:
        needs: list[Fix] = []
        for _ in range(_ROUNDS):
            try:
                return self._judged(fix, needs)
            except CompileFailed as problem:
                more = self._missed(fix, needs, problem)
                if not more or len(needs) + len(more) > _MOST_NEEDED:
                    return _disk(fix, needs, (_said(problem),))
                needs = [f for f in self.fixes if f in needs or f in more]
        return _disk(fix, needs, ("it needs ever more of what differs to compile",))

    def _judged(self, fix: Fix, needs: Sequence[Fix]) -> TriedChange:
        """Raises `CompileFailed`."""
        try:
            found = consider(KernelReady(self.tree, placed((*needs, fix)), {}, "", "", False))
        except NoChange:
            return TriedChange(FixResult(fix.name, (), ConvertOutcome.NO_CODE), _names(needs))
        except KernelRefused as problem:
            return _disk(
                fix, needs, tuple(dict.fromkeys(_place(r.file, r.line, r.function) + r.reason for r in problem.refused))
            )
        except CompileFailed:
            raise
        except SutureError as problem:
            return _disk(fix, needs, (problem.what,))
        missing = tuple(dict.fromkeys(a.reason for one in found.ledgers for a in one.missing))
        if missing:
            return _disk(fix, needs, missing)
        functions = {self.tree.target.name("image"): found.functions}
        looks = tuple(dict.fromkeys(_look(r) for r in found.reviews))
        return TriedChange(FixResult(fix.name, (), ConvertOutcome.LIVE, functions, (), looks), _names(needs))

    def _missed(self, fix: Fix, needs: Sequence[Fix], problem: CompileFailed) -> list[Fix]:
        """Other changes that bring a name which the compiler misses."""
        names = dict.fromkeys(n for r in problem.rejected for n in _QUOTED.findall(r.output))
        found: list[Fix] = []
        for name in names:
            word = re.compile(rf"^\+.*\b{name}\b", re.MULTILINE)
            bring = [f for f in self.fixes if f is not fix and f not in needs and word.search(f.text)]
            if 0 < len(bring) <= _MOST_NEEDED:
                found += [f for f in bring if f not in found]
        return found


@dataclass
class _Cumulative:
    """The one module of all changes that are safe and go together."""

    update: Update
    tree: KernelTree
    plan: SingleChanges
    tried: Sequence[TriedChange]
    review: bool
    progress: Progress
    _left: dict[str, str] = field(default_factory=dict)

    def run(self) -> tuple[KernelMaking | None, list[TriedChange]]:
        """The module, None where nothing goes in, and what came of each change."""
        results = {t.result.name: t for t in self.tried}
        if not self.review:
            results |= {n: _for_a_person(t) for n, t in results.items() if t.result.review}
        live = {n for n, t in results.items() if t.result.outcome is ConvertOutcome.LIVE}
        wanted = {
            n for name in live for n in results[name].needs if results[n].result.outcome is ConvertOutcome.NO_CODE
        }
        fixes = [f for f in self.plan.fixes if f.name in live | wanted]
        bundles = joined([{f.name, *results[f.name].needs} for f in fixes], len(fixes))
        whole = [[fixes[n] for n in group] for group in bundles]
        chosen = self._combined([], [b for b in whole if self._has_needs(b, results, live)])
        names = {f.name for f in chosen}
        making = self._made([f for f in self.plan.fixes if f.name in names], list(results.values())) if chosen else None
        inside = set() if making is None else {f.name for f in making.manifest.fixes}
        fixed = {f.name: f for f in self.plan.fixes}
        return making, [self._final(fixed[n], t, inside) for n, t in results.items()]

    def _has_needs(self, bundle: Sequence[Fix], results: Mapping[str, TriedChange], live: set[str]) -> bool:
        wanted = {n for f in bundle for n in results[f.name].needs}
        lost = sorted(n for n in wanted - live if results[n].result.outcome is not ConvertOutcome.NO_CODE)
        self._left |= {f.name: f"it needs {lost[0]}, which is not live" for f in bundle if lost}
        return not lost

    def _combined(self, kept: list[Fix], bundles: Sequence[Sequence[Fix]]) -> list[Fix]:
        """`kept` with as many of the bundles as go together, found by halves."""
        if not bundles:
            return kept
        every = [*kept, *(f for b in bundles for f in b)]
        self.progress(f"putting {len(every)} changes together")
        problem = self._problem(every)
        if not problem:
            return every
        if len(bundles) == 1:
            self._left |= {f.name: f"it does not go together with the other changes: {problem}" for f in bundles[0]}
            return kept
        half = len(bundles) // 2
        return self._combined(self._combined(kept, bundles[:half]), bundles[half:])

    def _problem(self, fixes: Sequence[Fix]) -> str:
        """Why fixes do not go together, "" where they do."""
        try:
            found = consider(KernelReady(self.tree, placed(fixes), {}, "", "", False))
        except SutureError as problem:
            return problem.what.split("\n")[0]
        return next((a.reason for one in found.ledgers for a in one.missing), "")

    def _made(self, fixes: Sequence[Fix], results: Sequence[TriedChange]) -> KernelMaking | None:
        """The module of some changes. Where they are all that is code, it is made of all changes, so that it can say
        which version it reaches."""
        done = {f.name for f in fixes}
        others = [t.result for t in results if t.result.name not in done]
        if all(r.outcome is ConvertOutcome.NO_CODE for r in others):
            try:
                return make(ready(self._request(self.plan.fixes, self.update.new)), self.progress)
            except Refused as problem:
                self.progress(problem.what.split("\n")[0])
        try:
            return make(ready(self._request(fixes, "")), self.progress)
        except SutureError as problem:
            self._left |= {f.name: problem.what.split("\n")[0] for f in fixes}
            return None

    def _request(self, fixes: Sequence[Fix], reaches: str) -> KernelRequest:
        """What makes the same module again. A CVE stands before the text of each change that may be for it, where all
        of these are there."""
        names = {f.name for f in fixes}
        closed = {c for c, own in self.plan.candidates.items() if own and names >= set(own)}
        texts = []
        for fix in placed(fixes):
            cves = [c for c in _claimed(self.plan, fix) if c in closed]
            texts.append((fix.name, "".join(f"{c}\n" for c in cves) + fix.text))
        return KernelRequest(
            f"linux={self.update.old}", tuple(texts), flavour=self.update.flavour, replace=True, reaches=reaches
        )

    def _final(self, fix: Fix, tried: TriedChange, inside: set[str]) -> TriedChange:
        result = tried.result
        if result.outcome is ConvertOutcome.LIVE and result.name not in inside:
            why = self._left.get(result.name, "it is not in the module")
            result = replace(result, outcome=ConvertOutcome.DISK, functions={}, reasons=(why,))
        return replace(tried, result=replace(result, cves=_claimed(self.plan, fix)))


def _written(making: KernelMaking, target: ArchiveKernel, folder: Path, grade: Grade) -> PatchResult:
    folder.mkdir(parents=True, exist_ok=True)
    manifest = making.manifest
    path = folder / f"{manifest.module}.ko"
    path.write_bytes(making.data)
    return PatchResult(
        making.id, path.name, str(path), target.name("image"), manifest.target.build_id, len(manifest.functions),
        grade.value,
        effective=manifest.effective,
    )  # fmt: skip


def _tried(target: ArchiveKernel, patch: PatchResult, progress: Progress) -> PatchResult:
    """A module with what its trial came to; one that fails is taken away."""
    found = try_kernel_patch(target, Path(patch.path), progress)
    trial = found.trial
    ran = tuple(c.command for c in trial.cases if c.outcome is TrialOutcome.PASSED)
    later = f"; not loaded there, so not tried: {', '.join(found.later)}" if found.later else ""
    if trial.outcome is TrialOutcome.FAILED:
        Path(patch.path).unlink()
    return replace(patch, trial=trial.outcome.value, tried=ran, detail=f"{trial.detail}{later}")


def _is_under(fix: Fix, only: Sequence[str]) -> bool:
    return any(p.path == o or p.path.startswith(f"{o.rstrip('/')}/") for p in fix.files for o in only)


def _not_tried(fix: Fix, why: str) -> TriedChange:
    return TriedChange(FixResult(fix.name, (), ConvertOutcome.UNTRIED, {}, (why,)))


def _disk(fix: Fix, needs: Sequence[Fix], reasons: tuple[str, ...]) -> TriedChange:
    return TriedChange(FixResult(fix.name, (), ConvertOutcome.DISK, {}, reasons), _names(needs))


def _for_a_person(tried: TriedChange) -> TriedChange:
    """A change that a person should look at, left out."""
    if tried.result.outcome is not ConvertOutcome.LIVE:
        return tried
    why = tuple(f"a person should look at it (--with-review puts it in): {r}" for r in tried.result.review)
    return replace(
        tried, result=replace(tried.result, outcome=ConvertOutcome.DISK, functions={}, reasons=why, review=())
    )


def _names(fixes: Sequence[Fix]) -> tuple[str, ...]:
    return tuple(f.name for f in fixes)


def _said(problem: CompileFailed) -> str:
    """What the compiler says first."""
    lines = problem.rejected[0].output.splitlines()
    return next((x.partition("error: ")[2] for x in lines if "error: " in x), problem.what.split("\n")[0])


def _place(file: str, line: int, function: str) -> str:
    words = f"{file}{f':{line}' if line else ''} {function}".strip()
    return f"{words}: " if words else ""


def _look(row: Reviewed) -> str:
    return f"{row.file}: {row.function} {row.what} ({row.kind})"
