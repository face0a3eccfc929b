"""What differs in one file, in its smallest parts: runs of lines that stand together, with the statements and functions
that they change.

A hunk of a difference holds whatever changed within a few lines, so two commits often share one. A run is what no
unchanged line divides. Whole statements are read from the two versions of the file, not from the lines around a hunk:
the name of a function may stand six lines above its parameter that changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from suture.source.split import joined

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_WORD = re.compile(r"\w+")
_NAME = re.compile(r"[A-Za-z_]\w+")
_MACRO = re.compile(r"\s*#\s*define\s+\w+\(([^)]*)\)")
_AROUND = 3  # lines of context, as diff(1) has


@dataclass(frozen=True)
class Run:
    """Lines that go and lines that come in their place. `at` and `to` are how many lines stand before them in the older
    and in the newer file.

    `said` are the statements that they change, each line with its sign; `functions` those that have changed lines,
    heads included.
    """

    at: int
    to: int
    removed: tuple[str, ...]
    added: tuple[str, ...]
    said: str = field(default="", compare=False)
    functions: tuple[str, ...] = field(default=(), compare=False)

    @cached_property
    def words(self) -> frozenset[str]:
        """The words of the statements, without what a macro calls its arguments."""
        own = {w for line in self.said.split("\n") for m in [_MACRO.match(line[1:])] if m for w in _WORD.findall(m[1])}
        return frozenset(_WORD.findall(self.said)) - own

    @property
    def changed_words(self) -> frozenset[str]:
        """Names on the changed lines themselves."""
        return frozenset(w for x in (*self.removed, *self.added) for w in _NAME.findall(x))

    @property
    def depth(self) -> int:
        """How many more blocks are open behind it than were before."""
        before, after = ("\n".join(x) for x in (self.removed, self.added))
        return after.count("{") - after.count("}") - before.count("{") + before.count("}")

    @property
    def only_includes(self) -> bool:
        """Whether it brings `#include` lines and nothing else."""
        lines = [x for x in self.added if x.strip()]
        return not any(x.strip() for x in self.removed) and bool(lines) and all(x.startswith("#include") for x in lines)


def runs(difference: str, old: str = "", new: str = "") -> tuple[Run, ...]:
    """The runs of a unified difference of one file, in its order. `old` and `new` are the two texts, for what
    statements say.
    """
    before, after = _Text(old), _Text(new)
    found = [_told(r, before, after) for r in _bare(difference)]
    return tuple(found)


def groups(own: Sequence[Run], old: str, new: str) -> list[list[Run]]:
    """Runs that share a name which the newer file has and the older has not, or the other way round."""
    moving = set(_NAME.findall(_code(old))) ^ set(_NAME.findall(_code(new)))
    return [[own[n] for n in group] for group in joined([r.changed_words & moving for r in own], len(own))]


def whole(own: Sequence[Run]) -> dict[Run, tuple[Run, ...]]:
    """For each run of a file those of its function without which its braces do not match, itself among them."""
    found: dict[Run, tuple[Run, ...]] = {r: (r,) for r in own}
    some: list[Run] = []
    for run in own:
        if some and not set(some[0].functions) & set(run.functions):
            some = []
        if some or run.depth:
            some.append(run)
        if some and not sum(r.depth for r in some):
            found |= dict.fromkeys(some, tuple(some))
            some = []
    return found


def written(path: str, old: str, own: Sequence[Run]) -> str:
    """A unified difference of a file that makes these runs of what differs, and no others."""
    lines = old.split("\n")[:-1] if old.endswith("\n") else old.split("\n") if old else []
    head = f"--- {f'a/{path}' if lines else '/dev/null'}\n+++ b/{path}\n"
    text, shift = [head], 0
    for near in _near(sorted(own, key=lambda r: (r.at, r.to))):
        first, last = max(near[0].at - _AROUND, 0), min(near[-1].at + len(near[-1].removed) + _AROUND, len(lines))
        rows, here = [], first
        for run in near:
            rows += [f" {x}" for x in lines[here : run.at]]
            rows += [*(f"-{x}" for x in run.removed), *(f"+{x}" for x in run.added)]
            here = run.at + len(run.removed)
        rows += [f" {x}" for x in lines[here:last]]
        more = sum(len(r.added) - len(r.removed) for r in near)
        counts = last - first, last - first + more
        text.append(f"@@ -{first + bool(counts[0])},{counts[0]} +{first + shift + bool(counts[1])},{counts[1]} @@\n")
        text += [f"{x}\n" for x in rows]
        shift += more
    return "".join(text)


def _near(own: Sequence[Run]) -> Iterator[list[Run]]:
    """Runs whose lines of context meet."""
    some: list[Run] = []
    for run in own:
        if some and run.at - some[-1].at - len(some[-1].removed) > 2 * _AROUND:
            yield some
            some = []
        some.append(run)
    if some:
        yield some


def _bare(difference: str) -> Iterator[Run]:
    at = to = -1  # no hunk yet
    removed: list[str] = []
    added: list[str] = []
    for line in [*difference.split("\n"), ""]:
        if line[:1] == "-" and at >= 0:
            removed.append(line[1:])
        elif line[:1] == "+" and at >= 0:
            added.append(line[1:])
        elif line[:1] != "\\":
            if removed or added:
                yield Run(at, to, tuple(removed), tuple(added))
            hunk = _HUNK.match(line)
            if hunk is not None:  # of a side without lines the line before is named
                at, to = (int(hunk[n]) - (hunk[n + 1] != "0") for n in (1, 3))
            elif at >= 0:
                at, to = at + len(removed) + 1, to + len(added) + 1
            removed, added = [], []


def _told(run: Run, before: _Text, after: _Text) -> Run:
    sides = (before, run.at, run.removed, "-"), (after, run.to, run.added, "+")
    said = [x for text, at, lines, sign in sides for x in text.said(at, len(lines), sign)]
    functions = {n for text, at, lines, _ in sides for n in text.functions(at, len(lines))}
    return Run(run.at, run.to, run.removed, run.added, "\n".join(said), tuple(sorted(functions)))


class _Text:
    """A file's text by its statements and functions."""

    def __init__(self, text: str) -> None:
        self.lines = _code(text).split("\n")

    def said(self, at: int, count: int, sign: str) -> list[str]:
        """The statements of some lines (from 0), each line with its sign, or a space where it is none of them."""
        touched = [s for s in self._statements if s[0] < at + count and at < s[1]]
        return [f"{sign if at <= n < at + count else ' '}{self.lines[n]}" for a, b in touched for n in range(a, b)]

    def functions(self, at: int, count: int) -> set[str]:
        """Functions that have some lines, or between whose lines they would come."""
        return {n for names, first, end in self._functions if first < at + max(count, 1) and at < end for n in names}

    @cached_property
    def _statements(self) -> list[tuple[int, int]]:
        """First line and the line behind the last of each statement, declaration, item of a list, or directive."""
        found, start, depth, is_macro = [], 0, 0, False
        for number, line in enumerate(self.lines):
            bare = line.strip()
            if bare.startswith("#") and not is_macro:
                found += [(start, number)] if start < number else []
                start, depth, is_macro = number, 0, True
            depth = max(depth + line.count("(") - line.count(")"), 0)
            ends = not bare.endswith("\\") if is_macro else bare.endswith((";", "{", "}", ":")) or not bare
            if ends or (not is_macro and bare.endswith(",") and not depth):
                found.append((start, number + 1))
                start, depth, is_macro = number + 1, 0, False
        return found

    @cached_property
    def _functions(self) -> list[tuple[tuple[str, ...], int, int]]:
        """Name (with those of attributes), first line of the head and the line behind the last of each function in
        kernel style.
        """
        found: list[tuple[tuple[str, ...], int, int]] = []
        head, start = 0, None
        for number, line in enumerate(self.lines):
            if line.startswith("{") and start is None:
                start = number
            elif line.startswith("}"):
                found += [(_called(" ".join(self.lines[head:start])), head, number + 1)] if start is not None else []
                start, head = None, number + 1
            elif start is None and (not line.strip() or line.startswith("#") or line.rstrip().endswith(";")):
                head = number + 1
        return found


def _called(head: str) -> tuple[str, ...]:
    """Names before a parenthesis that lies in no other."""
    found, depth = [], 0
    for part in re.finditer(r"(\w*)\s*(\()|\)", head):
        if part[2] and not depth and part[1]:
            found.append(part[1])
        depth += 1 if part[2] else -1
    return tuple(found)


def _code(text: str) -> str:
    """Without comments, whose words join nothing; line by line as it was."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: " " + "\n" * m[0].count("\n"), text, flags=re.DOTALL)
