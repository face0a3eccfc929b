"""One binary of a process in words."""

from __future__ import annotations

from dataclasses import replace

from suture.report.hole import Hole, HoleState
from suture.report.reason import Cause, Reason
from suture.report.row import KernelRow, Row
from suture.report.standing import Disk, Memory, Standing

CAUSES = (Cause(Reason.IN_FORCE, "a is applied"), Cause(Reason.NOT_APPLIED, "b is not applied"))
HOLES = (Hole("CVE-2099-0001", HoleState.FIXED_IN_MEMORY), Hole("CVE-2099-0002", HoleState.OPEN))
STANDING = Standing(Memory.PARTLY, Disk.SAME)
ROW = Row(7, "server", "/usr/lib/liba.so", "ab", 0x7F00_0000_1000, STANDING, ("id",), HOLES, CAUSES)


def test_the_reasons_are_told_one_behind_the_other() -> None:
    assert ROW.why == "a is applied; b is not applied"
    assert ROW.cves == ("CVE-2099-0002",)


def test_of_several_copies_it_is_told_which_one_is_meant() -> None:
    assert replace(ROW, copies=2).why == "the copy at 0x7f0000001000 of 2: a is applied; b is not applied"
    assert replace(ROW, copies=1).why == ROW.why


def test_the_kernel_tells_the_same() -> None:
    row = KernelRow("6.1.0-40-amd64", "6.1.153-1", "cd", STANDING, "", (), HOLES, CAUSES)
    assert (row.why, row.cves) == (ROW.why, ROW.cves)
