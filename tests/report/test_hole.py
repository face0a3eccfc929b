"""Holes: in a binary, in a process, on a host."""

from __future__ import annotations

from dataclasses import replace

import pytest

from suture.report.hole import Hole, HoleState, holes, in_process, merged, on_host, shown, until_exec, worst
from suture.report.standing import Carried, Disk, Known, Standing, judge

A = Known("a" * 16, "fix-a", ("CVE-2099-0001",), closes=(("CVE-2099-0001", ()),))
B = Known("b" * 16, "fix-b", ("CVE-2099-0002",), closes=(("CVE-2099-0002", ("libother.so.1",)),))
HAS_A = Carried(A.id, A.name, "applied", True)


def states(known: list[Known], carried: list[Carried], disk: Disk = Disk.UNREAD) -> dict[str, HoleState]:
    verdict = judge(known, carried)
    return {h.cve: h.state for h in holes(verdict, Standing(verdict.memory, disk), known)}


def test_a_hole_is_closed_by_its_own_patch_whatever_else_is_open() -> None:
    assert states([A, B], [HAS_A]) == {A.cves[0]: HoleState.FIXED_IN_MEMORY, B.cves[0]: HoleState.OPEN}


@pytest.mark.parametrize(
    ("disk", "closed", "left"),
    [
        (Disk.OPEN, HoleState.LOST_AT_NEXT_START, HoleState.OPEN),
        (Disk.SAME, HoleState.LOST_AT_NEXT_START, HoleState.OPEN),
        (Disk.REPLACED, HoleState.FIXED_IN_MEMORY, HoleState.FIXED_ON_DISK),
        (Disk.PATCHED_AT_BOOT, HoleState.FIXED_IN_MEMORY, HoleState.OPEN),
        (Disk.DELETED, HoleState.FIXED_IN_MEMORY, HoleState.OPEN),
        (Disk.UNREAD, HoleState.FIXED_IN_MEMORY, HoleState.OPEN),
    ],
)
def test_the_file_on_disk_tells_what_a_restart_does(disk: Disk, closed: HoleState, left: HoleState) -> None:
    assert states([A], [HAS_A], disk) == {A.cves[0]: closed}
    assert states([A], [], disk) == {A.cves[0]: left}


@pytest.mark.parametrize(
    "carried",
    [
        replace(HAS_A, doubt="other bytes at 0x1000"),
        replace(HAS_A, is_whole=False, state="partial"),
        replace(HAS_A, old_frames="1 thread still in old code of f"),
    ],
)
def test_what_is_not_wholly_in_force_leaves_the_hole_open(carried: Carried) -> None:
    assert states([A], [carried]) == {A.cves[0]: HoleState.OPEN}


def test_a_cve_that_the_patch_names_and_does_not_close_is_open() -> None:
    assert states([replace(A, closes=())], [HAS_A]) == {A.cves[0]: HoleState.OPEN}


def test_what_a_patch_says_of_itself_is_not_known() -> None:
    assert states([], [replace(HAS_A, cves=("CVE-2099-0009",))]) == {"CVE-2099-0009": HoleState.UNKNOWN}


def test_a_patch_that_supersedes_another_closes_its_holes() -> None:
    newer = Known("c" * 16, "fix-c", (), supersedes=(A.id,))
    assert states([A, newer], [Carried(newer.id, newer.name, "applied", True)]) == {
        A.cves[0]: HoleState.FIXED_IN_MEMORY
    }


def test_the_worst_state_of_several_counts() -> None:
    assert worst([HoleState.FIXED_IN_MEMORY, HoleState.OPEN]) is HoleState.OPEN
    assert worst([HoleState.FIXED_IN_MEMORY, HoleState.LOST_AT_NEXT_START]) is HoleState.LOST_AT_NEXT_START
    assert worst([]) is HoleState.UNKNOWN
    (found,) = merged([Hole("c", HoleState.FIXED_IN_MEMORY, ("a",)), Hole("c", HoleState.UNKNOWN, ("b", "a"))])
    assert found == Hole("c", HoleState.UNKNOWN, ("a", "b"))


def test_a_hole_with_a_part_in_another_binary_of_the_process_is_not_closed_by_one() -> None:
    mine = Hole("c", HoleState.FIXED_IN_MEMORY, ("a",), ("libother.so.1",))
    rows = [("libmine.so.1", [mine])]
    assert [h.state for h in in_process(rows, ["libmine.so.1"])] == [HoleState.FIXED_IN_MEMORY]
    assert [h.state for h in in_process(rows, ["libmine.so.1", "libother.so.1"])] == [HoleState.UNKNOWN]
    for other in (HoleState.OPEN, HoleState.FIXED_IN_MEMORY):
        both = [*rows, ("libother.so.1", [Hole("c", other, ("b",), ("libmine.so.1",))])]
        assert [h.state for h in in_process(both, ["libmine.so.1", "libother.so.1"])] == [other]


def test_a_process_that_executes_itself_anew_does_not_stay_closed() -> None:
    found = until_exec([Hole("c", HoleState.LOST_AT_NEXT_START), Hole("d", HoleState.UNKNOWN)])
    assert [h.state for h in found] == [HoleState.OPEN, HoleState.UNKNOWN]


def test_a_host_has_the_worst_state_of_its_processes_and_how_often_which() -> None:
    closed, left = Hole("c", HoleState.FIXED_IN_MEMORY), Hole("c", HoleState.OPEN)
    (found,) = on_host([[closed], [left], [closed]])
    assert found.state is HoleState.OPEN
    assert found.processes == {HoleState.FIXED_IN_MEMORY: 2, HoleState.OPEN: 1}
    assert on_host([[closed]])[0].state is HoleState.FIXED_IN_MEMORY
    assert on_host([[closed]], unread=1)[0].state is HoleState.UNKNOWN
    assert on_host([[left]], unread=1)[0].state is HoleState.OPEN


def test_a_table_shows_what_is_left_and_when_nothing_is_what_was_closed() -> None:
    closed, left = Hole("c", HoleState.FIXED_IN_MEMORY), Hole("d", HoleState.OPEN)
    assert shown([closed, left]) == ("d",)
    assert shown([closed]) == ("c",)
