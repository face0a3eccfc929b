"""A fix: unified diffs, file by file, and what kind of file each one changes.

Parsing follows the grammar of unified diffs (POSIX diff -u, patch(1)): hunks are read by their line counts, so nothing
inside a hunk is mistaken for a file header.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from suture.error import Refused
from suture.source.subject import Named, subject

_EMPTIED = re.compile(r"^@@ -\S+ \+0,0 @@")  # as `diff -N` writes a file that is gone
_HUNK = re.compile(r"^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_LINK = re.compile(r"\b120000$")  # the mode of a symbolic link (git-fast-import(1))
_NO_FILE = "/dev/null"
_BINARY = re.compile(r"Binary files (.+) and (.+) differ$")  # diff(1), git-diff(1)
_ONLY_IN = re.compile(r"Only in (\S+): (\S+)$")
_EXTENDED = re.compile(
    r"(old mode|new mode|deleted file mode|new file mode|copy from|copy to|rename from|rename to|similarity index|"
    r"dissimilarity index|index)(.*)"
)
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}
# as diff -u writes a time (ISO 8601 or ctime(3)), and as others do behind a name
_STAMP = re.compile(
    r"\s+(?:\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d\S*(?:\s.*)?|\d{4}-\d\d-\d\d|"
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? .*\d{4}.*|\((?:revision \d+|working copy|nonexistent)\))$"
)


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
        ".txt",
        ".xml",
        ".xsl",
        ".sql",
        ".yml",
        ".yaml",
    },
    PathKind.BUILD: {".mk", ".am", ".ac", ".m4", ".cmake", ".info", ".conf", ".map", ".ver", ".sh", ".build"},
    PathKind.IGNORED: {
        ".md",
        ".rst",
        ".pod",
        ".1",
        ".3",
        ".5",
        ".7",
        ".8",
        ".html",
        ".sgml",
        ".po",
    }
    | {
        ".texi",
        ".svg",
        ".png",
        ".out",
        ".expected",
        ".pem",
        ".rng",
        ".xsd",
        ".result",
        ".err",
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
    {"doc", "docs", "Documentation", "man", "manual", "test", "tests", "testsuite", "demos", "examples", "fuzz", "po"}
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
    "MAINTAINERS",
    "THANKS",
    "TODO*",
    "BUGS",
    "AUTHORS*",
)
_IGNORED_NAMES_MORE = (
    "*/tst-*",
    "tst-*",
    "*/bug-*",
    "bug-*",
    "*/test-*",
    "*/sql/*.sql",
    ".*.yml",
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
    for diff in _diffs(_lines(text), prose, name):
        path, body = _path(diff.old, diff.new, exists), "".join(diff.hunks)
        source = _path(diff.old, _NO_FILE, exists) if diff.moves else ""
        for one in (path, source):
            if one.startswith("/") or ".." in one.split("/"):
                raise Refused(f"{name}: names a file outside the source: {one}", "check where the patch comes from")
        creates = diff.creates or diff.old == _NO_FILE or body.startswith("@@ -0,0")
        deletes = diff.deletes or diff.new == _NO_FILE or bool(_EMPTIED.match(body))
        header = f"--- {_NO_FILE if creates else 'a/' + path}\n+++ {_NO_FILE if deletes else 'b/' + path}\n"
        files.append(FilePatch(path, header + body, creates, deletes, source, diff.is_binary, diff.is_link))
    if not files:
        raise Refused(f"{name}: holds no unified diff", "give a patch made by `diff -u` or `git diff`")
    said = subject(name, prose)
    return Fix(name, tuple(files), said.cves, named=said.named)


def read(path: Path, exists: Callable[[str], bool] | None = None) -> Fix:
    """A fix from a file, byte for byte: no line end is translated. Raises OSError, and what `parse` does."""
    return parse(path.read_bytes().decode(errors="surrogateescape"), path.name, exists)


def _lines(text: str) -> list[str]:
    """Lines with their ends. Only a newline ends a line; str.splitlines would also split at form feeds."""
    return [line + "\n" for line in text.removesuffix("\n").split("\n")] if text else []


@dataclass
class _Diff:
    """One file's diff: its names as they stand there, its hunks, and what git's extended header says (git-diff(1))."""

    old: str
    new: str
    hunks: list[str] = field(default_factory=list)
    creates: bool = False
    deletes: bool = False
    moves: bool = False
    is_binary: bool = False
    is_link: bool = False
    counts: bool = False

    def is_of(self, old: str, new: str) -> bool:
        """Whether `---` and `+++` lines with these names belong to this header."""
        return (old, new) != (_NO_FILE, _NO_FILE) and old in (self.old, _NO_FILE) and new in (self.new, _NO_FILE)


def _diffs(lines: list[str], prose: list[str], name: str) -> Iterator[_Diff]:
    """Each file's diff; what lies between goes to `prose`."""
    at, git = 0, None
    while at < len(lines):
        line = lines[at]
        if line.startswith("diff --git "):
            if git is not None and git.counts:
                yield git
            git, at = _git_header(lines, at)
        elif line.startswith("GIT binary patch"):
            if git is None:
                raise Refused(f"{name}: line {at + 1}: a binary change of no file", "leave it out of the patch")
            git.is_binary, at = True, _binary_end(lines, at + 1)
            yield git
            git = None
        elif words := _BINARY.match(line.rstrip("\r\n")):
            found = git or _Diff(*_two_names(f"{words[1]} and {words[2]}", " and "))
            found.is_binary, git, at = True, None, at + 1
            yield found
        elif only := _ONLY_IN.match(line.rstrip("\r\n")):
            raise Refused(
                f"{name}: line {at + 1}: {only[1]}/{only[2]} is in one of the folders only, and the patch does not "
                "have it",
                "make the patch with `diff -ruN` or `git diff`, or remove the line if the file does not matter",
            )
        elif line.startswith("--- ") and at + 1 < len(lines) and lines[at + 1].startswith("+++ "):
            if at + 2 >= len(lines) or not _HUNK.match(lines[at + 2]):
                raise Refused(
                    f"{name}: line {at + 3}: no hunk follows the names of a file",
                    "the patch is truncated or altered (a diff of a merge is none): fetch it again",
                )
            old, new = _named(line), _named(lines[at + 1])
            if git is not None and not git.is_of(old, new):
                yield from [git] if git.counts else []
                git = None
            found = git or _Diff("", "")
            found.old, found.new = old, new
            at, stripped = at + 2, line.endswith("\r\n")
            start = at
            while at < len(lines) and (hunk := _HUNK.match(lines[at])):
                at = _hunk_end(lines, at + 1, int(hunk[1] or 1), int(hunk[2] or 1), name)
            found.hunks = [
                x.removesuffix("\r\n") + "\n" if x.endswith("\r\n") and stripped else x for x in lines[start:at]
            ]
            yield found
            git = None
        elif _HUNK.match(line):
            raise Refused(
                f"{name}: line {at + 1}: the hunk belongs to no file",
                "the patch is truncated or altered: fetch it again",
            )
        else:
            prose.append(line)
            at += 1
    if git is not None and git.counts:
        yield git


def _git_header(lines: list[str], at: int) -> tuple[_Diff, int]:
    """A `diff --git` line with the extended header lines after it; they alone tell of moves, modes and empty files."""
    found = _Diff(*_two_names(lines[at].rstrip("\r\n").removeprefix("diff --git "), " "))
    at += 1
    while at < len(lines) and (row := _EXTENDED.match(lines[at])):
        word, value = row[1], _unquoted(row[2].strip())
        if word in ("rename from", "copy from"):
            found.old, found.moves = f"a/{value}", True
        elif word in ("rename to", "copy to"):
            found.new = f"b/{value}"
        found.is_link |= _LINK.search(row[2]) is not None
        found.creates |= word == "new file mode"
        found.deletes |= word == "deleted file mode"
        found.counts |= word not in ("index", "similarity index", "dissimilarity index")
        at += 1
    return found, at


def _two_names(text: str, between: str) -> tuple[str, str]:
    """The old and the new name of a line that has both, which may be quoted and may hold what stands between them.

    The names of a file that is not moved are the same behind their first folder; else the first place that leaves two
    names is taken.
    """
    places = [m.start() for m in re.finditer(re.escape(between), text)]
    pairs = [(_unquoted(text[:n]), _unquoted(text[n + len(between) :])) for n in places]
    whole = [p for p, n in zip(pairs, places, strict=True) if not text.startswith('"') or text[n - 1] == '"']
    for same in (
        lambda a, b: a == b or a.partition("/")[2] == b.partition("/")[2] != "",
        lambda a, b: _NO_FILE in (a, b),
    ):
        if found := next((p for p in whole if same(*p)), None):
            return found
    return next(iter(whole), (text, text))


def _binary_end(lines: list[str], at: int) -> int:
    """Index after the data of a binary patch: lines up to the next diff."""
    while at < len(lines) and not lines[at].startswith(("diff --git ", "--- ", "From ", "Index: ")):
        at += 1
    return at


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
    """The file name of a `---` or `+++` line, without its time stamp.

    A tab ends a name. Without one, patch(1) and git take what looks like a time away from the end; names may hold
    spaces.
    """
    rest = line[4:].rstrip("\r\n")
    if rest.startswith('"'):
        return _unquoted(rest[: rest.rfind('"') + 1])
    name = rest.split("\t")[0].strip()
    return _STAMP.sub("", name).rstrip() or name


def _unquoted(name: str) -> str:
    """A name as git quotes it, in C's way (git-config(1), core.quotePath); bytes are escaped as os.fsdecode does."""
    if len(name) < 2 or name[0] != '"' or name[-1] != '"':
        return name
    raw = name[1:-1].encode(errors="surrogateescape")
    plain = re.sub(rb"\\([0-7]{1,3}|.)", lambda m: _ESCAPES.get(m[1]) or _octal(m[1]), raw)
    return plain.decode(errors="surrogateescape")


def _octal(text: bytes) -> bytes:
    return bytes([int(text, 8) & 0xFF]) if text.isdigit() else text


def _path(old: str, new: str, exists: Callable[[str], bool] | None) -> str:
    """The path in the source: one leading component stripped (p1), or none (p0) if that is what exists."""
    name = old if new == _NO_FILE else new
    stripped = name.partition("/")[2]
    if exists and name not in ("", stripped) and exists(name) and not exists(stripped):
        return name
    return stripped or name
