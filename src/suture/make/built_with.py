"""Which compiler of its release a package was built with: the one whose code is in its binaries.

A package that was uploaded while its release was still in the making was built by the compiler of that day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from suture.compile.compiler import older, with_compiler
from suture.compile.job import CompileFailed
from suture.compile.tree import Tree
from suture.compile.unit import Binary, Unit, Variant
from suture.delta.atom import AtomObject
from suture.elf.file import ElfFile
from suture.error import SutureError
from suture.match.book import Contradiction
from suture.match.correlate import correlate
from suture.match.match import NoMatch
from suture.match.run import Run
from suture.progress import Progress, silent
from suture.source import cache
from suture.source.archive import Archive

_FORMAT = 1
_ENOUGH = 0.9  # of the functions in a sample
_BINARIES = 2  # in a sample
_PLACES = (0.75, 0.9)  # of its units among all of a binary by size: such as have many functions and do not take long


def choose(default: Callable[[], float], others: Iterable[tuple[str, Callable[[], float]]]) -> str:
    """The version under which most of the sample is found, "" for the default. Each tells the share; no more are asked
    than it takes to find enough."""
    best, most = "", default()
    for version, share in others:
        if most >= _ENOUGH:
            break
        found = share()
        if found > most:
            best, most = version, found
    return best


def as_built(tree: Tree, places: Iterable[tuple[Binary, Path]], archive: Archive, progress: Progress = silent) -> Tree:
    """The tree with the compiler that its shipped binaries (with where they lie here) show; found out once."""
    sample = [row for binary, path in islice(places, _BINARIES) for row in _sample(tree, binary, path)]

    def share(compiled: Tree) -> float:
        found = [_found(compiled, unit, path) for unit, path in sample]
        return sum(a for a, _ in found) / max(1, sum(b for _, b in found))

    def other(version: str) -> float:
        progress(f"its code is not what {tree.compiler} makes; trying gcc-{version}")
        try:
            return share(with_compiler(tree, version, archive, progress))
        except SutureError:
            return 0.0

    def make(path: Path) -> None:
        others = [(v, partial(other, v)) for v in older(tree.compiler, archive.packages("gcc-"))]
        path.write_text(choose(partial(share, tree), others))

    place = tree.place.parent / f"{tree.place.name}-gcc-{_FORMAT}"
    version = cache.item(place, make).read_text()
    return with_compiler(tree, version, archive, progress) if version else tree


def _sample(tree: Tree, binary: Binary, path: Path) -> Iterator[tuple[Unit, Path]]:
    """Some units of a binary in C or C++."""
    held = (u for u in tree.units if u.object in binary.objects and u.language != "asm")
    own = [u for u in held if (tree.files / u.source).is_file()]
    own.sort(key=lambda u: ((tree.files / u.source).stat().st_size, u.object))
    yield from ((own[n], path) for n in sorted({int(len(own) * x) for x in _PLACES}) if own)


def _found(tree: Tree, unit: Unit, path: Path) -> tuple[int, int]:
    """How many functions of a unit are found in a file, and how many it has."""
    try:
        plain, sectioned = tree.compile([(unit, Variant.PLAIN), (unit, Variant.SECTIONS)])
    except CompileFailed:
        return 0, 0
    elf = ElfFile.read(sectioned.path)
    names = AtomObject(elf).functions.keys()
    try:
        match = correlate(unit.source, unit.object, ElfFile.read(plain.path), elf, Run.read(path))
    except (NoMatch, Contradiction):
        return 0, len(names)
    return len(names & match.functions.keys()), len(names)
