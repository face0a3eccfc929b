"""Where the lines that fixes change stand: removed lines in the tree before the fixes, added ones in the tree with all
of them.

A hunk may apply some lines away from where it says, and one fix may move or change lines of another. So the hunks are
applied here as patch(1) does, to numbers; where the outcome is not what the tree with the fixes has, the numbers are
the patch's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from suture.source.fix import FilePatch, Fix

_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")

Reader = Callable[[str], bytes | None]
"""What a tree has under a path; None for no file."""


@dataclass(frozen=True)
class ChangedLines:
    """Texts by line number. `exact`: the numbers are those of the files, so that debug information can be asked."""

    removed: Mapping[int, str]
    added: Mapping[int, str]
    exact: bool


@dataclass
class _Line:
    text: str
    before: int  # its number before all fixes, 0 for an added line
    owner: int  # the fix that added it


@dataclass
class _Lines:
    removed: dict[int, str] = field(default_factory=dict)
    added: dict[int, str] = field(default_factory=dict)


def changed_lines(fixes: Sequence[Fix], before: Reader, after: Reader) -> dict[tuple[int, str], ChangedLines]:
    """The lines of each fix (by its place among `fixes`) in each file."""
    parts: dict[str, list[tuple[int, FilePatch]]] = {}
    for number, fix in enumerate(fixes):
        for part in fix.files:
            parts.setdefault(part.path, []).append((number, part))
    found: dict[tuple[int, str], ChangedLines] = {}
    for path, rows in parts.items():
        placed = _placed(rows, _split(before(path)), _split(after(path)))
        for number, _ in rows:
            if placed is not None:
                own = placed.get(number, _Lines())
                found[number, path] = ChangedLines(own.removed, own.added, True)
            else:
                found[number, path] = _as_written([p for n, p in rows if n == number])
    return found


def _split(data: bytes | None) -> list[str]:
    text = (data or b"").decode(errors="surrogateescape")
    return text.removesuffix("\n").split("\n") if text else []


def _placed(rows: Sequence[tuple[int, FilePatch]], before: list[str], after: list[str]) -> dict[int, _Lines] | None:
    """By fix, with numbers of the files; None where these hunks do not lead from one to the other."""
    lines = [_Line(text, n, -1) for n, text in enumerate(before, 1)]
    found: dict[int, _Lines] = {}
    for number, part in rows:
        shift = floor = 0
        for start, hunk in _hunks(part):
            old = [text for sign, text in hunk if sign != "+"]
            at = _nearest(lines, old, start + shift, floor)
            if at is None:
                return None
            shift = at - start
            made: list[_Line] = []
            for sign, text in hunk:
                if sign == "+":
                    made.append(_Line(text, 0, number))
                    continue
                line = lines[at]
                at += 1
                if sign == " ":
                    made.append(line)
                elif line.before:
                    found.setdefault(number, _Lines()).removed[line.before] = line.text
            lines[at - len(old) : at] = made
            shift += len(made) - len(old)
            floor = at + len(made) - len(old)
    if [x.text for x in lines] != after:
        return None
    for n, line in enumerate(lines, 1):
        if line.owner >= 0:
            found.setdefault(line.owner, _Lines()).added[n] = line.text
    return found


def _nearest(lines: Sequence[_Line], block: Sequence[str], at: int, floor: int) -> int | None:
    """The place nearest to `at`, not before `floor`, where the lines are those of `block`."""
    last = len(lines) - len(block)
    at = min(max(at, floor), max(last, floor))
    for offset in range(max(at - floor, last - at) + 1):
        for place in (at + offset, at - offset):
            if floor <= place <= last and all(lines[place + n].text == text for n, text in enumerate(block)):
                return place
    return None


def _hunks(part: FilePatch) -> list[tuple[int, list[tuple[str, str]]]]:
    """(index of the first old line, (sign, text) of each line) of each hunk."""
    found: list[tuple[int, list[tuple[str, str]]]] = []
    for line in part.text.removesuffix("\n").split("\n")[2:]:
        head = _HUNK.match(line)
        if head:
            found.append((int(head[1]) - (int(head[2] or 1) > 0), []))
        elif not line.startswith("\\") and found:
            sign = line[:1] if line[:1] in "+-" and line else " "
            found[-1][1].append((sign, line[1:] if line[:1] in ("+", "-", " ") else line))
    return found


def _as_written(parts: Sequence[FilePatch]) -> ChangedLines:
    """The numbers that the patch itself gives."""
    found = _Lines()
    for part in parts:
        for line_numbers, hunk in zip(_numbers(part), _hunks(part), strict=True):
            old, new = line_numbers
            for sign, text in hunk[1]:
                if sign == "-":
                    found.removed[old] = text
                elif sign == "+":
                    found.added[new] = text
                old += sign != "+"
                new += sign != "-"
    return ChangedLines(found.removed, found.added, False)


def _numbers(part: FilePatch) -> list[tuple[int, int]]:
    """The first line of each hunk before and after."""
    found, drift = [], 0
    for start, hunk in _hunks(part):
        found.append((start + 1, start + 1 + drift))
        drift += sum((s == "+") - (s == "-") for s, _ in hunk)
    return found
