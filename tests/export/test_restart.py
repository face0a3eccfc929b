"""Which processes need a restart, and which do not."""

from __future__ import annotations

from suture.export.restart import batch, restarts
from suture.report.hole import HoleState
from suture.report.standing import Disk, Memory
from tests.export.conftest import (
    EVERY,
    FIXED,
    HOST,
    LOST,
    OPEN,
    RESTART,
    SSL,
    binary,
    hole,
    kernel_of,
    process,
    scan_of,
)


def test_what_is_fixed_in_memory_needs_none() -> None:
    found = restarts(scan_of(FIXED, LOST))
    assert (found.processes, found.reboot) == ((), False)


def test_a_restart_is_enough_where_the_file_is_replaced_and_else_the_package_comes_first() -> None:
    replaced, same = restarts(scan_of(RESTART, OPEN)).processes
    assert (replaced.pid, replaced.enough, replaced.packages) == (3, True, ())
    assert (same.pid, same.enough, same.packages, same.cves) == (2, False, ("libssl3",), ("CVE-2099-0001",))
    assert replaced.why[0].text.endswith("libz.so.1 is replaced")


def test_a_replaced_file_needs_one_though_no_patch_is_known() -> None:
    (row,) = restarts(scan_of(process(8, binary(SSL, "aa", Memory.UNKNOWN, Disk.DELETED)), patches=())).processes
    assert row.enough and row.cves == ()


def test_a_file_that_is_the_same_and_has_no_known_hole_needs_none() -> None:
    assert restarts(scan_of(process(8, binary(SSL, "aa", Memory.UNKNOWN, Disk.SAME)))).processes == ()


def test_the_kernel_needs_one_until_it_is_fixed_live() -> None:
    for memory, state, wanted in (
        (Memory.OPEN, HoleState.OPEN, True),
        (Memory.FIXED, HoleState.FIXED_IN_MEMORY, False),
    ):
        assert restarts(scan_of(kernel=kernel_of(memory, Disk.REPLACED, hole(1, state)))).reboot is wanted


def test_lines_for_programs_are_those_of_needrestart() -> None:
    scan = scan_of(*EVERY, kernel=kernel_of(Memory.OPEN, Disk.REPLACED, hole(7, HoleState.OPEN)))
    assert batch(restarts(scan), "6.1.180-1") == [
        "NEEDRESTART-VER: 3.6",
        f"NEEDRESTART-KCUR: {HOST.kernel.version}",
        "NEEDRESTART-KEXP: 6.1.180-1",
        "NEEDRESTART-KSTA: 3",
        "NEEDRESTART-SVC: b.service",
        "NEEDRESTART-SVC: c.service",
        "NEEDRESTART-CONT: box",
    ]
