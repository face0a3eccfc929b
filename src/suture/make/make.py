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
from suture.compile.job import CompileFailed, RejectedUnit
from suture.compile.preprocessed import unchanged
from suture.compile.tree import Tree
from suture.compile.unit import Binary, Unit, Variant
from suture.delta.atom import AtomObject
from suture.delta.change import NOT_FOUND, UnitChange
from suture.delta.compare import difference
from suture.delta.layout import describes_types
from suture.delta.ledger import Fate
from suture.delta.outside import outside
from suture.elf.file import ElfFile
from suture.error import Refused, Unsupported
from suture.make.account import Books, Compared, others_of
from suture.make.build import Built, Close, Tell, build
from suture.make.elsewhere import Beside, OtherUnits
from suture.make.storage import compared_with_storage
from suture.make.wiring import Wiring
from suture.match.book import Contradiction
from suture.match.correlate import correlate
from suture.match.match import NoMatch
from suture.match.run import Run
from suture.number import BuildId, Vaddr
from suture.patch.file import SUFFIX, parse_patch
from suture.patch.manifest import FixFact, Manifest, RefusedFunction, Suspending, Target
from suture.progress import Clock, Progress, silent
from suture.refusal import RESTART, Refusal
from suture.source.changed_line import ChangedLines, changed_lines
from suture.source.fix import Fix

_FEW = 12  # units up to which all variants are compiled in one go, since most of them will be needed
_INCOMPLETE = (
    "the tree lacks what only a whole build makes: build and record it again, or write a recipe with real = true "
    "(docs/reference/recipes.md)"
)
_NO_TYPES = Refusal(
    "its object has no type information, so a structure that the fix changes would not be seen",
    "let the recorded compiler take -g2: a wrapper or a specs file must not take it away",
)


@dataclass(frozen=True)
class Shipped:
    """A shipped file to make a patch for: where it lies here, and what it is called where it is installed."""

    binary: Binary
    path: Path
    version: str

    @property
    def file(self) -> str:
        return Path(self.binary.file).name


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
) -> Making:
    """Make the live patches of `fixes` for the `shipped` binaries of a tree; `beside` gives all binaries of its
    package.

    Raises `Refused` when nothing of the fix can become a live patch, `CompileFailed`, and what the tree raises.
    """
    clock = Clock()
    with clock.step("prepare"):
        facts = affected(tree, fixes, progress)
        lines = changed_lines(fixes, tree.read, facts.post.read)
    units = facts.units
    progress(f"compiling {len(units)} unit{'s' * (len(units) != 1)} before and after the fix")
    with clock.step("compile"):
        compared = _compare(tree, facts.post, units, progress)
    common = [RefusedFunction("", p, 0, r.reason, r.remedy) for p, r in facts.missing.items()]
    is_code = bool(facts.readers or facts.missing)
    gap = [RefusedFunction("", s.file, 0, tree.gap, RECORD_WHOLE) for s in shipped if tree.gap and is_code]
    made: list[Made] = []
    everything = list(common)
    for item in shipped:
        one = _Binary(tree, facts, compared, lines, item, fixes, request, clock, progress, beside)
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
        raise _nothing(tree, facts, compared, shipped, fixes)
    unmade = tuple(sorted({u.source for u in units if compared[u.object].unmade}))
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


def _compare(tree: Tree, post: Tree, units: Sequence[Unit], progress: Progress) -> dict[str, Compared]:
    """What each unit's code or data comes to once line numbers are left out, by object."""
    found = {o: Compared() for o in unchanged(tree, post, units)} if len(units) > _FEW else {}
    units = [u for u in units if u.object not in found]
    assembly = [u for u in units if u.language == "asm"]
    others = [u for u in units if u.language != "asm"]
    for unit, (old, new) in _both(tree, post, assembly, Variant.PLAIN, found).items():
        reason = "the fix changes assembly, which is not compared or replaced yet"
        same = old.read_bytes() == new.read_bytes()
        found[unit.object] = Compared() if same else Compared(failure=Refusal(reason, RESTART))
    failed: dict[str, Compared] = {}
    pairs = _both(tree, post, others, Variant.COMPARE, failed)
    # `__LINE__` in a name makes a constant one an error: there the lines count, and more functions than need be are
    # replaced
    variants = dict.fromkeys(pairs, Variant.COMPARE)
    pairs |= _both(tree, post, [u for u in others if u not in pairs], Variant.SECTIONS, found)
    differing: dict[Unit, Compared] = {}
    if not pairs and len(others) == 1 and len(units) == 1 and not found[others[0].object].unmade:
        post.compile([(others[0], Variant.SECTIONS)])  # raises with all that the compiler says
    for unit, (old, new) in pairs.items():
        before, after = old.read_bytes(), new.read_bytes()
        if lto.is_for_later(before, str(old)) or lto.is_for_later(after, str(new)):
            found[unit.object] = Compared(failure=Refusal(lto.REASON, lto.REMEDY))
            continue
        if before == after:
            found[unit.object] = Compared()
            continue
        pre, posted = AtomObject(ElfFile(before, str(old))), AtomObject(ElfFile(after, str(new)))
        delta = difference(pre, posted)
        found[unit.object] = Compared(None if delta.is_empty else delta, outside=outside(pre, posted))
        if not delta.is_empty:
            progress(f"{unit.source}: {len(delta.changed)} functions differ")
            differing[unit] = found[unit.object]
    ways = {u: variants.get(u, Variant.SECTIONS) for u in differing}
    found.update({u.object: c for u, c in compared_with_storage(tree, post, differing, ways).items()})
    late = [u for u in units if (f := found[u.object].failure) is not None and f.reason == lto.REASON]
    if late and len(late) == len(units):
        raise Unsupported(f"{late[0].source}: {lto.REASON}", lto.REMEDY)
    return found


def _both(
    tree: Tree, post: Tree, units: Sequence[Unit], variant: Variant, failed: dict[str, Compared]
) -> dict[Unit, tuple[Path, Path]]:
    """Objects of one variant before and after, of the units that compile both times. Few units get all variants at
    once."""
    extra = tuple(v for v in (Variant.PLAIN, Variant.SECTIONS) if v is not variant) if len(units) <= _FEW else ()
    before = _compiled(tree, units, (variant, *extra), failed)
    for unit in (u for u in units if u not in before):
        failed[unit.object] = _as_shipped(failed[unit.object])
    after = _compiled(
        post, [u for u in units if u in before], (variant, *(v for v in extra if v is Variant.SECTIONS)), failed
    )
    return {u: (before[u], after[u]) for u in after}


def _rejected(unit: RejectedUnit) -> Refusal:
    lines = unit.output.strip().splitlines()
    message = next((x for x in lines if "error" in x), lines[0] if lines else "")
    return Refusal(f"the compiler rejects it: {message}", "correct the fix, or leave it out with --only")


def _as_shipped(one: Compared) -> Compared:
    """The failure of a unit that has no fix yet."""
    reason = one.failure.reason if one.failure else ""
    return Compared(failure=Refusal(f"as it was shipped, {reason}", _INCOMPLETE), unmade=True)


def _compiled(
    tree: Tree, units: Sequence[Unit], variants: Sequence[Variant], refused: dict[str, Compared]
) -> dict[Unit, Path]:
    """The object of the first variant by unit, all variants compiled. A unit that the compiler rejects is refused."""
    left = list(units)
    while left:
        try:
            objects = tree.compile([(u, v) for u in left for v in variants])
        except CompileFailed as failed:
            refused.update({one.object: Compared(failure=_rejected(one)) for one in failed.rejected})
            left = [u for u in left if u.object not in refused]
            continue
        return {u: objects[n * len(variants)].path for n, u in enumerate(left)}
    return {}


@dataclass(frozen=True)
class _Binary:
    """One shipped binary and all that its patch is made from."""

    tree: Tree
    facts: Affected
    compared: Mapping[str, Compared]
    lines: Mapping[tuple[int, str], ChangedLines]
    item: Shipped
    fixes: Sequence[Fix]
    request: Mapping[str, tuple[str, ...]]
    clock: Clock
    progress: Progress
    beside: Beside

    @property
    def units(self) -> list[Unit]:
        """Its units in which the fix makes a difference, or may."""
        own = (u for u in self.facts.units if u.object in self.item.binary.objects)
        return [u for u in own if not self.compared[u.object].is_same]

    def build(self, common: Sequence[RefusedFunction]) -> tuple[Built, str]:
        """The patch and its name; `common` is what is refused whatever the binary."""
        run = Run.read(self.item.path)
        own = [u for u in self.units if self.compared[u.object].difference is not None]
        refused = [*common, *self._failures()]
        elsewhere = OtherUnits(self.tree, self.item.binary, run, self.beside)
        changes, failed = self._matched(own, run, elsewhere, refused)
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
                given = (elsewhere.find, toolchain, self.request, tuple(refused), stands, close, members, tell)
                return build(name, target, changes, run, facts, *given)

            built = again(changes, partial(books.close, self.fixes))
        manifest = built.manifest
        if self.request.get("tripwires") and manifest is not None:
            with self.clock.step("tripwires"):
                self.progress(f"putting tripwires into the patch of {self.item.file}")
                variants = {c.object: self.compared[c.object].variant for c in changes}
                wiring = Wiring(self.facts, self.tree.read, self.lines, self.fixes, changes, variants, self._unwanted)
                built = wiring.wired(built, lambda wired, tell: again(wired, lambda *_: manifest.fixes, tell))
        return built, name

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
        self, own: Sequence[Unit], run: Run, elsewhere: OtherUnits, refused: list[RefusedFunction]
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
                    match = correlate(unit.source, unit.object, plain, sectioned, run, elsewhere.called)
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
