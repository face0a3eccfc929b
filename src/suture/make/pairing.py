"""Which link of a build became which shipped file, for packages that no recipe describes: by name, by SONAME, then by
matching code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from suture.compile import derived
from suture.compile.derived import Way
from suture.compile.job import CompileFailed
from suture.compile.preparation import prepare
from suture.compile.recipe import has as has_recipe
from suture.compile.tree import Output, Tree
from suture.compile.unit import Binary, Unit, Variant
from suture.elf.file import ElfFile
from suture.error import NotFound, SutureError
from suture.make.built_with import as_built
from suture.make.elsewhere import OtherUnits
from suture.match.book import Contradiction
from suture.match.correlate import correlate
from suture.match.match import NoMatch
from suture.match.run import Run
from suture.progress import Progress, silent
from suture.source import cache
from suture.source.archive import Archive, SourceVersion
from suture.source.packages import ShippedFile, shipped_files

_FORMAT = 5
_TRIED = 4  # units of an output that are looked for in a file: half of them its largest
_PROBED = 12  # units that are compiled to see whether a recording brought all that they need
_LITTLE = 20  # files of unknown make may hold one part in so many of a package's code
_MOST = 60  # outputs that are tried by their code alone


@dataclass(frozen=True)
class Shape:
    """What a shipped file's name, SONAME and kind tell of the link that made it."""

    name: str
    soname: str
    is_program: bool


@dataclass(frozen=True)
class Pairing:
    """Shipped files with the path of the output that each is made from, and those for which none was found."""

    pairs: tuple[tuple[ShippedFile, str], ...]
    left: tuple[ShippedFile, ...]


def by_name(shape: Shape, outputs: Iterable[Output]) -> tuple[Output, ...]:
    """The outputs that may have become a file, by what the link calls them: of the same kind, and of the same SONAME
    where the file has one, else of the same name (libtool calls what it links before the installation `lt-NAME`)."""
    kind = [o for o in outputs if o.is_shared is not shape.is_program]
    if shape.soname:
        named = tuple(o for o in kind if o.soname == shape.soname)
        if named:
            return named
    return tuple(o for o in kind if PurePosixPath(o.path).name.removeprefix("lt-") == shape.name)


def pair(
    files: Sequence[tuple[ShippedFile, Shape]],
    outputs: Sequence[Output],
    share: Callable[[ShippedFile, Output], float],
) -> Pairing:
    """Pair files with outputs; `share` tells how much of an output's code a file holds, asked where names leave a
    choice or none. Flavours of one source have functions in common, so among names that are the same the most
    counts."""
    found: list[tuple[ShippedFile, str]] = []
    left: list[ShippedFile] = []
    named = {file: by_name(shape, outputs) for file, shape in files}
    taken = {o.path for rows in named.values() if len(rows) == 1 for o in rows}
    for file, shape in files:
        rows = named[file]
        if len({o.objects for o in rows}) == 1:
            found.append((file, rows[0].path))
            continue
        kind = [o for o in outputs if o.is_shared is not shape.is_program and o.path not in taken]
        # the code of a small program may be part of a large one's
        largest = sorted(rows or kind, key=lambda o: -len(o.objects))
        chosen = _most((o, share(file, o)) for o in largest[:_MOST])
        if chosen is None:
            left.append(file)
        else:
            found.append((file, chosen.path))
    return Pairing(tuple(found), tuple(left))


def _most(shares: Iterable[tuple[Output, float]]) -> Output | None:
    """The output of which most is there; no more are asked than it takes to find one that is there whole."""
    best, most = None, 0.0
    for output, share in shares:
        if share > most:
            best, most = output, share
        if most >= 1:
            break
    return best


def open_source(source: SourceVersion, archive: Archive, progress: Progress = silent, real: bool = False) -> Tree:
    """The tree of a source version, by its recipe, or by what its own rules do when it has none that fits this version.
    Raises what `prepare` does, and `NotFound` when the build links nothing that ships. `real`: recorded commands alone
    turned out not to do.
    """
    if has_recipe(source.name):
        try:
            return prepare(source, progress)
        except SutureError as problem:
            progress(f"{source.name}: its recipe does not fit {source.version}: {problem.what.splitlines()[0]}")
            try:
                return _derived(source, archive, progress, real)
            except SutureError:
                raise problem from None
    return _derived(source, archive, progress, real)


def _derived(source: SourceVersion, archive: Archive, progress: Progress, real: bool) -> Tree:
    """The tree that the package's own rules make."""
    files = shipped_files(source, archive)
    best: tuple[Tree, Pairing] | None = None
    for way in derived.ways(source, real):
        tree = prepare(source, progress, derived.recipe(source, way))
        pairs = _paired(tree, files, way, progress)
        if best is None or len(pairs.pairs) > len(best[1].pairs):
            best = tree, pairs
        if (not pairs.left or _has_links(tree, pairs)) and (not way.is_stand_in or _is_whole(tree, pairs, progress)):
            best = tree, pairs
            break
        if way.is_stand_in:
            progress(f"{source.name}: {_wanting(pairs)}; building it once for real")
    assert best is not None
    paired = {(f.package, f.file): f.path for f, _ in best[1].pairs}
    chosen = _with_binaries(*best)
    return as_built(chosen, [(b, paired[b.package, b.file]) for b in chosen.binaries], archive, progress)


def _has_links(tree: Tree, pairs: Pairing) -> bool:
    """Whether the build's links are all there, though it cannot be told which of them some small files are."""
    runs = {f: Run.read(f.path) for f in (*(f for f, _ in pairs.pairs), *pairs.left)}
    taken = {path for _, path in pairs.pairs}
    free = [o.is_shared for o in tree.outputs if o.path not in taken]
    left = [(not _is_program(runs[f]), _code_size(runs[f].elf)) for f in pairs.left]
    return bool(pairs.pairs) and is_little(left, free, sum(_code_size(r.elf) for r in runs.values()))


def is_little(left: Sequence[tuple[bool, int]], free: Sequence[bool], whole: int) -> bool:
    """Whether a real build would bring no more than a recording has: `left` are the files of which it is not known what
    they were linked from (whether they are shared, bytes of code), `free` the links that are nobody's (whether they are
    shared), `whole` is the code of all files.

    Programs of a few hundred bytes of code are found in none for certain, by whatever build.
    """
    enough = all(sum(s is kind for s, _ in left) <= sum(f is kind for f in free) for kind in (True, False))
    return enough and _LITTLE * sum(size for _, size in left) <= whole


def _wanting(pairs: Pairing) -> str:
    if not pairs.left:
        return "the recorded commands need files that only a real build makes"
    names = ", ".join(PurePosixPath(f.file).name for f in pairs.left[:5])
    more = f" and {len(pairs.left) - 5} more" if len(pairs.left) > 5 else ""
    return f"the recording links no {names}{more}"


def _with_binaries(tree: Tree, pairs: Pairing) -> Tree:
    """The tree with its shipped binaries, and of its units those that they hold."""
    if not pairs.pairs:
        raise NotFound(
            f"{tree.name} {tree.version}: nothing that its packages ship is linked by its build from C or C++",
            "a recipe can tell how it is built: docs/reference/recipes.md",
        )
    outputs = {o.path: o for o in tree.outputs}
    binaries = tuple(Binary(f.package, f.file, outputs[path].objects) for f, path in pairs.pairs)
    held = frozenset[str]().union(*(b.objects for b in binaries))
    units = tuple(u for u in tree.units if u.object in held)
    chosen = tuple(outputs[p] for p in dict.fromkeys(path for _, path in pairs.pairs))
    left = tuple(PurePosixPath(f.file).name for f in pairs.left)
    elsewhere = frozenset(u.source for u in tree.units if u.object not in held) if left else frozenset[str]()
    return replace(tree, binaries=binaries, units=units, outputs=chosen, unpaired=left, unheld=elsewhere)


def _paired(tree: Tree, files: Sequence[ShippedFile], way: Way, progress: Progress) -> Pairing:
    """The pairs of a tree, worked out once."""
    place = tree.place.parent / f"{tree.place.name}-pairs-{_FORMAT}.json"

    def make(path: Path) -> None:
        progress(f"finding which of {len(tree.outputs)} links became which of {len(files)} shipped files")
        runs: dict[Path, Run] = {}
        shaped = []
        for file in files:
            run = runs[file.path] = Run.read(file.path)
            shaped.append((file, Shape(PurePosixPath(file.file).name, run.soname, _is_program(run))))
        found = pair(shaped, tree.outputs, lambda f, o: _share(tree, runs[f.path], f, o))
        rows = [[f.package, f.file, output] for f, output in found.pairs]
        path.write_text(json.dumps(rows))

    known = {(f.package, f.file): f for f in files}
    rows = json.loads(cache.item(place, make).read_text())
    pairs = tuple((known[package, file], output) for package, file, output in rows if (package, file) in known)
    have = {f for f, _ in pairs}
    return Pairing(pairs, tuple(f for f in files if f not in have))


def _is_program(run: Run) -> bool:
    """Whether a link without -shared made it: also a PIE without DF_1_PIE is one that names its loader (gABI,
    PT_INTERP)."""
    return run.is_program or (run.elf.section(".interp") is not None and not run.soname)


def _share(tree: Tree, run: Run, file: ShippedFile, output: Output) -> float:
    """How much of the functions of an output's largest units, and of some others, a file holds; 0 where one unit is not
    found at all, or where they are little of the file's code."""
    binary = Binary(file.package, file.file, output.objects)
    called = OtherUnits(tree, binary, run).called
    rows = list(_largest(tree, output.objects))
    first, others = rows[: _TRIED // 2], rows[_TRIED // 2 :]
    units = [*first, *others[:: max(1, len(others) // (_TRIED - len(first)))][: _TRIED - len(first)]] if first else []
    sizes = []
    found = whole = 0
    for unit in units:
        try:
            plain, sectioned = tree.compile([(unit, Variant.PLAIN), (unit, Variant.SECTIONS)])
            elf = ElfFile.read(plain.path)
            if not _code_size(elf):
                continue  # tables alone
            match = correlate(unit.source, unit.object, elf, ElfFile.read(sectioned.path), run, called)
        except (CompileFailed, NoMatch, Contradiction):
            return 0.0
        sizes.append(_code_size(elf))
        whole += sizes[-1]
        found += sizes[-1] if match.unit.whole else min(sizes[-1] - 1, sum(f.size for f in match.functions.values()))
    return found / whole if is_most(sizes, len(output.objects), _code_size(run.elf)) else 0.0


def is_most(sizes: Sequence[int], count: int, whole: int) -> bool:
    """Whether `count` units, of which some have these sizes, may be most of a file with `whole` bytes of code.

    A library that is compiled into a program is in it as well, and is not what the program was linked from.
    """
    return bool(sizes) and sum(sizes) / len(sizes) * count >= whole / 2


def _code_size(elf: ElfFile) -> int:
    return sum(s.sh_size for s in elf.sections if s.is_code and s.has_bits)


def _largest(tree: Tree, objects: frozenset[str]) -> Iterator[Unit]:
    """Units in C or C++ by the size of their source, the largest first."""
    own = [u for u in tree.units if u.object in objects and u.language != "asm" and tree.has(u.source)]
    sizes = {u.object: (tree.files / u.source).stat().st_size for u in own}
    yield from sorted(own, key=lambda u: (-sizes[u.object], u.object))


def _is_whole(tree: Tree, pairs: Pairing, progress: Progress) -> bool:
    """Whether what a recording with stand-ins brought can be compiled: all sources are there, and some units of each
    kind compile."""
    outputs = {o.path: o for o in tree.outputs}
    held = frozenset[str]().union(*(outputs[p].objects for _, p in pairs.pairs))
    units = [u for u in tree.units if u.object in held]
    if not all((tree.files / u.source).is_file() for u in units):
        return False
    chosen = units[:: max(1, len(units) // _PROBED)]
    progress(f"compiling {len(chosen)} of {len(units)} units to see whether the recording is whole")
    try:
        tree.compile([(u, Variant.PLAIN) for u in chosen])
    except CompileFailed:
        return False
    return True
