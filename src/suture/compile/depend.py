"""Which units a file can reach: a graph of `#include` lines by base name, to be asked before the compiler is."""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from suture.compile.record import relative
from suture.compile.unit import Unit
from suture.source import cache

_SPACE = rb"(?:[ \t]|/\*[^\n]*?\*/)*"
_INCLUDE = re.compile(
    rb"^%b(?:#|%%:)%b(?:include_next|include|import|embed)\b%b"
    rb'(?:[<"]([^>"\n]+)[>"]|([A-Za-z_]\w*)[ \t]*(?:$|\r|[(]|/[/*]))' % (_SPACE, _SPACE, _SPACE),
    re.M,
)
_ASKED = re.compile(rb'\b__has_(?:include|include_next|embed)[ \t]*[(][ \t]*[<"]([^>"\n]+)[>"]')
_INCBIN = re.compile(rb'\.incbin[ \t]*\\?"([^"\\\n]+)\\?"')
_DEFINE = rb'^[ \t]*#[ \t]*define[ \t]+(%b)\b(?:[ \t]+[<"]([^>"\n]+)[>"])?'
_FORCED = ("-include", "-imacros")
_SPLICE = re.compile(rb"\\\r?\n")
_PLAIN = re.compile(r'[<"]([^<>"]+)[>"]')
_MOST_NAMES = 256  # links may lead in circles
_START = 4096  # a file with a NUL byte up to here is no text
_MACRO, _BYTES = "#", ".incbin "  # before what is no base name of an include
_ANY = "*"  # an include whose name is a macro that is not a plain file name may mean any file


class Dependencies:
    """The include graph of a tree, read once from its files and kept beside it; `over` are folders of files that take
    their place."""

    def __init__(self, place: Path, files: Path, units: tuple[Unit, ...], over: tuple[Path, ...] = ()) -> None:
        self.place = place
        self.files = files
        self.units = units
        self.over = over

    @cached_property
    def includers(self) -> dict[str, list[str]]:
        """For each base name, the base names of the files that include a file so called, before or after."""

        def make(new: Path) -> None:
            new.write_text(json.dumps(self._read()))

        path = cache.item(self.place / "includes-4.json", make)
        found: dict[str, list[str]] = json.loads(path.read_text())
        for name, more in self._read_over(found).items():
            found[name] = sorted({*found.get(name, ()), *more})
        return found

    def candidates(self, path: str) -> list[Unit]:
        """Units that may depend on a file: a superset of those that do."""
        base = posixpath.basename(path)
        by_source: dict[str, list[Unit]] = {}
        for unit in self.units:
            by_source.setdefault(posixpath.basename(unit.source), []).append(unit)
        reached, todo = {base}, [base]
        while todo:
            name = todo.pop()
            for includer in (*self.includers.get(name, ()), *self.includers.get(_ANY, ())):
                if includer not in reached:
                    reached.add(includer)
                    todo.append(includer)
        found = [
            unit
            for name in reached
            for unit in by_source.get(name, ())
            if unit.source == path or name != base or _includes(self, name)
        ]
        return found + [u for u, names in self._forced if (names & reached or _ANY in names) and u not in found]

    def names_of(self, path: str) -> set[str]:
        """All paths under which the tree has a file: its own, and those through symbolic links to it or to a folder
        above it."""
        found, todo = {path}, [path]
        while todo and len(found) < _MOST_NAMES:
            parts = todo.pop().split("/")
            for n in range(1, len(parts) + 1):
                above = "/".join(parts[:n])
                for link in self._links.get(above, ()):
                    other = "/".join([link, *parts[n:]])
                    if other not in found and not link.startswith(above + "/"):
                        found.add(other)
                        todo.append(other)
        return found

    @cached_property
    def _links(self) -> dict[str, list[str]]:
        """For each path that symbolic links of the tree lead to, the links."""

        def make(new: Path) -> None:
            found: dict[str, list[str]] = {}
            root = self.files.resolve()
            for place, folders, names in os.walk(root):
                folders[:] = [x for x in folders if x not in {".pc", ".git"}]
                for link in (p for p in (Path(place, n) for n in (*folders, *names)) if p.is_symlink()):
                    with suppress(OSError, RuntimeError, ValueError):
                        target = str(link.resolve().relative_to(root))
                        found.setdefault(target, []).append(str(link.relative_to(root)))
            new.write_text(json.dumps(found))

        known: dict[str, list[str]] = json.loads(cache.item(self.place / "links.json", make).read_text())
        return known

    def taken_in(self, path: str) -> bool:
        """Whether some file of the tree names it in `.incbin`, of which the compiler's lists of dependencies do not
        tell."""
        return f"{_BYTES}{posixpath.basename(path)}" in self.includers

    @cached_property
    def _forced(self) -> list[tuple[Unit, set[str]]]:
        """Units whose commands name files to include first, with their base names; a response file may name any."""
        return [(u, names) for u in self.units if (names := set(_first_included(u.argv)))]

    def _read(self) -> dict[str, list[str]]:
        found = _named(self.files)
        macros = [k.removeprefix(_MACRO) for k in found if k.startswith(_MACRO)]
        for macro, targets in self._meanings(macros).items():
            for target in targets:
                found.setdefault(target, set()).update(found[_MACRO + macro])
        return {k: sorted(v) for k, v in sorted(found.items())}

    def _read_over(self, known: dict[str, list[str]]) -> dict[str, set[str]]:
        """What changed files include. A macro in their place may mean any file, and so may one that they define
        anew."""
        found: dict[str, set[str]] = {}
        for folder in self.over:
            for name, includers in _named(folder).items():
                found.setdefault(_ANY if name.startswith(_MACRO) else name, set()).update(includers)
            for _, text in _texts(folder):
                for match in re.finditer(_DEFINE % rb"\w+", text, re.M):
                    found.setdefault(_ANY, set()).update(known.get(_MACRO + match[1].decode(), ()))
        return found

    def _meanings(self, macros: Iterable[str]) -> dict[str, set[str]]:
        """What each macro may stand for. One that the tree does not define names files of the system, which include
        none of the tree."""
        found: dict[str, set[str]] = {m: set() for m in macros}
        if not found:
            return found
        for unit in self.units:
            for macro, value in _defined(unit.argv):
                if macro in found:
                    plain = _PLAIN.fullmatch(value)
                    found[macro].add(posixpath.basename(plain[1]) if plain else _ANY)
        pattern = re.compile(_DEFINE % b"|".join(re.escape(m.encode()) for m in found), re.M)
        for _, text in _texts(self.files):
            for match in pattern.finditer(text):
                found[match[1].decode()].add(_ANY if match[2] is None else _base(match[2]))
        return found


def _texts(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Base name and text of every file that may hold includes, whatever it is called; lines that go on are joined."""
    for place, folders, names in os.walk(folder):
        folders[:] = [x for x in folders if x not in {".pc", ".git"}]
        for name in names:
            path = Path(place, name)
            with suppress(OSError):  # a dangling link
                if not path.is_file():
                    continue
                with path.open("rb") as file:
                    start = file.read(_START)
                    if b"\0" not in start:
                        yield name, _SPLICE.sub(b"", start + file.read())


def _named(folder: Path) -> dict[str, set[str]]:
    """For each base name that the files of a folder include, theirs; for macros in its place and for .incbin
    likewise."""
    found: dict[str, set[str]] = {}
    for name, text in _texts(folder):
        for match in _INCLUDE.finditer(text):
            key = _MACRO + match[2].decode() if match[1] is None else _base(match[1])
            found.setdefault(key, set()).add(name)
        for match in _ASKED.finditer(text):
            found.setdefault(_base(match[1]), set()).add(name)
        for match in _INCBIN.finditer(text):
            found.setdefault(_BYTES + _base(match[1]), set()).add(name)
    return found


def _defined(argv: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Macros that a command defines, with their values."""
    before = ""
    for argument in argv:
        text = argument if before == "-D" else argument[2:] if argument.startswith("-D") else ""
        if text:
            name, _, value = text.partition("=")
            yield name, value
        before = argument


def _first_included(argv: Iterable[str]) -> Iterator[str]:
    before = ""
    for argument in argv:
        if before in _FORCED:
            yield posixpath.basename(argument)
        for option in _FORCED:
            if argument.startswith(option) and argument != option:
                yield posixpath.basename(argument[len(option) :])
        if argument.startswith("@"):
            yield _ANY
        before = argument


def _base(path: bytes) -> str:
    return posixpath.basename(path.decode(errors="surrogateescape"))


def _includes(graph: Dependencies, name: str) -> bool:
    """Whether a file may include another of its own base name, as glibc's sysdeps do."""
    return name in graph.includers.get(name, ()) or bool(graph.includers.get(_ANY))


def names(rule: str, unit: Unit, root: str, targets: Container[str]) -> bool:
    """Whether a make rule as `gcc -M` writes it names one of the files (relative to the root)."""
    return any(x in targets for x in listed(rule, unit, root))


def listed(rule: str, unit: Unit, root: str) -> list[str]:
    """The files of a make rule as `gcc -M` writes it, its target first; relative to the root where they are below
    it."""
    words = rule.replace("\\\n", " ").replace("\\ ", "\0").replace("\\#", "#").replace("$$", "$").split()
    return [relative(root, unit.directory, w.replace("\0", " ")) for w in words]
