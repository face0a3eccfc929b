"""What `make` and `show` print of a ledger in which something is missing that belongs to no line."""

from __future__ import annotations

from suture.cli.ledger import fix_lines
from suture.delta.ledger import Account, Fate, FileAccount, Ledger, Lines
from suture.patch.manifest import FixFact


def test_what_is_missing_beside_the_lines_is_not_counted_as_no_line() -> None:
    patched = Account(Fate.PATCHED, (), (Lines(3, 4),), ("f",))
    beside = Account(Fate.MISSING, reason="the link of lib.so was not recorded", remedy="record the whole build")
    ledger = Ledger((FileAccount("a.c", (patched, beside)),))
    for whole in (False, True):
        lines = fix_lines([FixFact("x.patch", (), "0" * 64, ledger)], "lib.so", whole)
        assert lines[0] == "fix x.patch: 2 changed lines in 1 file: 2 in this patch, and more than lines is missing"
        assert "    a.c: the link of lib.so was not recorded" in lines


def test_missing_lines_are_counted() -> None:
    missing = Account(Fate.MISSING, (), (Lines(3, 4),), reason="no unit reads it", remedy="record the whole build")
    lines = fix_lines([FixFact("x.patch", (), "0" * 64, Ledger((FileAccount("a.c", (missing,)),)))], "lib.so", False)
    assert lines[0] == "fix x.patch: 2 changed lines in 1 file: 2 missing"
    assert "    a.c (2 lines): no unit reads it" in lines


def test_a_change_without_lines_is_accounted_for() -> None:
    mode = Account(Fate.NO_CODE, reason="its mode alone changes")
    lines = fix_lines([FixFact("x.patch", (), "0" * 64, Ledger((FileAccount("a.c", (mode,)),)))], "lib.so", False)
    assert lines[0] == "fix x.patch: 0 changed lines in 1 file: 0 no code"
