"""A fix: a named set of changes, file by file, with the CVEs that it is for."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

from suture.error import Refused
from suture.source.path_kind import PathKind, classify
from suture.source.subject import Named, subject
from suture.source.unified_diff import NO_FILE, file_diffs, lines_of

_EMPTIED = re.compile(r"^@@ -\S+ \+0,0 @@")  # as `diff -N` writes a file that is gone


@dataclass(frozen=True)
class FilePatch:
    """The change of one file: `text` is a unified diff with `a/PATH` and `b/PATH` as its names (strip 1).

    It has no hunk where only a mode, a name or an empty file changes, and for a binary file. `source` is the path that
    a file is moved or copied from. The text of a symbolic link (`is_link`) is where it leads to.
    """

    path: str
    text: str
    creates: bool = False
    deletes: bool = False
    source: str = ""
    is_binary: bool = False
    is_link: bool = False

    @property
    def kind(self) -> PathKind:
        """What the file is to a live patch."""
        return classify(self.path)

    @property
    def changes(self) -> bool:
        """Whether more than a mode changes."""
        return self.creates or self.deletes or self.is_binary or bool(self.source) or self.has_hunks

    @property
    def has_hunks(self) -> bool:
        return "\n@@ -" in self.text


@dataclass(frozen=True)
class Fix:
    """A named fix: the changes of its files in order, the CVEs that it is for, those that it only names, and what
    `only` has left out of it."""

    name: str
    files: tuple[FilePatch, ...]
    cves: tuple[str, ...] = ()
    left_out: tuple[FilePatch, ...] = ()
    named: tuple[Named, ...] = ()

    @property
    def text(self) -> str:
        """All changes as one unified diff."""
        return "".join(f.text for f in self.files)

    @property
    def sha256(self) -> str:
        """Hash of all changes, in hex."""
        return hashlib.sha256(self.text.encode(errors="surrogateescape")).hexdigest()

    def only(self, patterns: Iterable[str]) -> Fix:
        """The part that changes files which match: a path, a folder, or a shell pattern. Raises `Refused` if none
        does."""
        wanted = tuple(patterns)
        kept = tuple(f for f in self.files if any(_matches(f.path, w) for w in wanted))
        if not kept:
            raise Refused(
                f"{self.name}: changes nothing under {', '.join(wanted)}", "give paths as `suture show` lists them"
            )
        return replace(self, files=kept, left_out=(*self.left_out, *(f for f in self.files if f not in kept)))


def _matches(path: str, pattern: str) -> bool:
    return path == pattern or path.startswith(pattern.rstrip("/") + "/") or fnmatch(path, pattern)


def parse(text: str, name: str, exists: Callable[[str], bool] | None = None) -> Fix:
    """A fix from the text of a patch. `exists` tells whether the source has a path; it decides between p1 and p0.

    Raises `Refused` for a text without any diff, for hunks that belong to no file, and for names that leave the tree.
    """
    files: list[FilePatch] = []
    prose: list[str] = []
    for diff in file_diffs(lines_of(text), prose, name):
        path, body = _path(diff.old, diff.new, exists), "".join(diff.hunks)
        source = _path(diff.old, NO_FILE, exists) if diff.moves else ""
        for one in (path, source):
            if one.startswith("/") or ".." in one.split("/"):
                raise Refused(f"{name}: names a file outside the source: {one}", "check where the patch comes from")
        creates = diff.creates or diff.old == NO_FILE or body.startswith("@@ -0,0")
        deletes = diff.deletes or diff.new == NO_FILE or bool(_EMPTIED.match(body))
        header = f"--- {NO_FILE if creates else 'a/' + path}\n+++ {NO_FILE if deletes else 'b/' + path}\n"
        files.append(FilePatch(path, header + body, creates, deletes, source, diff.is_binary, diff.is_link))
    if not files:
        raise Refused(f"{name}: holds no unified diff", "give a patch made by `diff -u` or `git diff`")
    said = subject(name, prose)
    return Fix(name, tuple(files), said.cves, named=said.named)


def read(path: Path, exists: Callable[[str], bool] | None = None) -> Fix:
    """A fix from a file, byte for byte: no line end is translated. Raises OSError, and what `parse` does."""
    return parse(path.read_bytes().decode(errors="surrogateescape"), path.name, exists)


def _path(old: str, new: str, exists: Callable[[str], bool] | None) -> str:
    """The path in the source: one leading component stripped (p1), or none (p0) if that is what exists."""
    name = old if new == NO_FILE else new
    stripped = name.partition("/")[2]
    if exists and name not in ("", stripped) and exists(name) and not exists(stripped):
        return name
    return stripped or name
