"""A difference between two versions taken apart into single changes: hunks that belong together, over all files.

Two hunks belong together when they change the same function, or share a name that the difference brings in or takes
out. A function that is changed for two reasons stays one change. Files that are no code of any kind (documents, tests)
are one change of their own, since they concern no binary.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, replace

from suture.source.fix import FilePatch, Fix
from suture.source.path_kind import CODE, PathKind

_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+\d+(?:,\d+)? @@.*\n", re.MULTILINE)
_NEW = re.compile(r"^@@ -\S+ \+\d+(?:,(\d+))? @@")
_WORD = re.compile(r"[A-Za-z_]\w{2,}")
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_MOST_SHARED = 40  # hunks that one name may join: more than that have it by a rename or a reformatting


@dataclass(frozen=True)
class _Piece:
    """One hunk, or a whole file that has no separable hunks. `keys` are what joins it with others."""

    file: FilePatch
    hunk: str
    keys: frozenset[str]


def is_code(file: FilePatch) -> bool:
    """Whether a file of a package goes into a binary, as its path tells."""
    return file.kind in CODE or file.kind is PathKind.ASSEMBLY or file.kind is PathKind.GENERATED


def single_changes(
    whole: Fix,
    read_old: Callable[[str], str | None],
    read_new: Callable[[str], str | None],
    counts: Callable[[FilePatch], bool] = is_code,
) -> tuple[Fix, ...]:
    """The single changes of a fix, in the order of its files; each is a fix of its own that names no CVE.

    `read_old` and `read_new` give the text of a file before and after, None where it is not there; `counts` tells which
    files are code.
    """
    code = [f for f in whole.files if counts(f)]
    others = tuple(f for f in whole.files if f not in code)
    moving = _moving((read_old(f.path) or "", read_new(f.path) or "") for f in code)
    pieces = [p for f in code for p in _pieces(f, read_old(f.path) or "", moving)]
    found = [_fix(whole, [pieces[n] for n in group]) for group in joined([p.keys for p in pieces], _MOST_SHARED)]
    if others:
        found.append(
            replace(whole, name=f"{whole.name}: documents, tests and build files", files=others, cves=(), named=())
        )
    return tuple(found)


def as_one(changes: Sequence[Fix], name: str) -> Fix:
    """Some of a difference's single changes as one fix of a name, which names no CVE."""
    files: dict[str, list[FilePatch]] = {}
    for part in (f for c in changes for f in c.files):
        files.setdefault(part.path, []).append(part)
    return replace(changes[0], name=name, files=tuple(_merged(parts) for parts in files.values()), cves=(), named=())


def _merged(parts: Sequence[FilePatch]) -> FilePatch:
    """The parts of one file's change, their hunks in the order of the file."""
    hunks = sorted((h for p in parts for h in _hunks(_body(p.text))), key=_first_line)
    return replace(parts[0], text=_head(parts[0].text) + "".join(hunks))


def placed(changes: Sequence[Fix]) -> tuple[Fix, ...]:
    """Some of a difference's single changes, to be applied one after another: their hunks begin where those before them
    have moved their lines to, so that none is looked for elsewhere."""
    moved: dict[str, list[tuple[int, int]]] = {}
    return tuple(
        replace(c, files=tuple(replace(p, text=_placed(p.text, moved.setdefault(p.path, []))) for p in c.files))
        for c in changes
    )


def _placed(text: str, moved: list[tuple[int, int]]) -> str:
    before = list(moved)

    def head(found: re.Match[str]) -> str:
        start, old = int(found[1]), int(found[2] or 1)
        new = _NEW.match(found[0])
        count = int(new[1] or 1) if new else 1
        moved.append((start, count - old))
        shift = sum(by for at, by in before if at < start)
        own = sum(by for at, by in moved[len(before) : -1] if at < start)
        section = found[0].split("@@", 2)[2]
        return f"@@ -{start + shift},{old} +{start + shift + own},{count} @@{section}"

    return _HUNK.sub(head, text)


def _fix(whole: Fix, pieces: Sequence[_Piece]) -> Fix:
    """A fix of some pieces, called after its first file and the place in it."""
    files: dict[str, FilePatch] = {}
    for piece in pieces:
        known = files.get(piece.file.path)
        before = known.text if known else _head(piece.file.text)
        files[piece.file.path] = replace(known or piece.file, text=before + piece.hunk)
    first = pieces[0]
    line = _HUNK.match(first.hunk)
    more = f" and {len(files) - 1} more files" if len(files) > 2 else f" and {list(files)[1]}" if len(files) > 1 else ""
    place = f"{first.file.path}{f':{line[1]}' if line else ''}{more}"
    return replace(whole, name=f"{whole.name}: {place}", files=tuple(files.values()), cves=(), named=())


def _body(text: str) -> str:
    found = _HUNK.search(text)
    return text[found.start() :] if found else ""


def _head(text: str) -> str:
    """What stands before the first hunk."""
    return text[: len(text) - len(_body(text))]


def _hunks(body: str) -> list[str]:
    starts = [m.start() for m in _HUNK.finditer(body)]
    return [body[a:b] for a, b in zip(starts, [*starts[1:], len(body)], strict=True)] if starts else []


def _first_line(hunk: str) -> int:
    """Where a hunk begins in the older file; 0 for what is no hunk, and for a new file's."""
    found = _HUNK.match(hunk)
    return int(found[1]) if found else 0


def _pieces(file: FilePatch, old: str, moving: frozenset[str]) -> Iterator[_Piece]:
    """A file's hunks; a file that comes, goes or moves is one piece."""
    body = _body(file.text)
    hunks = _hunks(body)
    if not hunks or file.creates or file.deletes or file.source:
        yield _Piece(file, body, frozenset({f"file {file.path}"}) | (_changed_words(body) & moving))
        return
    functions = _functions(old.split("\n"))
    for hunk in hunks:
        own = {f"{file.path} {x}" for x in touched(hunk, functions)}
        yield _Piece(file, hunk, frozenset(own) | (_changed_words(hunk) & moving))


def _moving(texts: Iterable[tuple[str, str]]) -> frozenset[str]:
    """Names that the code before has and that after has not, or the other way round; comments left aside."""
    before: set[str] = set()
    after: set[str] = set()
    for old, new in texts:
        before |= set(_WORD.findall(_COMMENT.sub(" ", old)))
        after |= set(_WORD.findall(_COMMENT.sub(" ", new)))
    return frozenset(before ^ after)


def _functions(lines: Sequence[str]) -> list[tuple[int, int]]:
    """First and last line (from 1) of each block whose closing brace stands in the first column, its head included: a
    body of a function or of a type, whether its opening brace stands alone or at the end of the head."""
    found: list[tuple[int, int]] = []
    head = start = None
    for number, line in enumerate(lines, 1):
        if start is None:
            if line.startswith("{") or (
                line.rstrip().endswith("{") and line[:1].strip() and not line.startswith(("#", "/"))
            ):
                start = head or number
            elif line[:1].strip() and not line.startswith(("#", "/", "*", "}")):
                head = number if head is None else head
            elif not line.strip() or line.rstrip().endswith(";"):
                head = None
        if start is not None and line.startswith("}"):
            found.append((start, number))
            head = start = None
    return found


def touched(hunk: str, functions: Sequence[tuple[int, int]]) -> set[str]:
    """Functions in which lines of the hunk are added or removed."""
    head, *lines = hunk.split("\n")
    match = _HUNK.match(head + "\n")
    number = int(match[1]) if match else 0
    found = set()
    for line in lines:
        if line[:1] in "+-" and line:
            found |= {f"{a}-{b}" for a, b in functions if a <= number <= b}
        if line[:1] in " -":
            number += 1
    return found


def _changed_words(hunk: str) -> frozenset[str]:
    return frozenset(w for x in hunk.split("\n") if x[:1] in ("+", "-") for w in _WORD.findall(x))


def joined(keys: Sequence[Set[str]], most: int) -> list[list[int]]:
    """Numbers of the sets that share a key, directly or by way of others, in order; a key that more than `most` share
    joins none."""
    holders: dict[str, list[int]] = {}
    for number, own in enumerate(keys):
        for key in own:
            holders.setdefault(key, []).append(number)
    parent = list(range(len(keys)))

    def top(n: int) -> int:
        while parent[n] != n:
            parent[n] = parent[parent[n]]
            n = parent[n]
        return n

    for rows in holders.values():
        if len(rows) <= most:
            for n in rows[1:]:
                a, b = top(rows[0]), top(n)
                parent[max(a, b)] = min(a, b)
    groups: dict[int, list[int]] = {}
    for n in range(len(keys)):
        groups.setdefault(top(n), []).append(n)
    return [groups[n] for n in sorted(groups)]
