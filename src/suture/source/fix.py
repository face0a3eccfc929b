"""A fix: unified diffs, file by file, and what kind of file each one changes.

Parsing follows the grammar of unified diffs (POSIX diff -u, patch(1)): hunks are read by their line counts, so nothing
inside a hunk is mistaken for a file header.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from suture.error import Refused

_CVE = re.compile(r"CVE-\d{4}-\d{4,}")
_EMPTIED = re.compile(r"^@@ -\S+ \+0,0 @@")  # as `diff -N` writes a file that is gone
_HUNK = re.compile(r"^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")


class PathKind(Enum):
    """What a changed file is to a live patch."""

    SOURCE = "C or C++ source"
    HEADER = "header"
    ASSEMBLY = "assembly"
    GENERATED = "input of a generator"
    BUILD = "build file"
    IGNORED = "documentation or test"
    OTHER = "file of an unknown kind"


CODE = frozenset({PathKind.SOURCE, PathKind.HEADER})
"""Kinds that can become a live patch."""

_SUFFIXES = {
    PathKind.SOURCE: {".c", ".cc", ".cpp", ".cxx", ".C"},
    PathKind.HEADER: {".h", ".hh", ".hpp", ".hxx", ".def", ".inc", ".inl", ".tbl"},
    PathKind.ASSEMBLY: {".S", ".s", ".sx", ".asm"},
    PathKind.GENERATED: {
        ".y",
        ".l",
        ".pl",
        ".in",
        ".awk",
        ".tmpl",
        ".num",
        ".sym",
        ".list",
        ".x",
        ".gperf",
        ".dat",
        ".py",
    },
    PathKind.BUILD: {".mk", ".am", ".ac", ".m4", ".cmake", ".info", ".conf", ".map", ".ver", ".sh", ".build"},
    PathKind.IGNORED: {
        ".md",
        ".txt",
        ".rst",
        ".pod",
        ".1",
        ".3",
        ".5",
        ".7",
        ".8",
        ".html",
        ".xml",
        ".xsl",
        ".sgml",
        ".po",
    }
    | {
        ".texi",
        ".svg",
        ".png",
        ".out",
        ".expected",
        ".sql",
        ".pem",
        ".rng",
        ".xsd",
        ".result",
        ".err",
        ".yml",
        ".yaml",
    },
}
_BUILD_NAMES = (
    "Makefile*",
    "makefile*",
    "GNUmakefile*",
    "configure*",
    "CMakeLists.txt",
    "Configure",
    "meson.build",
    "*.gypi",
)
_BUILD_NAMES_MORE = (
    "build.info",
    "Makeconfig",
    "Makerules",
    "Rules",
    "Versions",
    "VERSION.dat",
    "config.h.in",
    "meson*",
)
_IGNORED_FOLDERS = frozenset(
    {"doc", "docs", "man", "manual", "test", "tests", "testsuite", "demos", "examples", "fuzz", "po"}
)
_IGNORED_NAMES = (
    "ChangeLog*",
    "CHANGES*",
    "NEWS*",
    "README*",
    "AUTHORS",
    "LICENSE*",
    "COPYING*",
    "INSTALL*",
    "HISTORY",
)
_IGNORED_NAMES_MORE = (
    "*/tst-*",
    "tst-*",
    "*/bug-*",
    "bug-*",
    "*/test-*",
    "result/*",
    ".git*",
    "*/.git*",
    "runtest.c",
    "testapi.c",
)


def classify(path: str) -> PathKind:
    """The kind of a path that is relative to the source's root."""
    pure = PurePosixPath(path)
    if pure.parts[0] == "debian":
        return (
            PathKind.IGNORED
            if pure.name in {"changelog", "NEWS"} or pure.parts[1:2] == ("patches",)
            else PathKind.BUILD
        )
    if _IGNORED_FOLDERS & set(pure.parts[:-1]) or any(fnmatch(path, x) for x in _IGNORED_NAMES_MORE):
        return PathKind.IGNORED
    if any(fnmatch(pure.name, x) for x in (*_BUILD_NAMES, *_BUILD_NAMES_MORE)):
        return PathKind.BUILD
    if any(fnmatch(pure.name, x) for x in _IGNORED_NAMES):
        return PathKind.IGNORED
    for kind, suffixes in _SUFFIXES.items():
        if pure.suffix in suffixes:
            return kind
    return PathKind.OTHER


@dataclass(frozen=True)
class FilePatch:
    """The change of one file: `text` is a unified diff with `a/PATH` and `b/PATH` as its names (strip 1)."""

    path: str
    text: str
    creates: bool = False
    deletes: bool = False

    @property
    def kind(self) -> PathKind:
        """What the file is to a live patch."""
        return classify(self.path)


@dataclass(frozen=True)
class Fix:
    """A named fix: the changes of its files in order, and the CVEs that it says it closes."""

    name: str
    files: tuple[FilePatch, ...]
    cves: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Hash of all changes, in hex."""
        return hashlib.sha256("".join(f.text for f in self.files).encode(errors="surrogateescape")).hexdigest()

    def only(self, patterns: Iterable[str]) -> Fix:
        """The part that changes files which match: a path, a folder, or a shell pattern. Raises `Refused` if none does."""
        wanted = tuple(patterns)
        kept = tuple(f for f in self.files if any(_matches(f.path, w) for w in wanted))
        if not kept:
            raise Refused(
                f"{self.name}: changes nothing under {', '.join(wanted)}", "give paths as `suture show` lists them"
            )
        return replace(self, files=kept)


def _matches(path: str, pattern: str) -> bool:
    return path == pattern or path.startswith(pattern.rstrip("/") + "/") or fnmatch(path, pattern)


def parse(text: str, name: str, exists: Callable[[str], bool] | None = None) -> Fix:
    """A fix from the text of a patch. `exists` tells whether the source has a path; it decides between p1 and p0.

    Raises `Refused` for a text without any unified diff, for binary diffs, and for names that leave the tree.
    """
    files: list[FilePatch] = []
    prose: list[str] = [name]
    for old, new, hunks in _diffs(_lines(text), prose, name):
        path, body = _path(old, new, exists), "".join(hunks)
        if path.startswith("/") or ".." in path.split("/"):
            raise Refused(f"{name}: names a file outside the source: {path}", "check where the patch comes from")
        creates, deletes = (
            old == "/dev/null" or body.startswith("@@ -0,0"),
            new == "/dev/null" or bool(_EMPTIED.match(body)),
        )
        header = f"--- {'/dev/null' if creates else 'a/' + path}\n+++ {'/dev/null' if deletes else 'b/' + path}\n"
        files.append(FilePatch(path, header + body, creates, deletes))
    if not files:
        raise Refused(f"{name}: holds no unified diff", "give a patch made by `diff -u` or `git diff`")
    return Fix(name, tuple(files), tuple(sorted(set(_CVE.findall("".join(prose))))))


def read(path: Path, exists: Callable[[str], bool] | None = None) -> Fix:
    """A fix from a file, byte for byte: no line end is translated. Raises OSError, and what `parse` does."""
    return parse(path.read_bytes().decode(errors="surrogateescape"), path.name, exists)


def _lines(text: str) -> list[str]:
    """Lines with their ends. Only a newline ends a line; str.splitlines would also split at form feeds."""
    return [line + "\n" for line in text.removesuffix("\n").split("\n")] if text else []


def _diffs(lines: list[str], prose: list[str], name: str) -> Iterator[tuple[str, str, list[str]]]:
    """(old name, new name, hunk lines) of each file; what lies between goes to `prose`."""
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith(("GIT binary patch", "Binary files ")):
            raise Refused(f"{name}: changes a binary file", "leave that file out of the patch")
        if (
            line.startswith("--- ")
            and at + 2 < len(lines)
            and lines[at + 1].startswith("+++ ")
            and _HUNK.match(lines[at + 2])
        ):
            old, new = _named(line), _named(lines[at + 1])
            at += 2
            start = at
            while at < len(lines) and (found := _HUNK.match(lines[at])):
                at = _hunk_end(lines, at + 1, int(found[1] or 1), int(found[2] or 1), name)
            yield old, new, lines[start:at]
        else:
            prose.append(line)
            at += 1


def _hunk_end(lines: list[str], at: int, old: int, new: int, name: str) -> int:
    """Index after a hunk that has so many old and new lines to come."""
    while old > 0 or new > 0 or (at < len(lines) and lines[at].startswith("\\")):
        sign = lines[at][:1] if at < len(lines) else ""
        if sign not in {" ", "+", "-", "\\", "\n", "\t"} or not sign:
            raise Refused(
                f"{name}: line {at + 1}: the hunk ends too early", "the patch is truncated or altered: fetch it again"
            )
        old -= sign in {" ", "-", "\n", "\t"}
        new -= sign in {" ", "+", "\n", "\t"}
        at += 1
    return at


def _named(line: str) -> str:
    """The file name of a `---` or `+++` line, without its time stamp."""
    return line[4:].rstrip("\n").split("\t")[0].strip()


def _path(old: str, new: str, exists: Callable[[str], bool] | None) -> str:
    """The path in the source: one leading component stripped (p1), or none (p0) if that is what exists."""
    name = old if new == "/dev/null" else new
    stripped = name.partition("/")[2]
    if exists and name not in ("", stripped) and exists(name) and not exists(stripped):
        return name
    return stripped or name
