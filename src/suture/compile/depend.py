"""Which units a file can reach: a graph of `#include` lines by base name, to be asked before the compiler is."""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from suture.compile.record import relative
from suture.compile.unit import Unit
from suture.source import cache

_INCLUDE = re.compile(
    rb'^[ \t]*#[ \t]*(?:include_next|include|import)\b[ \t]*(?:[<"]([^>"\n]+)[>"]|([A-Za-z_]\w*)[ \t]*(?:$|\r|[(]|/[/*]))',
    re.M,
)
_DEFINE = rb'^[ \t]*#[ \t]*define[ \t]+(%b)\b(?:[ \t]+[<"]([^>"\n]+)[>"])?'
_READ = frozenset(
    {
        ".c",
        ".cc",
        ".cpp",
        ".cxx",
        ".C",
        ".h",
        ".hh",
        ".hpp",
        ".hxx",
        ".inc",
        ".inl",
        ".def",
        ".S",
        ".s",
        ".tbl",
        ".y",
        ".l",
    }
)
_ANY = "*"  # an include whose name is a macro that is not a plain file name may mean any file


class Dependencies:
    """The include graph of a tree, read once from its files and kept beside it."""

    def __init__(self, place: Path, files: Path, units: tuple[Unit, ...]) -> None:
        self.place = place
        self.files = files
        self.units = units

    @cached_property
    def includers(self) -> dict[str, list[str]]:
        """For each base name, the base names of the files that include a file so called."""

        def make(new: Path) -> None:
            new.write_text(json.dumps(self._read()))

        path = cache.item(self.place / "includes-3.json", make)
        found: dict[str, list[str]] = json.loads(path.read_text())
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
        return [
            unit
            for name in reached
            for unit in by_source.get(name, ())
            if unit.source == path or name != base or _includes(self, name)
        ]

    def _read(self) -> dict[str, list[str]]:
        found: dict[str, set[str]] = {}
        by_macro: dict[bytes, set[str]] = {}
        for name, text in self._texts():
            for match in _INCLUDE.finditer(text):
                if match[1] is None:
                    by_macro.setdefault(match[2], set()).add(name)
                else:
                    found.setdefault(_base(match[1]), set()).add(name)
        for macro, targets in self._meanings(by_macro).items():
            for target in targets:
                found.setdefault(target, set()).update(by_macro[macro])
        return {k: sorted(v) for k, v in sorted(found.items())}

    def _texts(self) -> Iterator[tuple[str, bytes]]:
        for folder, folders, names in os.walk(self.files):
            folders[:] = [x for x in folders if x not in {".pc", ".git"}]
            for name in names:
                if posixpath.splitext(name)[1] in _READ:
                    with suppress(OSError):  # a dangling link
                        yield name, Path(folder, name).read_bytes()

    def _meanings(self, macros: Iterable[bytes]) -> dict[bytes, set[str]]:
        """What each macro may stand for. One that the tree does not define names files of the system, which include none of the tree."""
        found: dict[bytes, set[str]] = {m: set() for m in macros}
        if not found:
            return found
        for macro, targets in found.items():
            option = b"-D" + macro
            if any(a.encode(errors="surrogateescape").startswith(option) for u in self.units for a in u.argv):
                targets.add(_ANY)
        pattern = re.compile(_DEFINE % b"|".join(map(re.escape, found)), re.M)
        for _, text in self._texts():
            for match in pattern.finditer(text):
                found[match[1]].add(_ANY if match[2] is None else _base(match[2]))
        return found


def _base(path: bytes) -> str:
    return posixpath.basename(path.decode(errors="surrogateescape"))


def _includes(graph: Dependencies, name: str) -> bool:
    """Whether a file may include another of its own base name, as glibc's sysdeps do."""
    return name in graph.includers.get(name, ()) or bool(graph.includers.get(_ANY))


def names(rule: str, unit: Unit, root: str, target: str) -> bool:
    """Whether a make rule as `gcc -M` writes it names the file `target` (relative to the root)."""
    words = rule.replace("\\\n", " ").replace("\\ ", "\0").split()
    return any(relative(root, unit.directory, w.replace("\0", " ")) == target for w in words)
