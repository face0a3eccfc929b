"""Which files of the kernel's tree may include which, by the text of their `#include` lines: more than do, never fewer.

A name between quotes is the file beside the one that includes it, where there is one (gcc looks there first); else a
name may mean every file whose path ends with it. A name that a macro holds is taken from `#define NAME <file>`. Headers
that kbuild generated are part of the graph. What really includes a file, the compiler says (`-M`): it is asked of the
units that may.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from suture.command import run
from suture.compile.room import INSIDE
from suture.make_kernel.built import Compile
from suture.make_kernel.prepare import ROOT, KernelTree
from suture.source import cache

_LINE = r'^[ \t]*#[ \t]*(include(_next)?[ \t]*|define[ \t]+\w+[ \t]+)[<"][A-Za-z0-9_./+-]+\.\w+[>"]'
_NAME = re.compile(r'([<"])([A-Za-z0-9_./+-]+)[>"]')
_FORCED = frozenset({"include/linux/compiler-version.h", "include/linux/kconfig.h", "include/linux/compiler_types.h"})
"""What kbuild includes on the command line of each unit (Makefile.lib: -include)."""


class Includes:
    """`users[f]` are the files that may include `f`, all relative to the tree's root."""

    def __init__(self, users: Mapping[str, Collection[str]]) -> None:
        self.users = users

    def reach(self, paths: Iterable[str]) -> set[str]:
        """The files that may come to include one of `paths`, and those themselves."""
        todo = list(paths)
        found = set(todo)
        while todo:
            fresh = [u for u in self.users.get(todo.pop(), ()) if u not in found]
            found.update(fresh)
            todo += fresh
        return found

    def included(self, units: Iterable[str]) -> set[str]:
        """The files that some units may include, and those themselves."""
        todo = [*units, *_FORCED]
        found = set(todo)
        while todo:
            fresh = [f for f in self._includes.get(todo.pop(), ()) if f not in found]
            found.update(fresh)
            todo += fresh
        return found

    @cached_property
    def _includes(self) -> Mapping[str, Collection[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for file, users in self.users.items():
            for user in users:
                found[user].append(file)
        return found

    def units(self, paths: Iterable[str], known: Collection[str]) -> set[str]:
        """Those of the units `known` that may include one of `paths`, or are one."""
        found = self.reach(paths)
        return set(known) if found & _FORCED else found & set(known)


def read(tree: KernelTree) -> Includes:
    """The graph of a tree, read from its files once."""
    place = cache.root() / "object" / "kernel" / tree.key[:16] / "includes.json"

    def make(path: Path) -> None:
        roots = [tree.files, tree.room.layers[0] / ROOT.lstrip("/")]
        rows = [row for root in roots for row in _lines(root)]
        names = {f for root in roots for f in _files(root)}
        found = graph(rows, names)
        order = sorted(names)
        number = {n: i for i, n in enumerate(order)}
        path.write_text(json.dumps([order, {number[f]: sorted(number[u] for u in us) for f, us in found.items()}]))

    place.parent.mkdir(parents=True, exist_ok=True)
    order, users = json.loads(cache.item(place, make).read_text())
    return Includes({order[int(f)]: [order[u] for u in us] for f, us in users.items()})


def graph(rows: Iterable[tuple[str, str]], names: Collection[str]) -> dict[str, set[str]]:
    """For each file who may include it. `rows` are pairs of a file and one of its lines, `names` all files there
    are."""
    ends: dict[str, list[str]] = defaultdict(list)
    for name in names:
        ends[posixpath.basename(name)].append(name)
    found: dict[str, set[str]] = defaultdict(set)
    meant: dict[str, list[str]] = {}
    for user, line in rows:
        said = _NAME.search(line)
        if said is None:
            continue
        beside = posixpath.normpath(posixpath.join(posixpath.dirname(user), said[2]))
        if said[1] == '"' and beside in names:
            found[beside].add(user)
            continue
        wanted = posixpath.normpath(said[2])
        while wanted.startswith("../"):
            wanted = wanted[3:]
        if wanted not in meant:
            meant[wanted] = [n for n in ends[posixpath.basename(wanted)] if n == wanted or n.endswith(f"/{wanted}")]
        for name in meant[wanted]:
            found[name].add(user)
    return found


def _lines(root: Path) -> list[tuple[str, str]]:
    said = run(["grep", "--recursive", "--extended-regexp",
                "--text", "--only-matching", "--null", "--exclude-dir=Documentation",
                _LINE, "."], cwd=root, accept=frozenset({0, 1}))  # fmt: skip
    rows = [x.partition("\0") for x in said.split("\n") if "\0" in x]
    return [(name.removeprefix("./"), line) for name, _, line in rows]


def _files(root: Path) -> list[str]:
    said = run(["find", ".", "-type", "f", "-not", "-path", "./Documentation/*", "-printf", "%P\\n"], cwd=root)
    return [x for x in said.split("\n") if x]


def real(tree: KernelTree, units: Sequence[Compile]) -> dict[str, frozenset[str] | None]:
    """The files that each unit includes, by its source, as the compiler says; None where it can't, because one of them
    is only generated when the unit is compiled. Asked once for each unit.
    """
    store = cache.root() / "object" / "kernel" / tree.key[:16] / "depends"
    store.mkdir(parents=True, exist_ok=True)
    missing = [u for u in units if not (store / cache.safe(u.source)).exists()]
    if missing:
        cache.scratch(cache.root() / "run", lambda folder: _ask(tree, missing, folder, store))
    return {u.source: _depends((store / cache.safe(u.source)).read_text()) for u in units}


def _ask(tree: KernelTree, units: Sequence[Compile], folder: Path, store: Path) -> None:
    out = f"{INSIDE}/out"
    for number, unit in enumerate(units):
        (folder / f"{number}.sh").write_text(f"{unit.flags} -w -M -MF {out}/{number}.d {shlex.quote(unit.source)}\n")
    script = f"seq 0 {len(units) - 1} | xargs -P 2 -I N sh -c 'sh {out}/N.sh >/dev/null 2>&1 || rm -f {out}/N.d'\n"
    tree.room.enter(script, directory=ROOT, outputs=[(folder, out)])
    for number, unit in enumerate(units):
        made = folder / f"{number}.d"
        (store / cache.safe(unit.source)).write_text(made.read_text() if made.exists() else "")


def _depends(text: str) -> frozenset[str] | None:
    if not text:
        return None
    words = text.partition(":")[2].replace("\\\n", " ").split()
    return frozenset(posixpath.normpath(w.removeprefix(f"{ROOT}/")) for w in words)
