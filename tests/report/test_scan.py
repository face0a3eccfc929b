"""A process and the kernel from the rows of a scan."""

from __future__ import annotations

from suture.report.hole import Hole, HoleState
from suture.report.process import Process
from suture.report.reason import Cause, Reason
from suture.report.row import KernelRow, Row
from suture.report.scan import ScannedBinary, ScannedKernel, by_process, scanned, scanned_kernel, state_of
from suture.report.standing import Disk, Memory, Standing

CVE = "CVE-2099-0001"
PROCESS = Process(7, 99, "server", "/usr/bin/server", "server.service", "")
CAUSE = Cause(Reason.IN_FORCE, "p is applied")
CLOSED = Hole(CVE, HoleState.FIXED_IN_MEMORY, ("id",), ("libb.so.1",))
STANDING = Standing(Memory.FIXED, Disk.REPLACED)


def row(pid: int = 7, file: str = "/usr/lib/liba.so.1", *holes: Hole) -> Row:
    return Row(pid, "server", file, "ab", 0x1000, STANDING, ("id",), holes, (CAUSE,), "package", 2)


def test_no_hole_is_no_state() -> None:
    assert state_of([]) is None
    assert state_of([CLOSED, Hole("x", HoleState.OPEN)]) is HoleState.OPEN


def test_a_process_has_all_facts_of_its_binaries_and_the_worst_state_of_its_holes() -> None:
    found = scanned(PROCESS, [row(7, "/usr/lib/liba.so.1", CLOSED), row()], ["/usr/lib/liba.so.1"])
    assert (found.pid, found.start_time, found.unit, found.command) == (7, 99, "server.service", "server")
    assert (found.state, found.holes) == (HoleState.FIXED_IN_MEMORY, (CLOSED,))
    assert found.binaries == (
        ScannedBinary(
            "/usr/lib/liba.so.1", "package", "ab", 0x1000, 2, Memory.FIXED, Disk.REPLACED, ("id",), (CLOSED,), (CAUSE,)
        ),
        ScannedBinary(
            "/usr/lib/liba.so.1", "package", "ab", 0x1000, 2, Memory.FIXED, Disk.REPLACED, ("id",), (), (CAUSE,)
        ),
    )
    assert scanned(PROCESS, [row()], []).state is None


def test_a_part_of_the_fix_in_another_loaded_file_counts_by_its_name_wherever_it_lies() -> None:
    rows = [row(7, "/usr/lib/liba.so.1", CLOSED)]
    assert scanned(PROCESS, rows, ["/opt/other/libb.so.1"]).state is HoleState.UNKNOWN
    told = [*rows, row(7, "/srv/libb.so.1", Hole(CVE, HoleState.FIXED_IN_MEMORY))]
    assert scanned(PROCESS, told, ["/srv/libb.so.1"]).state is HoleState.FIXED_IN_MEMORY


def test_the_kernel_has_all_facts_of_its_row() -> None:
    found = scanned_kernel(KernelRow("6.1.0", "6.1.1-1", "cd", STANDING, "6.1.2-1", ("id",), (CLOSED,), (CAUSE,)))
    assert found == ScannedKernel(
        "6.1.0",
        "6.1.1-1",
        "cd",
        Memory.FIXED,
        Disk.REPLACED,
        "6.1.2-1",
        HoleState.FIXED_IN_MEMORY,
        ("id",),
        (CLOSED,),
        (CAUSE,),
    )


def test_rows_of_a_process_stay_in_their_order() -> None:
    a, b, c = row(7, "a"), row(8, "b"), row(7, "c")
    assert by_process([a, b, c]) == {7: [a, c], 8: [b]}
