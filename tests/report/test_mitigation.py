"""What is declared mitigated: what it closes, what it never does, and when it ends."""

from __future__ import annotations

from datetime import date

import pytest

from suture.report.hole import Hole, HoleState, HostHole
from suture.report.mitigation import DeclaredMitigation, Mitigation, declared, in_kernel, in_process, on_host
from suture.report.reason import Cause, Reason
from suture.report.scan import ScannedBinary, ScannedKernel, ScannedProcess
from suture.report.standing import Disk, Memory

CVE, OTHER = "CVE-2099-0001", "CVE-2099-0002"
LAST = date(2026, 12, 31)
DECLARED = Mitigation(CVE, "port 80 is closed", LAST)
IN_FORCE = declared([DECLARED], LAST)
ENDED = declared([DECLARED], date(2027, 1, 1))
NOT_APPLIED = Cause(Reason.NOT_APPLIED, "p is not applied")


def process(*holes: Hole) -> ScannedProcess:
    binary = ScannedBinary("/l.so", "l", "ab", 0, 1, Memory.OPEN, Disk.SAME, (), holes, (NOT_APPLIED,))
    return ScannedProcess(7, 99, "p", "/p", "", "", HoleState.OPEN, holes, (binary,))


def test_a_declaration_counts_up_to_its_last_day_and_not_after() -> None:
    assert declared([DECLARED], date(2026, 11, 30)) == IN_FORCE
    assert (DeclaredMitigation(CVE, "port 80 is closed", "2026-12-31", True),) == IN_FORCE
    assert (DeclaredMitigation(CVE, "port 80 is closed", "2026-12-31", False),) == ENDED


@pytest.mark.parametrize("state", list(HoleState), ids=str)
def test_what_is_not_closed_is_mitigated_and_what_is_fixed_stays_fixed(state: HoleState) -> None:
    found = in_process(process(Hole(CVE, state, ("id",))), IN_FORCE)
    wanted = state if state.is_closed else HoleState.MITIGATED
    assert [h.state for h in (*found.holes, *found.binaries[0].holes)] == [wanted, wanted]
    assert found.state is wanted and found.holes[0].patches == ("id",)


def test_what_runs_is_not_called_fixed_and_the_reason_and_the_day_are_told() -> None:
    binary = in_process(process(Hole(CVE, HoleState.OPEN)), IN_FORCE).binaries[0]
    assert binary.memory is Memory.OPEN
    assert binary.causes == (
        NOT_APPLIED,
        Cause(Reason.MITIGATED, "CVE-2099-0001 is declared mitigated until 2026-12-31: port 80 is closed"),
    )


def test_after_the_day_the_hole_is_open_again_and_that_is_told() -> None:
    found = in_process(process(Hole(CVE, HoleState.OPEN)), ENDED)
    assert found.state is HoleState.OPEN and found.holes[0].state is HoleState.OPEN
    (_, cause) = found.binaries[0].causes
    assert cause.reason is Reason.MITIGATION_ENDED and "until 2026-12-31, which is over" in cause.text and cause.remedy


def test_it_is_of_one_hole_alone() -> None:
    found = in_process(process(Hole(OTHER, HoleState.OPEN), Hole(CVE, HoleState.UNKNOWN)), IN_FORCE)
    assert [h.state for h in found.holes] == [HoleState.OPEN, HoleState.MITIGATED] and found.state is HoleState.OPEN
    assert in_process(process(Hole(OTHER, HoleState.OPEN)), IN_FORCE) == process(Hole(OTHER, HoleState.OPEN))


def test_a_closed_hole_needs_no_word_of_it() -> None:
    closed = process(Hole(CVE, HoleState.FIXED_IN_MEMORY))
    assert in_process(closed, IN_FORCE).binaries == in_process(closed, ENDED).binaries == closed.binaries


def test_the_kernel_too() -> None:
    kernel = ScannedKernel(
        "6", "1", "cd", Memory.OPEN, Disk.OPEN, "", HoleState.OPEN, (), (Hole(CVE, HoleState.OPEN),), ()
    )
    found = in_kernel(kernel, IN_FORCE)
    assert (found.state, found.holes[0].state) == (HoleState.MITIGATED, HoleState.MITIGATED)
    assert [c.reason for c in found.causes] == [Reason.MITIGATED]
    assert in_kernel(kernel, ()) == kernel


def test_it_covers_the_processes_of_a_host_that_could_not_be_looked_at() -> None:
    found = (HostHole(CVE, HoleState.UNKNOWN, {HoleState.FIXED_IN_MEMORY: 3}), HostHole(OTHER, HoleState.UNKNOWN, {}))
    assert [h.state for h in on_host(found, IN_FORCE)] == [HoleState.MITIGATED, HoleState.UNKNOWN]
    assert on_host(found, IN_FORCE)[0].processes == {HoleState.FIXED_IN_MEMORY: 3}
    assert on_host(found, ENDED) == found
