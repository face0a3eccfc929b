"""What `suture apply` prints of a process."""

from __future__ import annotations

import argparse

import pytest

from suture.cli.apply import names_that_fit, report
from suture.cli.ledger import spread_notes
from suture.delta.ledger import Account, Fate, FileAccount, Ledger, Lines
from suture.error import ExitCode
from suture.patch.manifest import FixFact
from suture.process.change.apply import GroupResult, Result
from suture.process.memory.placed import State


def test_names_that_do_not_fit_are_counted_and_none_is_cut() -> None:
    assert names_that_fit([]) == ""
    assert names_that_fit(["f", "g"]) == "f, g"
    assert names_that_fit(["a" * 40, "b" * 40, "c"]) == f"{'a' * 40} and 2 more"
    assert names_that_fit(["a" * 400]) == "a" * 400


def test_a_fix_that_changes_other_binaries_is_named_where_a_part_of_it_was_applied(
    capsys: pytest.CaptureFixture[str],
) -> None:
    accounts = (
        Account(Fate.PATCHED, functions=("f",)),
        Account(Fate.ELSEWHERE, (), (Lines(1, 2),), others=("libb.so",)),
    )
    spread, own = (
        FixFact(name, (), "00", Ledger((FileAccount("x.c", rows),)))
        for name, rows in (("spread.patch", accounts), ("own.patch", accounts[:1]))
    )
    (note,) = spread_notes([spread, own])
    assert note.startswith("spread.patch changes libb.so too: apply that patch as well")
    group = GroupResult("g", State.APPLIED, ("f",))
    done = Result(1, "ab", "a", State.APPLIED, (group,), (), True, (100.0,), 1, 0, 0, 0.1)
    args = argparse.Namespace(json=False)
    assert report(args, [done], "nothing", notes=[note]) == ExitCode.OK
    assert f"note: {note}\n" in capsys.readouterr().out
    report(args, [], "nothing", notes=[note])
    assert "note" not in capsys.readouterr().out
