"""The ledger of a fix: what became of each line that it changes. User space and the kernel keep the same one.

A fix is complete only when nothing of it is missing, and only then does its patch close a CVE. Standard library only,
since it is part of the manifest, which root reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Fate(Enum):
    """What became of changed lines."""

    PATCHED = "patched"  # what they change is in this patch
    SAME = "same"  # every unit that reads the file was compiled before and after, and these lines make no difference
    NO_CODE = "no code"  # documents, tests, changelogs: no unit reads the file
    ELSEWHERE = "elsewhere"  # they change code of other binaries, and none of this one
    MISSING = "missing"  # they may change this binary's code, and that is not in the patch


class Lines(NamedTuple):
    """A range of lines of one file, counted from 1, both ends included."""

    first: int
    last: int


@dataclass(frozen=True)
class Account:
    """What became of some changed lines of one file: `removed` of the file before the fix, `added` of the file with it.

    `functions` of a PATCHED account are the replaced or new functions that carry the change, as the manifest calls
    them; of a MISSING one those that the lines belong to and that are refused, where that is known. `units` is the
    number of units that read the file and were compiled before and after. `others` are other binaries whose code the
    lines change too (all that they change, when ELSEWHERE). `reason` and `remedy` tell why lines are MISSING; of
    another fate the reason may tell more, and there is no remedy.
    """

    fate: Fate
    removed: tuple[Lines, ...] = ()
    added: tuple[Lines, ...] = ()
    functions: tuple[str, ...] = ()
    units: int = 0
    others: tuple[str, ...] = ()
    reason: str = ""
    remedy: str = ""

    @property
    def lines(self) -> int:
        """How many changed lines these are."""
        return sum(r.last - r.first + 1 for r in (*self.removed, *self.added))


@dataclass(frozen=True)
class FileAccount:
    """All changed lines of one file. A change without lines (a mode, an empty file) is an account without ranges."""

    path: str
    accounts: tuple[Account, ...]


@dataclass(frozen=True)
class Ledger:
    """Every file that a fix changes. An empty one accounts for nothing, so it is not complete."""

    files: tuple[FileAccount, ...] = ()

    @property
    def accounts(self) -> tuple[Account, ...]:
        return tuple(a for f in self.files for a in f.accounts)

    @property
    def is_complete(self) -> bool:
        """Whether all that the fix changes in this binary is in the patch."""
        return bool(self.files) and all(f.accounts for f in self.files) and not self.missing

    @property
    def missing(self) -> tuple[Account, ...]:
        return tuple(a for a in self.accounts if a.fate is Fate.MISSING)

    @property
    def others(self) -> tuple[str, ...]:
        """Other binaries that the fix changes: their own patches are needed as well."""
        return tuple(sorted({o for a in self.accounts for o in a.others}))

    def lines(self, fate: Fate) -> int:
        """How many changed lines had this fate."""
        return sum(a.lines for a in self.accounts if a.fate is fate)


def ranges(numbers: Iterable[int]) -> tuple[Lines, ...]:
    """Line numbers as the fewest ranges, in order."""
    found: list[Lines] = []
    for n in sorted(set(numbers)):
        if found and found[-1].last == n - 1:
            found[-1] = Lines(found[-1].first, n)
        else:
            found.append(Lines(n, n))
    return tuple(found)
