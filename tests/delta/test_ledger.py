"""The ledger: complete only when it accounts for every file and nothing is missing."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from suture.delta.ledger import Account, Fate, FileAccount, Ledger, Lines, ranges

MISSING = Account(Fate.MISSING, (Lines(2, 4),), (Lines(7, 7),), others=("libz.so",), reason="x", remedy="y")
SAME = Account(Fate.SAME, (), (Lines(1, 3),), units=2, others=("liba.so", "libz.so"))


def test_a_ledger_is_complete_when_it_has_files_and_none_of_their_lines_is_missing() -> None:
    assert not Ledger().is_complete and not Ledger((FileAccount("a.c", ()),)).is_complete
    assert Ledger((FileAccount("a.c", (SAME,)), FileAccount("README", (Account(Fate.NO_CODE),)))).is_complete
    assert not Ledger((FileAccount("a.c", (SAME, MISSING)),)).is_complete


def test_lines_are_counted_by_fate_and_other_binaries_are_named_once() -> None:
    ledger = Ledger((FileAccount("a.c", (SAME, MISSING)),))
    assert (ledger.lines(Fate.MISSING), ledger.lines(Fate.SAME), ledger.lines(Fate.PATCHED)) == (4, 3, 0)
    assert ledger.missing == (MISSING,) and ledger.others == ("liba.so", "libz.so")


@given(st.lists(st.integers(1, 60)))
def test_ranges_hold_the_numbers_and_no_others_and_do_not_touch(numbers: list[int]) -> None:
    found = ranges(numbers)
    assert [n for r in found for n in range(r.first, r.last + 1)] == sorted(set(numbers))
    assert all(a.last + 1 < b.first for a, b in pairwise(found))
