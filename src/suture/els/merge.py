"""Three texts become one: the fix as the difference of two, carried to a third.

Lines first; where lines are in conflict, their tokens, since a renamed variable or a reformatted call is no conflict
then. The merge itself is merge3's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import partial
from typing import Any

from merge3 import Merge3
from patiencediff import PatienceSequenceMatcher

from suture.els.token import tokens

_MOST_TOKENS = 800  # of a conflict: what is larger was written anew, and comparing takes its square
_EXACT = partial(SequenceMatcher, autojunk=False)


@dataclass(frozen=True)
class Conflict:
    """A place where both sides differ from their common text: what it was, what the old release has, what the fix
    makes."""

    base: str
    ours: str
    theirs: str


@dataclass(frozen=True)
class Merged:
    """The text, whether tokens had to be merged for a part of it, and what could not be merged; then the text is the
    old release's there."""

    text: str
    by_tokens: bool
    conflicts: tuple[Conflict, ...] = ()


def merged(base: str, ours: str, theirs: str) -> Merged:
    """The difference from `base` to `theirs` made in `ours`."""
    parts: list[str] = []
    conflicts: list[Conflict] = []
    by_tokens = False
    for group in _groups(_lines(base), _lines(ours), _lines(theirs), PatienceSequenceMatcher):
        if isinstance(group, str):
            parts.append(group)
            continue
        by_tokens = True
        if max(len(tokens(x)) for x in (group.base, group.ours, group.theirs)) > _MOST_TOKENS:
            conflicts.append(group)
            parts.append(group.ours)
            continue
        inner = list(_groups(tokens(group.base), tokens(group.ours), tokens(group.theirs), _EXACT))
        if any(isinstance(x, Conflict) for x in inner):
            conflicts.append(group)
            parts.append(group.ours)
        else:
            parts += [x for x in inner if isinstance(x, str)]
    return Merged("".join(parts), by_tokens, tuple(conflicts))


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _groups(base: Sequence[str], ours: Sequence[str], theirs: Sequence[str], matcher: Any) -> Iterator[str | Conflict]:
    for group in Merge3(base, ours, theirs, sequence_matcher=matcher).merge_groups():
        if group[0] == "conflict":
            yield Conflict(*("".join(x) for x in group[1:]))
        else:
            yield "".join(group[1])
