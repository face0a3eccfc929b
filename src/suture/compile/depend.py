"""Which units a file can reach: a graph of `#include` lines by base name, to be asked before the compiler is."""

from __future__ import annotations

import json
import os
import posixpath
import re
from functools import cached_property
from pathlib import Path

from suture.compile.record import relative
from suture.compile.unit import Unit
from suture.source import cache

_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*(?:include_next|include|import)\b[ \t]*(?:[<"]([^>"\n]+)[>"]|(\w))', re.M)
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
_ANY = "*"  # an include whose name is a macro may mean any file


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

        path = cache.item(self.place / "includes-2.json", make)
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
        for folder, folders, names in os.walk(self.files):
            folders[:] = [x for x in folders if x not in {".pc", ".git"}]
            for name in names:
                if posixpath.splitext(name)[1] in _READ:
                    try:
                        text = Path(folder, name).read_bytes()
                    except OSError:  # a dangling link
                        continue
                    for match in _INCLUDE.finditer(text):
                        target = (
                            _ANY if match[1] is None else posixpath.basename(match[1].decode(errors="surrogateescape"))
                        )
                        found.setdefault(target, set()).add(name)
        return {k: sorted(v) for k, v in sorted(found.items())}


def _includes(graph: Dependencies, name: str) -> bool:
    """Whether a file may include another of its own base name, as glibc's sysdeps do."""
    return name in graph.includers.get(name, ()) or bool(graph.includers.get(_ANY))


def names(rule: str, unit: Unit, root: str, target: str) -> bool:
    """Whether a make rule as `gcc -M` writes it names the file `target` (relative to the root)."""
    words = rule.replace("\\\n", " ").replace("\\ ", "\0").split()
    return any(relative(root, unit.directory, w.replace("\0", " ")) == target for w in words)
