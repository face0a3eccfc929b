"""A configured source tree in its clean room: its units, and objects compiled from it before and after a fix.

A tree is prepared once per source version and recipe (`suture.compile.preparation`) and then never changes. A fix is a
layer over it at the same path, so pre and post differ in the fix and in nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from suture.compile import copied, depend, job, post
from suture.compile.generate import Generated
from suture.compile.job import CompiledObject, Job
from suture.compile.recipe import Recipe
from suture.compile.unit import Binary, Unit, Variant
from suture.source.archive import SourceVersion
from suture.source.fix import Fix


@dataclass(frozen=True)
class Output:
    """What a build links: its path and the objects in it (relative to the root), its DT_SONAME, and whether it is a
    library that is loaded."""

    path: str
    soname: str
    is_shared: bool
    objects: frozenset[str]


_LISTING = (("-w",), ("-M", "-MG", "-MF"))


class Enterable(Protocol):
    """What a tree needs of its room: a clean room, or this host."""

    def with_layer(self, layer: Path) -> Enterable:
        """The same with one more layer on top."""

    def enter(self, script: str, *, outputs: Sequence[tuple[Path, str]] = ()) -> str:
        """Run a script in it that may write to `outputs` alone; its standard output."""


@dataclass(frozen=True)
class Tree:
    """A configured tree, or one with a fix over it (`post`).

    `root` is the tree's absolute path inside the room; `files` its files on this host, without any fix; `place` a
    folder for facts about it; `key` names its whole contents, fix included, and `below` those without the fix ("" where
    there is none). `over` are folders on this host with the files that a fix changes, the uppermost first. `gap` tells
    of code that is, or may be, in its binary and that no unit makes. `outputs` are all links of the build, where no
    recipe tells which of them ship. `copies` are, by path in the source, the places to which the build copies a file
    before it compiles it. `unpaired` are shipped files of which it is not known what links them, `unheld` the sources
    that may be in those.
    """

    name: str
    version: str
    units: tuple[Unit, ...]
    binaries: tuple[Binary, ...]
    compiler: str
    key: str
    root: str
    files: Path
    place: Path
    room: Enterable
    env: Mapping[str, str]
    moved: tuple[tuple[str, str], ...] = ()
    source: SourceVersion | None = None
    recipe: Recipe | None = None
    over: tuple[Path, ...] = ()
    below: str = ""
    gap: str = ""
    outputs: tuple[Output, ...] = ()
    copies: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unpaired: tuple[str, ...] = ()
    unheld: frozenset[str] = frozenset()

    @cached_property
    def _dependencies(self) -> depend.Dependencies:
        return depend.Dependencies(self.place, self.files, self.units, self.over)

    def built_path(self, path: str) -> str:
        """Where the file that the source calls `path` lies in the tree that is compiled."""
        for source, built in self.moved:
            if path.startswith(source + "/"):
                return built + path[len(source) :]
        return path

    def places_of(self, path: str) -> tuple[str, ...]:
        """Where the tree that is compiled has the file that the source calls `path`, its copies included."""
        return tuple(dict.fromkeys((self.built_path(path), *copied.copies_of(path, self.copies))))

    def has(self, path: str) -> bool:
        """Whether the source has a file of this path."""
        return (self.files / self.built_path(path)).is_file()

    def read(self, path: str) -> bytes | None:
        """What the tree holds under a path of the source, with the fix if there is one; None for no file."""
        built = self.built_path(path)
        place = next((x / built for x in (*self.over, self.files) if (x / built).is_file()), None)
        return place.read_bytes() if place else None

    def names_of(self, path: str) -> set[str]:
        """All paths of a file in the tree that is compiled, those through links among them."""
        return {name for place in self.places_of(path) for name in self._dependencies.names_of(place)}

    def may_be_in_unpaired(self, path: str) -> bool:
        """Whether a file is compiled into what may be one of the unpaired files."""
        return bool(self.unheld & self.names_of(path)) if self.unheld else False

    def takes_in(self, path: str) -> bool:
        """Whether assembly in the tree takes the bytes of a file in, of which `units_of` can't tell."""
        return any(self._dependencies.taken_in(place) for place in self.places_of(path))

    def ask_ahead(self, paths: Iterable[str]) -> None:
        """List at once what all units read that `units_of` will ask of each path. Raises `CompileFailed` as it
        does."""
        asked = {u.object: u for path in paths for u in self._possible(self.names_of(path))[1]}
        self._outputs([Job(u, *_LISTING) for u in asked.values()])

    def _possible(self, targets: set[str]) -> tuple[list[Unit], list[Unit]]:
        """The units that compile a file of these names, and those that may include it."""
        possible = {u.object: u for target in sorted(targets) for u in self._dependencies.candidates(target)}.values()
        return [u for u in possible if u.source in targets], [u for u in possible if u.source not in targets]

    def units_of(self, path: str) -> tuple[Unit, ...]:
        """The units that a changed file affects: those that compile it, and those that include it, as `gcc -M`
        tells."""
        targets = self.names_of(path)
        sure, asked = self._possible(targets)
        lists = self._outputs([Job(u, *_LISTING) for u in asked])
        sure += [
            u
            for u, listed in zip(asked, lists, strict=True)
            if depend.names(listed.read_text(errors="surrogateescape"), u, self.root, targets)
        ]
        return tuple(sorted(sure, key=lambda u: u.object))

    def changed_since(self, unit: Unit, built: Path) -> str:
        """A file of a tree of one's own that a unit reads and that was changed after `built` was; "" for none."""
        if self.is_prepared or not built.is_file():
            return ""
        (rule,) = self._outputs([Job(unit, *_LISTING)])
        own = {x for x in depend.listed(rule.read_text(errors="surrogateescape"), unit, self.root)[1:] if x[:1] != "/"}
        when = built.stat().st_mtime_ns
        found = (x for x in sorted(own) if (self.files / x).is_file() and (self.files / x).stat().st_mtime_ns > when)
        return next(found, "")

    @property
    def is_prepared(self) -> bool:
        """Whether it was made from a source package, and so can be made anew."""
        return self.source is not None

    def suspends(self, binary: Binary) -> tuple[str, ...]:
        """Functions in which suspended coroutines of a shipped binary stand, as its recipe tells."""
        rows = self.recipe.binaries if self.recipe else ()
        return next((r.suspends for r in rows if (r.package, r.file) == (binary.package, binary.file)), ())

    def post(self, fix: Fix, generators: Generated | None = None) -> Tree:
        """The tree with a fix applied over it, and with what the generators make of it.

        Raises `Refused` naming the file and hunk that do not apply.
        """
        layer = post.layer(self.key, self.files, self.root, fix, self.places_of)
        state, layers = f"{self.key} {fix.sha256}", [layer]
        if generators is not None and generators.files:
            state, layers = f"{state} {generators.layer.parent.name}", [layer, generators.layer]
        return self._under(layers, state)

    def with_texts(self, texts: Mapping[str, bytes]) -> Tree:
        """The tree with other contents of some files, by their path in the source."""
        files = {place: text for path, text in texts.items() for place in self.places_of(path)}
        layer = post.texts(self.key, self.root, files)
        return self._under([layer], f"{self.key} {layer.name}")

    def _under(self, layers: Sequence[Path], state: str) -> Tree:
        """The tree with layers over it, the uppermost first; `state` names its contents."""
        room = self.room
        for one in reversed(layers):
            room = room.with_layer(one)
        over = (*(x / self.root.lstrip("/") for x in layers), *self.over)
        key = hashlib.sha256(state.encode()).hexdigest()
        return replace(self, key=key, room=room, over=over, below=self.below or self.key)

    @cached_property
    def _reaching(self) -> Mapping[str, tuple[str, ...]]:
        """For each unit, by its object, the files of a fix that it may read, and what they hold."""
        found: dict[str, list[str]] = {u.object: [] for u in self.units}
        for path, place in sorted(_files_of(self.over).items()):
            names = self._dependencies.names_of(path)
            is_taken_in = self._dependencies.taken_in(path)
            reached = self.units if is_taken_in else [u for n in names for u in self._dependencies.candidates(n)]
            told = f"{path} {hashlib.sha256(place.read_bytes()).hexdigest()}"
            for name in {u.object for u in reached}:
                found[name].append(told)
        return {name: tuple(rows) for name, rows in found.items()}

    def state_of(self, unit: Unit) -> str:
        """Names the contents of all that a unit may read. Fixes that change the same for a unit share its objects, and
        one of which it reads nothing leaves it as it was shipped."""
        if not self.over or unit.object not in self._reaching:
            return self.key
        return "\0".join((self.below, *self._reaching[unit.object]))

    def compile(self, jobs: Sequence[tuple[Unit, Variant]]) -> list[CompiledObject]:
        """Objects in the order of the jobs, compiled in parallel or taken from the cache. Raises `CompileFailed`."""
        paths = self._outputs([Job(unit, variant.flags_for(unit), ("-c", "-o")) for unit, variant in jobs])
        return [CompiledObject(unit, variant, path) for (unit, variant), path in zip(jobs, paths, strict=True)]

    def preprocessed(self, units: Sequence[Unit]) -> list[Path]:
        """The text that the compiler makes code of, for each unit; lines have no numbers in it (gcc(1), -P). Raises
        `CompileFailed`."""
        return self._outputs([Job(unit, ("-w", "-D__LINE__=7"), ("-E", "-P", "-o")) for unit in units])

    def _outputs(self, jobs: Sequence[Job]) -> list[Path]:
        def enter(script: str, outputs: Sequence[tuple[Path, str]]) -> str:
            return self.room.enter(script, outputs=outputs)

        return job.outputs(jobs, self.state_of, enter, self.env, self.root)


def _files_of(folders: Iterable[Path]) -> dict[str, Path]:
    """The files of folders that lie one over another, the uppermost first, by their paths in them."""
    found: dict[str, Path] = {}
    for folder in folders:
        for place in (x for x in folder.rglob("*") if x.is_file()):
            found.setdefault(str(place.relative_to(folder)), place)
    return found
