"""What `suture apply` and `suture revert` print of a change."""

from __future__ import annotations

import argparse

import pytest

from suture.cli.change import names_that_fit, print_change
from suture.delta.ledger import Account, Fate, FileAccount, Ledger, Lines
from suture.error import ExitCode
from suture.host.described import spread_notes
from suture.patch.manifest import FixFact
from suture.report.change import ChangedProcess
from suture.report.document import RevertReport
from suture.report.host import Host, Kernel
from suture.report.patch import PatchState, ReportedGroup

HERE = Host("", "host", "", "x86_64", Kernel("6.1", "6.1.1-1", "6.1.1-1", ""))


def test_names_that_do_not_fit_are_counted_and_none_is_cut() -> None:
    assert names_that_fit([]) == ""
    assert names_that_fit(["f", "g"]) == "f, g"
    assert names_that_fit(["a" * 40, "b" * 40, "c"]) == f"{'a' * 40} and 2 more"
    assert names_that_fit(["a" * 400]) == "a" * 400


def report(done: tuple[ChangedProcess, ...], note: str) -> RevertReport:
    return RevertReport("", int(ExitCode.OK), HERE, "ab", done, (), (), (), (), None, (note,), (), None, None)


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
    assert note.startswith("spread.patch changes libb.so too: give the patches of both to one suture apply")
    assert not spread_notes([spread, own], ["libb.so"])
    applied = PatchState.APPLIED
    group = ReportedGroup("g", ("f",), applied, applied, 0, None)
    done = ChangedProcess(
        1, 0, "p", "", "", "", "ab", "a", applied, (group,), False, (), (), (), True, (100.0,), 1, 0, 0, 0.1, None
    )
    args = argparse.Namespace(json=False)
    assert print_change(args, report((done,), note), "nothing") == ExitCode.OK
    assert f"note: {note}\n" in capsys.readouterr().out
    print_change(args, report((), note), "nothing")
    assert "note" not in capsys.readouterr().out.replace("nothing", "")
