"""Fixes of a newer source package carried to an older one, patch by patch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath

from suture.command import run
from suture.els.backport import Backport, CarriedFile, FileChange, Knows, Old, backport
from suture.els.by_hand import by_hand
from suture.els.need import Need
from suture.els.token import names
from suture.source import quilt
from suture.source.archive import SourceVersion
from suture.source.quilt import Series

_WORDS = [
    "grep",
    "--recursive",
    "--word-regexp",
    "--fixed-strings",
    "--binary-files=without-match",
    "--exclude-dir=.pc",
    "--exclude-dir=debian",
]
_ANY = frozenset({0, 1, 2})  # found, not found, some file could not be read (grep(1))


class Carrier:
    """Carries fixes of one source package to another. Each stands on those before it: what they changed is the older
    release's text from then on."""

    def __init__(self, old: SourceVersion, newer: SourceVersion) -> None:
        self.newer = Series.of(newer)
        self._tree = old.tree
        self._texts: dict[str, str | None] = {}
        self._tree_knows = _knowing(old.tree)
        self._old = Old(self.read, self._named, self._knows)
        self._newer_tree = newer.tree

    def carry(self, need: Need, keep: Callable[[Backport], bool] = lambda found: True) -> Backport:
        """A fix in the older release. What it changes counts for those after it only if it is whole, and `keep` says
        so."""
        before, result = dict(self._texts), Backport((), (), ())
        for fix in need.patches:
            paths = dict.fromkeys(f.path for f in fix.files)
            changes = [FileChange(p, self.newer.before(fix.name, p), self.newer.after(fix.name, p)) for p in paths]
            one = backport(changes, self._old, partial(self._newer_has, changes=changes))
            self._texts |= {c.path: c.after for c in one.carried}
            result = _joined(result, one)
        if not result.is_whole or not keep(result):
            self._texts = before
        return result

    def take(self, need: Need, text: str) -> Backport:
        """A person's patch in the place of what `carry` would make of a fix. Raises `Refused`."""
        found = by_hand(text, f"{need.name}.patch", self.read)
        self._texts |= {c.path: c.after for c in found.carried}
        return found

    def start_at(self, texts: dict[str, str | None]) -> None:
        """Texts of the older release that are others than in its unpacked tree; None for a file that is not there."""
        self._texts = dict(texts)

    def read(self, path: str) -> str | None:
        """The text of a file of the older release as it is now; None for no file."""
        return self._texts[path] if path in self._texts else quilt.read(self._tree / path)

    def _knows(self, words: frozenset[str]) -> frozenset[str]:
        """Which words stand in the older release's tree, or in what fixes before have brought."""
        known = self._tree_knows(words)
        brought = {w for text in self._texts.values() for w in names(text or "")} if known != words else set()
        return known | (words & brought)

    def _newer_has(self, words: frozenset[str], changes: Sequence[FileChange]) -> frozenset[str]:
        """Which words stand in the newer release before a fix: in files that it does not change, or in what those that
        it does change held."""
        own = {str(self._newer_tree / c.path) for c in changes}
        before = {w for c in changes for w in names(c.before or "")}
        found = set(words & before)
        for word in words - found:
            listed = run([*_WORDS, "--files-with-matches", f"--regexp={word}", str(self._newer_tree)], accept=_ANY)
            found |= {word} if set(listed.splitlines()) - own else set()
        return frozenset(found)

    def _named(self, path: str) -> list[str]:
        places = (p.relative_to(self._tree) for p in self._tree.rglob(PurePosixPath(path).name))
        return sorted(str(p) for p in places if p.parts[0] not in (".pc", "debian"))


def _joined(first: Backport, then: Backport) -> Backport:
    """Two patches of one fix: a file that both change is before as the first found it."""
    files: dict[str, CarriedFile] = {c.path: c for c in first.carried}
    for one in then.carried:
        files[one.path] = replace(one, before=files[one.path].before) if one.path in files else one
    left_out = tuple(dict.fromkeys([*first.left_out, *then.left_out]))
    return Backport(tuple(files.values()), left_out, (*first.findings, *then.findings))


def _knowing(tree: Path) -> Knows:
    """Which of some words stand as whole words in the code of a tree; what was asked once is kept."""
    known: dict[str, bool] = {}

    def knows(words: frozenset[str]) -> frozenset[str]:
        new = sorted(w for w in words if w not in known)
        if new:
            options = ["--no-filename", "--only-matching", "--file=-"]
            text = run([*_WORDS, *options, str(tree)], stdin="\n".join(new).encode(), accept=_ANY)
            there = set(text.split("\n"))
            known.update({w: w in there for w in new})
        return frozenset(w for w in words if known[w])

    return knows
