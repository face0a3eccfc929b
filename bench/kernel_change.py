"""The single changes of a C file between two versions: hunks that belong together, since sixteen stable releases meet
in one difference.

Two hunks belong together when they change the same function, or share a name that the change brings in or takes out.
Hunks that change one function for two reasons stay one change; two functions that are changed for one reason without a
common name become two.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from suture.source.split import joined, touched

_HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+\d+(?:,\d+)? @@.*\n", re.MULTILINE)
_WORD = re.compile(r"[A-Za-z_]\w+")


def single_changes(difference: str, old: str, new: str) -> list[str]:
    """Parts of a unified difference of one file, each with the file's head, in the file's order."""
    starts = [m.start() for m in _HUNK.finditer(difference)]
    if not starts:
        return []
    head = difference[: starts[0]]
    hunks = [difference[a:b] for a, b in zip(starts, [*starts[1:], len(difference)], strict=True)]
    before, after = set(_WORD.findall(_code(old))), set(_WORD.findall(_code(new)))
    moving = before ^ after
    functions = _functions(old.split("\n"))
    keys = [touched(h, functions) | (_changed_words(h) & moving) for h in hunks]
    groups = joined(keys, len(keys))
    return [head + "".join(hunks[n] for n in group) for group in groups]


def _code(text: str) -> str:
    """Without comments, whose words join nothing."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)


def _functions(lines: Sequence[str]) -> list[tuple[int, int]]:
    """First and last line (from 1) of each body in kernel style: its braces stand in the first column."""
    found: list[tuple[int, int]] = []
    start = None
    for number, line in enumerate(lines, 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start is not None:
            found.append((start, number))
            start = None
    return found


def _changed_words(hunk: str) -> set[str]:
    return {w for x in hunk.split("\n")[1:] if x[:1] in ("+", "-") for w in _WORD.findall(x)}
