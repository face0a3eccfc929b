"""Which of the files of many fixes the generators of a tree make nothing different of, asked of many files at a time.

Each answer costs a configuration and generation. What they make no different with many changed files, they are taken to
make no different with some of those. That is what an update is taken apart by, and no proof: who makes a patch asks
for exactly what goes in (`suture.compile.preparation.anew`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from suture.command import CommandFailed
from suture.compile.generate import Generated
from suture.compile.tree import Tree
from suture.error import Refused
from suture.source.fix import FilePatch, Fix
from suture.source.path_kind import PathKind

_NOTHING = Generated(Path("/nonexistent"), (), (), (), ())


class Inputs:
    """Answers like `ask` for fixes that are parts of the first one that it was asked about, with fewer questions."""

    def __init__(self, ask: Callable[[Tree, Fix], Generated | None]) -> None:
        self._ask = ask
        self._whole: list[FilePatch] = []
        self._same: set[FilePatch] = set()
        self._differs: list[frozenset[str]] = []
        self._guilty: set[str] = set()

    def exactly(self, tree: Tree, fix: Fix) -> Generated | None:
        """What the generators make of a fix, asked as it is. Raises what `ask` does."""
        self._whole = self._whole or list(fix.files)
        found = self._ask(tree, fix)
        if found is not None and not found.differs:
            self._same.update(fix.files)
        return found

    def __call__(self, tree: Tree, fix: Fix) -> Generated | None:
        """What the generators make of a fix, or nothing where they do so with what has its files among others. Raises
        what `ask` does."""
        if set(fix.files) <= set(self._whole):
            for path in dict.fromkeys(p.path for p in fix.files):
                self._look(tree, path)
        if set(fix.files) <= self._same:
            return _NOTHING
        left = {p.path for p in fix.files if p not in self._same}
        found = self.exactly(tree, fix)
        if found is None or found.differs:
            self._guilty |= left
        return found

    def _look(self, tree: Tree, path: str) -> None:
        """Find out about one file together with as many others as make nothing different either. One that does is left
        when it stands alone."""
        while not self._is_same(path):
            part = self._part(path)
            if len(part) < 2:
                return
            half = part[: len(part) // 2] if path in part[: len(part) // 2] else part[len(part) // 2 :]
            if len(half) < 2:
                return  # who asks about it will ask about it alone
            wanted = tuple(p for p in self._whole if p.path in half)
            try:
                found = self._ask(tree, Fix(f"{len(half)} files", wanted))
            except (Refused, CommandFailed):
                found = None
            if found is not None and not found.differs:
                self._same.update(wanted)
            else:
                self._differs.append(frozenset(half))

    def _is_same(self, path: str) -> bool:
        return all(p in self._same for p in self._whole if p.path == path)

    def _part(self, path: str) -> Sequence[str]:
        """The smallest known set of files that make something different and have `path` among them; build files come
        last, since they are the ones that mostly do."""
        known = [d for d in self._differs if path in d]
        within = min(known, key=len) if known else frozenset(p.path for p in self._whole)
        open_ = within - self._guilty | {path}
        files = [p for p in self._whole if p.path in open_ and not self._is_same(p.path)]
        return list(dict.fromkeys(p.path for p in sorted(files, key=lambda p: p.kind is PathKind.BUILD)))
