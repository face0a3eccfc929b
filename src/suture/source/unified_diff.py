"""Unified diffs by the file: their names, their hunks, and what git says beside them.

The grammar is that of unified diffs (POSIX diff -u, patch(1)): hunks are read by their line counts, so nothing inside
a hunk is mistaken for a file header.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from suture.error import Refused

_HUNK = re.compile(r"^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_LINK = re.compile(r"\b120000$")  # the mode of a symbolic link (git-fast-import(1))
NO_FILE = "/dev/null"
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


def lines_of(text: str) -> list[str]:
    """Lines with their ends. Only a newline ends a line; str.splitlines would also split at form feeds."""
    return [line + "\n" for line in text.removesuffix("\n").split("\n")] if text else []


@dataclass
class FileDiff:
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
        return (old, new) != (NO_FILE, NO_FILE) and old in (self.old, NO_FILE) and new in (self.new, NO_FILE)


def file_diffs(lines: list[str], prose: list[str], name: str) -> Iterator[FileDiff]:
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
            found = git or FileDiff(*_two_names(f"{words[1]} and {words[2]}", " and "))
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
            found = git or FileDiff("", "")
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


def _git_header(lines: list[str], at: int) -> tuple[FileDiff, int]:
    """A `diff --git` line with the extended header lines after it; they alone tell of moves, modes and empty files."""
    found = FileDiff(*_two_names(lines[at].rstrip("\r\n").removeprefix("diff --git "), " "))
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
        lambda a, b: NO_FILE in (a, b),
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
