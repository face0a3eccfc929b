"""Making: from a source version and a fix to one live patch per binary that the fix changes.

The order of things: tree, fix over it, affected units compiled before and after with constant line numbers, those that differ
compiled for matching and cutting, matched in the shipped binary, built. Each step is a room's; here they are only strung together.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from suture import __version__
from suture.command import CommandFailed
from suture.compile import lto
from suture.compile.generate import Generated
from suture.compile.job import CompileFailed
from suture.compile.tree import Tree
from suture.compile.unit import Binary, Unit, Variant
from suture.delta.atom import AtomObject
from suture.delta.change import UnitChange
from suture.delta.compare import Difference, difference
from suture.delta.layout import describes_types
from suture.elf.file import ElfFile
from suture.error import Refused, Unsupported
from suture.match.book import Contradiction
from suture.match.correlate import NoMatch, correlate
from suture.match.run import Run
from suture.patch.build import Built, build
from suture.patch.elsewhere import Beside, Elsewhere
from suture.patch.file import SUFFIX, parse_patch
from suture.patch.manifest import Fix as FixFact
from suture.patch.manifest import Manifest, RefusedFunction, Suspending, Target
from suture.progress import Progress, silent
from suture.source.fix import CODE, FilePatch, Fix, PathKind

_FEW = 12  # units up to which all variants are compiled in one go, since most of them will be needed
_RESTART = "restart the program with the fixed package"
_NO_TYPES = (
    "its object has no type information, so a structure that the fix changes would not be seen",
    "let the recorded compiler take -g2: a wrapper or a specs file must not take it away",
)
_NOT_GENERATED = "the fix changes the input of a generator; what it generates is not made anew"
_KIND_REASONS = {
    PathKind.ASSEMBLY: "the fix changes assembly, which is not compared or replaced yet",
    PathKind.BUILD: "the fix changes a build file; a different build is not a live patch",
    PathKind.OTHER: "the fix changes a file of a kind that is not known to be code",
}


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
    """All patches of one making, everything that was refused, and seconds by step."""

    patches: tuple[Made, ...]
    refused: tuple[RefusedFunction, ...]
    seconds: Mapping[str, float]


@dataclass
class _Clock:
    """Seconds spent per step; steps may be entered more than once."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start


def make(
    tree: Tree,
    shipped: Sequence[Shipped],
    fixes: Sequence[Fix],
    request: Mapping[str, tuple[str, ...]],
    progress: Progress = silent,
    beside: Beside = tuple,
) -> Making:
    """Make the live patches of `fixes` for the `shipped` binaries of a tree; `beside` gives all binaries of its package.

    Raises `Refused` when nothing of the fix can become a live patch, `CompileFailed`, and what the tree raises.
    """
    clock = _Clock()
    parts, inputs, refused = _split(fixes)
    combined = Fix("+".join(f.name for f in fixes), parts, tuple(sorted({c for f in fixes for c in f.cves})))
    with clock.step("prepare"):
        generators = _generated(tree, combined, inputs, refused, progress)
        post = tree.post(combined, generators)
        paths = [*(p.path for p in parts), *(generators.files if generators else ())]
        units = _affected(tree, paths, shipped, refused)
    progress(f"compiling {len(units)} unit{'s' * (len(units) != 1)} before and after the fix")
    with clock.step("compile"):
        changed = _changed(tree, post, units, refused, progress)
    made: list[Made] = []
    for item in shipped:
        own = [(u, d) for u, d in changed if u.object in item.binary.objects]
        if own:
            built, name = _one(tree, post, item, own, fixes, request, clock, refused, progress, beside)
            if built.data is not None and built.manifest is not None:
                checked = parse_patch(built.data, name)
                made.append(Made(name + SUFFIX, checked.id, built.data, built.manifest))
            else:
                refused.extend(built.refused)
    everything = [*refused, *(r for m in made for r in m.manifest.verdict.refused)]
    if not made and not everything:
        raise Refused(
            f"{combined.name}: changes no code of {tree.name} {tree.version}",
            "check that the fix belongs to this version",
        )
    return Making(tuple(made), tuple(dict.fromkeys(everything)), clock.seconds)


def write(made: Made, folder: Path) -> Path:
    """Write a patch file; the folder never shows half of one."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".suture-")
    with os.fdopen(handle, "wb") as out:
        out.write(made.data)
    os.chmod(temporary, 0o644)
    path = folder / made.file_name
    os.replace(temporary, path)
    return path


def _split(fixes: Sequence[Fix]) -> tuple[tuple[FilePatch, ...], tuple[FilePatch, ...], list[RefusedFunction]]:
    """Code that can be handled, inputs of generators, and a refusal for every other changed file."""
    parts: list[FilePatch] = []
    inputs: list[FilePatch] = []
    refused: list[RefusedFunction] = []
    for fix in fixes:
        for part in fix.files:
            reason = _KIND_REASONS.get(part.kind)
            if part.kind in CODE and part.deletes:
                reason = "the fix deletes the file; a unit that is gone can't be patched"
            if reason is not None:
                refused.append(RefusedFunction("", part.path, 0, reason, _RESTART))
            elif part.kind in CODE:
                parts.append(part)
            elif part.kind is PathKind.GENERATED:
                inputs.append(part)
    if not parts and not inputs:
        first = refused[0] if refused else None
        what = f"{first.file}: {first.reason}" if first else f"{fixes[0].name}: changes documentation and tests only"
        raise Refused(what, _RESTART if first else "there is nothing to patch")
    return tuple(parts), tuple(inputs), refused


def _generated(
    tree: Tree, code: Fix, inputs: Sequence[FilePatch], refused: list[RefusedFunction], progress: Progress
) -> Generated | None:
    """What generators make of their changed inputs. Refused are inputs whose output can't be had, and output that is no code."""
    if not inputs:
        return None
    progress(f"generating code anew from {len(inputs)} changed inputs")
    reason, found = _NOT_GENERATED, None
    try:
        found = tree.generated(Fix(code.name, (*code.files, *inputs), code.cves))
    except (Refused, CommandFailed) as problem:
        reason = f"{_NOT_GENERATED}: {problem.what.splitlines()[0]}"
    if found is None:
        refused.extend(RefusedFunction("", part.path, 0, reason, _RESTART) for part in inputs)
        return None
    for paths, reason in (
        (found.gone, "it is generated code that the fix removes"),
        (found.linked, "the fix changes it, and the linker reads it"),
        (found.commands, "the fix changes how it is compiled or linked"),
    ):
        refused.extend(RefusedFunction("", path, 0, reason, _RESTART) for path in paths)
    return found


def _affected(
    tree: Tree, paths: Sequence[str], shipped: Sequence[Shipped], refused: list[RefusedFunction]
) -> list[Unit]:
    objects = {o for s in shipped for o in s.binary.objects}
    found: dict[str, Unit] = {}
    for path in dict.fromkeys(paths):
        units = [u for u in tree.units_of(path) if u.object in objects]
        for unit in units:
            if unit.language == "asm":
                refused.append(
                    RefusedFunction(
                        "", unit.source, 0, f"it is assembly that includes {path}, which the fix changes", _RESTART
                    )
                )
            else:
                found[unit.object] = unit
    return [found[o] for o in sorted(found)]


def _changed(
    tree: Tree, post: Tree, units: Sequence[Unit], refused: list[RefusedFunction], progress: Progress
) -> list[tuple[Unit, Difference]]:
    """Units whose code or data differ once line numbers are left out."""
    pairs: dict[Unit, tuple[Path, Path]] = _compared(tree, post, units, Variant.COMPARE, [])
    # `__LINE__` in a name makes a constant one an error: there the lines count, and more functions than need be are replaced
    stuck = [u for u in units if u not in pairs]
    pairs |= _compared(tree, post, stuck, Variant.SECTIONS, refused)
    if not pairs and len(units) == 1:
        post.compile([(units[0], Variant.SECTIONS)])  # raises with all that the compiler says
    found, late = [], []
    for unit in units:
        if unit not in pairs:
            continue
        old_path, new_path = pairs[unit]
        before, after = old_path.read_bytes(), new_path.read_bytes()
        if lto.is_for_later(before, str(old_path)) or lto.is_for_later(after, str(new_path)):
            late.append(RefusedFunction("", unit.source, 0, lto.REASON, lto.REMEDY))
            continue
        if before == after:
            continue
        delta = difference(AtomObject(ElfFile(before, str(old_path))), AtomObject(ElfFile(after, str(new_path))))
        if not delta.is_empty:
            progress(f"{unit.source}: {len(delta.changed)} functions differ")
            found.append((unit, delta))
    if late and len(late) == len(units):
        raise Unsupported(f"{late[0].file}: {lto.REASON}", lto.REMEDY)
    refused.extend(late)
    return found


def _compared(
    tree: Tree, post: Tree, units: Sequence[Unit], variant: Variant, refused: list[RefusedFunction]
) -> dict[Unit, tuple[Path, Path]]:
    """Objects of one variant before and after, of the units that compile both times. Few units get all variants at once."""
    extra = tuple(v for v in (Variant.PLAIN, Variant.SECTIONS) if v is not variant) if len(units) <= _FEW else ()
    before = _compiled(tree, units, (variant, *extra), refused)
    after = _compiled(
        post, [u for u in units if u in before], (variant, *(v for v in extra if v is Variant.SECTIONS)), refused
    )
    return {u: (before[u], after[u]) for u in after}


def _compiled(
    tree: Tree, units: Sequence[Unit], variants: Sequence[Variant], refused: list[RefusedFunction]
) -> dict[Unit, Path]:
    """The object of the first variant by unit, all variants compiled. A unit that the compiler rejects is refused."""
    left = list(units)
    while left:
        try:
            objects = tree.compile([(u, v) for u in left for v in variants])
        except CompileFailed as failed:
            left.remove(failed.unit)
            lines = failed.output.strip().splitlines()
            message = next((x for x in lines if "error" in x), lines[0] if lines else "")
            reason = f"the compiler rejects it: {message}"
            remedy = "correct the fix, or leave it out with --only"
            refused.append(RefusedFunction("", failed.unit.source, 0, reason, remedy))
            continue
        return {u: objects[n * len(variants)].path for n, u in enumerate(left)}
    return {}


def _one(
    tree: Tree,
    post: Tree,
    item: Shipped,
    own: Sequence[tuple[Unit, Difference]],
    fixes: Sequence[Fix],
    request: Mapping[str, tuple[str, ...]],
    clock: _Clock,
    refused: list[RefusedFunction],
    progress: Progress,
    beside: Beside,
) -> tuple[Built, str]:
    run = Run.read(item.path)
    with clock.step("compile"):
        units = [u for u, _ in own]
        pre = tree.compile([(u, v) for u in units for v in (Variant.PLAIN, Variant.SECTIONS)])
        new = post.compile([(u, Variant.SECTIONS) for u in units])
    progress(f"matching {len(own)} unit{'s' * (len(own) != 1)} in {item.file}")
    changes: list[UnitChange] = []
    elsewhere = Elsewhere(tree, item.binary, run, beside)
    with clock.step("match"):
        for n, (unit, delta) in enumerate(own):
            plain, sectioned = (ElfFile.read(pre[2 * n + k].path) for k in (0, 1))
            try:
                match = correlate(unit.source, unit.object, plain, sectioned, run, elsewhere.called)
            except (NoMatch, Contradiction) as problem:
                refused.extend(
                    RefusedFunction(f, unit.source, 0, problem.what, problem.remedy) for f in sorted(delta.changed)
                )
                continue
            after = AtomObject(ElfFile.read(new[n].path))
            if not (describes_types(sectioned) and describes_types(after.elf)):
                refused.extend(RefusedFunction(f, unit.source, 0, *_NO_TYPES) for f in sorted(delta.changed))
                continue
            changes.append(UnitChange(unit.source, unit.object, AtomObject(sectioned), after, delta, match))
    target = Target(run.elf.build_id or "", item.file, item.binary.package, tree.name, item.version, "x86_64")
    name = _name(tree, fixes, item)
    facts = [FixFact(f.name, f.cves, f.sha256) for f in fixes]
    toolchain = {"compiler": tree.compiler, "suture": __version__}
    with clock.step("make"):
        progress(f"making the patch of {item.file}")
        stands = suspending(run, tree.suspends(item.binary))
        built = build(name, target, changes, run, facts, elsewhere.find, toolchain, request, tuple(refused), stands)
    return built, name


def suspending(run: Run, names: Sequence[str]) -> tuple[Suspending, ...]:
    """Functions in which suspended coroutines stand, as the binary exports them; one that it does not export helps nobody."""
    rows = [(n, s) for n in names for s in run.exports.get(n, ())[:1]]
    return tuple(Suspending(n, s.st_value, s.st_size) for n, s in rows)


def _name(tree: Tree, fixes: Sequence[Fix], item: Shipped) -> str:
    cves = sorted({c for f in fixes for c in f.cves})
    what = "+".join(cves) if 0 < len(cves) <= 3 else re.sub(r"\.(patch|diff)$", "", Path(fixes[0].name).name)
    return re.sub(r"[^A-Za-z0-9.+~_-]", "_", f"{tree.name}-{tree.version}-{what}-{item.file}")[:200]
