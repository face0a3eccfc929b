"""Making: from a source version and a fix to one live patch per binary that the fix changes.

The order of things: tree, fix over it, affected units compiled before and after with constant line numbers, those that
differ compiled for matching and cutting, matched in the shipped binary, built. Each step is a room's; here they are
only strung together.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from suture import __version__, whole_file
from suture.compile import lto
from suture.compile.affected import RECORD_WHOLE, Affected, affected
from suture.compile.job import CompileFailed
from suture.compile.tree import Tree
from suture.compile.unit import Unit, Variant
from suture.delta.atom import AtomObject
from suture.delta.change import NOT_FOUND, UnitChange
from suture.delta.layout import describes_types
from suture.delta.ledger import Fate
from suture.elf.file import ElfFile
from suture.error import Refused
from suture.make.account import Books, Compared, others_of
from suture.make.build import Built, Close, Tell, build
from suture.make.comparison import compared
from suture.make.earlier import EarlierMakings
from suture.make.elsewhere import Beside
from suture.make.ground import Ground, Shipped
from suture.make.wiring import Rebuild, Wiring
from suture.match.book import Contradiction
from suture.match.match import NoMatch
from suture.match.run import Run
from suture.number import BuildId, Vaddr
from suture.patch.file import SUFFIX, parse_patch
from suture.patch.manifest import FixFact, Manifest, RefusedFunction, Suspending, Target
from suture.patch.tripwire import UNWIRED, WithoutTripwire
from suture.progress import Clock, Progress, silent
from suture.refusal import Refusal
from suture.source.changed_line import ChangedLines, changed_lines
from suture.source.fix import Fix

_NO_TYPES = Refusal(
    "its object has no type information, so a structure that the fix changes would not be seen",
    "let the recorded compiler take -g2: a wrapper or a specs file must not take it away",
)


@dataclass(frozen=True)
class Made:
    """One live patch: its bytes, and what it says of itself."""

    file_name: str
    id: str
    data: bytes
    manifest: Manifest


@dataclass(frozen=True)
class Making:
    """All patches of one making, everything that was refused, and seconds by step.

    `unmade` are sources of units that do not compile as they were shipped: the tree lacks something.
    """

    patches: tuple[Made, ...]
    refused: tuple[RefusedFunction, ...]
    seconds: Mapping[str, float]
    unmade: tuple[str, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether nothing of the fixes is missing in any binary."""
        return not self.refused and all(m.manifest.is_complete for m in self.patches)


@dataclass(frozen=True)
class Written:
    """A patch file; `replaced` is the id of another that had its name, "" for none."""

    path: Path
    replaced: str = ""


def make(
    tree: Tree,
    shipped: Sequence[Shipped],
    fixes: Sequence[Fix],
    request: Mapping[str, tuple[str, ...]],
    progress: Progress = silent,
    beside: Beside = tuple,
    earlier: EarlierMakings | None = None,
) -> Making:
    """Make the live patches of `fixes` for the `shipped` binaries of a tree; `beside` gives all binaries of its
    package, `earlier` is what other makings from the same tree have found.

    Raises `Refused` when nothing of the fix can become a live patch, `CompileFailed`, and what the tree raises.
    """
    clock, known = Clock(), earlier or EarlierMakings()
    with clock.step("prepare"):
        facts = affected(tree, fixes, progress, known.generators)
        lines = changed_lines(fixes, tree.read, facts.post.read)
    units = facts.units
    progress(f"compiling {len(units)} unit{'s' * (len(units) != 1)} before and after the fix")
    with clock.step("compile"):
        found = compared(tree, facts.post, units, progress, known.compared)
    common = [RefusedFunction("", p, 0, r.reason, r.remedy) for p, r in facts.missing.items()]
    is_code = bool(facts.readers or facts.missing)
    gap = [RefusedFunction("", s.file, 0, tree.gap, RECORD_WHOLE) for s in shipped if tree.gap and is_code]
    made: list[Made] = []
    everything = list(common)
    for item in shipped:
        one = _Binary(known.ground(tree, item, beside), facts, found, lines, fixes, request, clock, progress)
        if not one.units:
            continue
        built, name = one.build([*common, *gap])
        if built.data is not None and built.manifest is not None:
            checked = parse_patch(built.data, name)
            made.append(Made(name + SUFFIX, checked.id, built.data, built.manifest))
        everything += [r for r in built.refused if r not in gap]
        everything += _unsaid(built)
    everything += gap
    if not made and not everything:
        raise _nothing(tree, facts, found, shipped, fixes)
    unmade = tuple(sorted({u.source for u in units if found[u.object].unmade}))
    return Making(tuple(made), tuple(dict.fromkeys(everything)), clock.seconds, unmade)


def _unsaid(built: Built) -> Iterator[RefusedFunction]:
    """What the ledgers miss and no refusal names."""
    said = {(r.reason, r.remedy) for r in built.refused}
    for fix in built.manifest.fixes if built.manifest else ():
        for file in fix.ledger.files:
            for one in file.accounts:
                if one.fate is Fate.MISSING and (one.reason, one.remedy) not in said:
                    yield RefusedFunction("", file.path, 0, one.reason, one.remedy)


def _nothing(
    tree: Tree, facts: Affected, compared: Mapping[str, Compared], shipped: Sequence[Shipped], fixes: Sequence[Fix]
) -> Refused:
    """Why there is no patch, where nothing is missing either."""
    name = "+".join(f.name for f in fixes)
    others = others_of(tree, compared, facts.units)
    if others:
        asked = ", ".join(s.file for s in shipped)
        shipped_too = sorted({Path(b.file).name for b in tree.binaries} & set(others))
        remedy = f"make it for that: --file {shipped_too[0]}" if shipped_too else "make it for that: --binary FILE"
        if tree.is_prepared and not shipped_too:
            remedy = "there is nothing to patch: no shipped binary that the recipe names holds that code"
        return Refused(f"{name}: changes code of {', '.join(others)}, and none of {asked}", remedy)
    if not facts.readers and not facts.same:
        return Refused(f"{name}: changes documentation and tests only", "there is nothing to patch")
    return Refused(
        f"{name}: changes no code of {f'{tree.name} {tree.version}'.strip()}: the units that read what it changes "
        f"({len(facts.units)}) are the same before and after",
        "check that the fix belongs to this version",
    )


def write(made: Made, folder: Path) -> Written:
    """Write a patch file; the folder never shows half of one.

    Another fix, binary or way to make it has another name (`_name`), so that only an earlier making of the same gives
    way.
    """
    path = folder / made.file_name
    before = path.read_bytes() if path.is_file() else made.data
    whole_file.replace(path, made.data)
    return Written(path, "" if before == made.data else hashlib.sha256(before).hexdigest()[:16])


@dataclass(frozen=True)
class _Binary:
    """One shipped binary and all that its patch is made from."""

    ground: Ground
    facts: Affected
    compared: Mapping[str, Compared]
    lines: Mapping[tuple[int, str], ChangedLines]
    fixes: Sequence[Fix]
    request: Mapping[str, tuple[str, ...]]
    clock: Clock
    progress: Progress

    @property
    def tree(self) -> Tree:
        return self.ground.tree

    @property
    def item(self) -> Shipped:
        return self.ground.item

    @property
    def units(self) -> list[Unit]:
        """Its units in which the fix makes a difference, or may."""
        own = (u for u in self.facts.units if u.object in self.item.binary.objects)
        return [u for u in own if not self.compared[u.object].is_same]

    def build(self, common: Sequence[RefusedFunction]) -> tuple[Built, str]:
        """The patch and its name; `common` is what is refused whatever the binary."""
        run = self.ground.run
        own = [u for u in self.units if self.compared[u.object].difference is not None]
        refused = [*common, *self._failures()]
        changes, failed = self._matched(own, refused)
        books = Books(self.tree, self.facts, self.compared, self.lines, self.item.binary, failed)
        target = Target(
            run.elf.build_id or BuildId(""),
            self.item.file,
            self.item.binary.package,
            self.tree.name,
            self.item.version,
            "x86_64",
        )
        name = _name(self.tree, self.fixes, self.item, self.request)
        facts = [FixFact(f.name, f.cves, f.sha256) for f in self.fixes]
        toolchain = {"compiler": self.tree.compiler, "suture": __version__}
        with self.clock.step("make"):
            self.progress(f"making the patch of {self.item.file}")
            stands = suspending(run, self.tree.suspends(self.item.binary))
            members = partial(books.members, self.fixes) if len(self.fixes) > 1 else None

            def again(changes: Sequence[UnitChange], close: Close, tell: Tell | None = None) -> Built:
                given = (
                    self.ground.elsewhere.find,
                    toolchain,
                    self.request,
                    tuple(refused),
                    stands,
                    close,
                    members,
                    tell,
                )
                return build(name, target, changes, run, facts, *given)

            built = again(changes, partial(books.close, self.fixes))
        manifest = built.manifest
        if self.request.get("tripwires") and manifest is not None:
            with self.clock.step("tripwires"):
                self.progress(f"putting tripwires into the patch of {self.item.file}")
                built = self._counting(
                    built, changes, lambda wired, tell: again(wired, lambda *_: manifest.fixes, tell)
                )
        return built, name

    def _counting(self, plain: Built, changes: Sequence[UnitChange], rebuild: Rebuild) -> Built:
        """The patch with tripwires; without any where they can't be put in, for whatever reason."""
        variants = {c.object: self.compared[c.object].variant for c in changes}
        try:
            wiring = Wiring(self.facts, self.tree.read, self.lines, self.fixes, changes, variants, self._unwanted)
            return wiring.wired(plain, rebuild)
        except Exception as problem:  # a defect, or a file that no parser takes; the fix must not be lost for that
            self.progress(f"no tripwires in the patch of {self.item.file}: {problem}")
            why = f"{UNWIRED} ({type(problem).__name__})"  # what it says may be another each time
            files = sorted({path for _, path in self.lines})
            rows = tuple(WithoutTripwire(path, 0, "", "", why) for path in files)
            return rebuild(changes, lambda _: ((), rows))

    @property
    def _unwanted(self) -> dict[str, str]:
        """Why places are to have no tripwire, by FILE:LINE."""
        words = self.request.get("no_tripwire", ())
        return dict(zip(words[::2], words[1::2], strict=True))

    def _failures(self) -> Iterator[RefusedFunction]:
        for unit in self.units:
            one = self.compared[unit.object]
            if one.failure is not None:
                yield RefusedFunction("", unit.source, 0, one.failure.reason, one.failure.remedy)
            elif one.difference is None:
                for row in one.outside:
                    yield RefusedFunction(row.label, unit.source, 0, row.reason, row.remedy)

    def _matched(
        self, own: Sequence[Unit], refused: list[RefusedFunction]
    ) -> tuple[list[UnitChange], dict[str, Refusal]]:
        """The units found in the binary, and why others are not."""
        with self.clock.step("compile"):
            pre = self.tree.compile([(u, v) for u in own for v in (Variant.PLAIN, Variant.SECTIONS)])
            new = self.facts.post.compile([(u, self.compared[u.object].variant) for u in own])
        self.progress(f"matching {len(own)} unit{'s' * (len(own) != 1)} in {self.item.file}")
        changes: list[UnitChange] = []
        failed: dict[str, Refusal] = {}
        with self.clock.step("match"):
            for n, unit in enumerate(own):
                delta = self.compared[unit.object].difference
                assert delta is not None
                plain, sectioned = (ElfFile.read(pre[2 * n + k].path) for k in (0, 1))
                after = AtomObject(ElfFile.read(new[n].path))
                problem: Refusal | None = None
                try:
                    match = self.ground.match(unit, plain, sectioned)
                except (NoMatch, Contradiction) as unlike:
                    problem = self._why_unlike(unit, plain) or Refusal(unlike.what, unlike.remedy)
                if problem is None and not (describes_types(sectioned) and describes_types(after.elf)):
                    problem = _NO_TYPES
                if problem is None:
                    atoms = (AtomObject(sectioned), after)
                    apart, unstored = partial(self._compiled_apart, unit), self.compared[unit.object].unstored
                    one = UnitChange(unit.source, unit.object, *atoms, delta, match, apart=apart, unstored=unstored)
                    if not one.pre.functions.keys() <= match.functions.keys():
                        one = replace(one, unlike=self._why_unlike(unit, plain) or NOT_FOUND)
                    changes.append(one)
                    continue
                failed[unit.object] = problem
                rows = sorted(delta.changed)
                refused.extend(RefusedFunction(f, unit.source, 0, problem.reason, problem.remedy) for f in rows)
        return changes, failed

    def _compiled_apart(self, unit: Unit) -> tuple[AtomObject, AtomObject] | None:
        """Pre and post of a unit whose functions know nothing of one another; None for a compiler that cannot do
        that."""
        for variant in (Variant.APART, Variant.APART_OLD):
            try:
                made = [tree.compile([(unit, variant)])[0] for tree in (self.tree, self.facts.post)]
            except CompileFailed:
                continue
            before, after = (AtomObject(ElfFile.read(x.path)) for x in made)
            return before, after
        return None

    def _why_unlike(self, unit: Unit, plain: ElfFile) -> Refusal | None:
        """Why the code of a unit is not that of the binary, where its object or the tree tells."""
        if lto.is_fat(plain):
            return Refusal(lto.FAT_REASON, lto.REMEDY)
        built = self.tree.files / unit.object
        if not built.is_file():
            built = self.item.path  # compiled and linked in one call
        newer = self.tree.changed_since(unit, built)
        if not newer:
            return None
        return Refusal(
            f"{newer} was changed after {built.name} was built, so the tree is not what the binary was built from",
            "bring that file back to what it was, or build and record the tree again and run that binary",
        )


def suspending(run: Run, names: Sequence[str]) -> tuple[Suspending, ...]:
    """Functions in which suspended coroutines stand, as the binary exports them; one that it does not export helps
    nobody."""
    rows = [(n, s) for n in names for s in run.exports.get(n, ())[:1]]
    return tuple(Suspending(n, Vaddr(s.st_value), s.st_size) for n, s in rows)


def _name(tree: Tree, fixes: Sequence[Fix], item: Shipped, request: Mapping[str, tuple[str, ...]]) -> str:
    """A name that tells what the patch is of, with digits that are others for any other fix, binary or way to make
    it."""
    cves = sorted({c for f in fixes for c in f.cves})
    what = "+".join(cves) if 0 < len(cves) <= 3 else re.sub(r"\.(patch|diff)$", "", Path(fixes[0].name).name)
    ways = [x for k in ("relaxed", "apart", "cve") for x in (k, *request.get(k, ()))]
    ways += [x for k in ("tripwires", "no_tripwire") for x in request.get(k, ())]
    left = [p.text for f in fixes for p in f.left_out]
    facts = "\0".join(
        [item.binary.package, item.binary.file, *(x for f in fixes for x in (f.name, f.sha256)), *ways, *left]
    )
    digest = hashlib.sha256(facts.encode(errors="surrogateescape")).hexdigest()[:8]
    known = f"{tree.name}-{tree.version}-{what}"[:140]
    return re.sub(r"[^A-Za-z0-9.+~_-]", "_", f"{known}-{digest}-{item.file}")[:220]
