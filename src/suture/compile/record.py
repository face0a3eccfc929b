"""The recording of a build: which command compiles each TU, and which objects each link puts together.

Read from what the stand-ins have written down (`stand_in`): one file per process, records of NUL-terminated strings:
the count of arguments, what was done, the directory, the program, the arguments. The content of a response file comes
before the call that names it.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from suture.compile import archive
from suture.compile.call import Call, Input
from suture.compile.stand_in import EMPTY, MARK, PROGRAM
from suture.compile.unit import Unit
from suture.source import cache


@dataclass(frozen=True)
class Recording:
    """What a build did: its TUs, and for each output of a link or archive its input files (all relative to the
    root)."""

    units: tuple[Unit, ...]
    links: Mapping[str, tuple[str, ...]]
    touched: frozenset[str] = frozenset()  # outputs under all names that links use, those given by a rename among them
    shared: frozenset[str] = (
        frozenset()
    )  # libraries that are loaded: whoever is linked with one does not hold its objects
    untold: tuple[str, ...] = ()  # what was compiled and cannot be compiled again, in words
    sonames: Mapping[str, str] = field(default_factory=dict)  # of links that set one

    def objects_of(self, output: str) -> frozenset[str]:
        """The objects that an output is linked from, through archives and partial links."""
        known = {u.object for u in self.units}
        found: set[str] = set()
        seen: set[str] = set()
        todo = [output]
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in known:
                found.add(name)
            else:
                todo += (x for x in self.links.get(name, ()) if x not in self.shared)
        return frozenset(found)

    def uncompiled(self, output: str, files: Path) -> tuple[str, ...]:
        """What an output in a real tree (`files`) is linked from and nothing was seen to compile: objects and archives
        of the tree, and members of its archives. What lies outside is not the tree's."""
        known = {u.object for u in self.units}
        found: set[str] = set()
        seen = set(known)
        todo = [output]
        while todo:
            name = todo.pop()
            if name in seen or name in self.shared:
                continue
            seen.add(name)
            if name in self.links:
                todo += self.links[name]
                own = {posixpath.basename(x) for x in self.objects_of(name) | set(self.links[name])}
                found |= {f"{name}({x})" for x in archive.members(files / name) if x not in own}
            elif not name.startswith("/") and archive.is_linked_in(files / name):
                found.add(name)
        return tuple(sorted(found))

    def objects_of_pattern(self, pattern: str) -> frozenset[str]:
        """The objects of all outputs whose path matches a shell pattern."""
        return frozenset().union(*(self.objects_of(x) for x in self.links if fnmatchcase(x, pattern)))


def read(log: Path, root: str, files: Path | None = None) -> Recording:
    """The recording in a log folder, of a tree whose root (absolute, as the build saw it) is given.

    `files` is where the tree lies for us after the recording, to look into touched objects.

    A source outside the root is left out, as is one that was compiled by clang beside gcc (bitcode). When an object was
    compiled more than once the last command counts.
    """
    units: dict[str, Unit] = {}
    links: dict[str, list[str]] = {}
    searched: dict[str, list[tuple[str, ...]]] = {}
    shared: set[str] = set()
    sonames: dict[str, str] = {}
    untold: dict[str, None] = {}
    for path in sorted(filter(cache.is_plain, log.iterdir()), key=lambda p: (p.stat().st_mtime_ns, p.name)):
        for directory, name, mode, call in _calls(path.read_bytes()):
            here = posixpath.normpath(directory)
            if mode == "archive":
                named = [relative(root, here, x.path) for x in call.inputs if "." in x.path]
                if len(named) > 1:
                    links.setdefault(named[0], []).extend(named[1:])
                continue
            if "clang" in name and "-emit-llvm" in call.arguments:
                continue
            for source in call.sources:
                if source.path == "-":
                    untold[f"{call.output or 'an object'}, compiled from standard input in {here}"] = None
                    continue
                unit = _unit(root, here, name, call, source)
                if unit:
                    units[unit.object] = unit
            if not call.compiles_only:
                output = relative(root, here, call.output or "a.out")
                links[output] = [relative(root, here, call.object_of(x) if x.language else x.path) for x in call.inputs]
                searched[output] = [tuple(relative(root, here, x) for x in names) for names in call.libraries]
                shared |= {output} if call.is_shared else set()
                sonames |= {output: call.soname} if call.soname else {}
    for output, rows in searched.items():
        # a library that the build did not make holds none of its objects
        links[output] += [x for names in rows for x in [_library(names, links)] if x]
    ordered = sorted(units.values(), key=lambda u: u.object)
    inputs = {x for v in links.values() for x in v}
    names = {x: x if x in units or x in links else _first_name(x, root, files) for x in inputs}
    touched = frozenset(units) | frozenset(links) | frozenset(names)
    copies = archive.KnownObjects(files, ordered) if files else None
    found: dict[str, tuple[str, ...]] = {}
    for output, given in links.items():
        whole = [y for x in given for y in (copies.of(names[x]) if copies and names[x] not in links else (names[x],))]
        found[output] = tuple(dict.fromkeys(whole))
    return Recording(tuple(ordered), found, touched, frozenset(shared), tuple(untold), sonames)


def _library(names: Sequence[str], made: Collection[str]) -> str:
    """What the linker takes of the files that `-l` may mean; "" when the build made none of them.

    `libx.so` is mostly a link to `libx.so.1.2`, which is what the build made.
    """
    for name in names:
        versions = [x for x in made if x.startswith(f"{name}.")] if name.endswith(".so") else []
        if name in made or versions:
            return name if name in made else min(versions)
    return ""


def clean(recording: Recording, files: Path) -> None:
    """Remove what the stand-ins touched in a tree, so that nobody takes it for an object or a program."""
    for name in recording.touched:
        path = files / name
        if not name.startswith("/") and cache.is_plain(path) and cache.is_inside(path, files):
            with path.open("rb") as handle:
                if handle.read(len(MARK)) in {MARK, b"", EMPTY, PROGRAM[: len(MARK)]}:
                    path.unlink()


def relink(files: Path, root: str) -> None:
    """Make symbolic links that name a place below `root` by its path in the room relative ones, so that they lead there
    from the host too."""
    for place, folders, names in os.walk(files):
        for link in (Path(place, n) for n in (*folders, *names)):
            if link.is_symlink() and (target := os.readlink(link)).startswith(f"{root}/"):
                inside = files / posixpath.normpath(target).removeprefix(f"{root}/")
                if inside.is_relative_to(files):
                    link.unlink()
                    link.symlink_to(os.path.relpath(inside, place))


def _first_name(name: str, root: str, files: Path | None) -> str:
    """The name under which an object was compiled that a build has renamed or copied since."""
    path = files / name if files else None
    if files is None or path is None or not cache.is_plain(path) or not cache.is_inside(path, files):
        return name
    with path.open("rb") as handle:
        if handle.read(len(MARK)) != MARK:
            return name
        return relative(root, "/", handle.readline().decode(errors="surrogateescape").strip())


def relative(root: str, directory: str, path: str) -> str:
    """A path as a build in `directory` names it, relative to the root; absolute if it lies outside."""
    whole = posixpath.normpath(posixpath.join(directory, path))
    return whole[len(root) + 1 :] if whole.startswith(root + "/") else whole


def _unit(root: str, directory: str, name: str, call: Call, source: Input) -> Unit | None:
    path = relative(root, directory, source.path)
    if path.startswith("/") or source.language is None:
        return None
    argv = (name, *call.command_of(source))
    return Unit(path, relative(root, directory, call.object_of(source)), directory, argv, source.language)


def _calls(data: bytes) -> Iterator[tuple[str, str, str, Call]]:
    """Directory, program, what the stand-in took it for, and the call itself."""
    fields = [x.decode(errors="surrogateescape") for x in data.split(b"\0")]
    responses: dict[str, str] = {}
    at = 0
    while at + 4 < len(fields):
        count = int(fields[at])
        mode, directory, name = fields[at + 1 : at + 4]
        arguments = fields[at + 4 : at + 4 + count]
        at += 4 + count
        if mode == "response":
            responses[name] = arguments[0]
        else:
            yield directory, name, mode, Call.of(arguments, responses)
            responses = {}
