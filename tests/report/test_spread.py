"""A fix in two binaries that one process has loaded is in force when both have their part, and not before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from suture.report.hole import Hole, HoleState
from suture.report.reason import Reason
from suture.report.row import Row
from suture.report.spread import Part, judged_together
from suture.report.standing import Disk, Memory, Standing

CVE = "CVE-2099-0001"
LIBRARY, PROGRAM, THIRD = "/usr/lib/liba.so.1.2", "/usr/bin/server", "/usr/lib/libc.so.6"
PARTS = {
    "in-library": [Part("d1", "a.patch", ("server",), (CVE,))],
    "in-program": [Part("d1", "a.patch", ("liba.so.1",), (CVE,))],
    "other-fix": [Part("d2", "b.patch", (), ("CVE-2099-0002",))],
}


def row(file: str, *patches: str, pid: int = 7, memory: Memory = Memory.FIXED, cve: str = CVE) -> Row:
    state = HoleState.FIXED_IN_MEMORY if memory is Memory.FIXED else HoleState.OPEN
    standing = Standing(memory, Disk.REPLACED)
    return Row(pid, "server", file, "ab", 0x1000, standing, patches, (Hole(cve, state),), ())


def judged(rows: Sequence[Row], loaded: Mapping[int, Sequence[str]] | None = None) -> list[Memory]:
    return [r.standing.memory for r in judged_together(rows, PARTS, loaded or {7: [LIBRARY, PROGRAM, THIRD]})]


def test_one_part_alone_is_half_a_fix_and_the_hole_is_open() -> None:
    alone = row(LIBRARY, "in-library")
    (told,) = judged_together([alone], PARTS, {7: [LIBRARY, PROGRAM]})
    assert told.standing == Standing(Memory.PARTLY, Disk.REPLACED)
    assert [h.state for h in told.holes] == [HoleState.FIXED_ON_DISK]
    (cause,) = told.causes
    assert cause.reason is Reason.OTHER_PART
    assert "a.patch changes server too" in cause.text and "for server" in cause.remedy


def test_both_parts_are_the_fix() -> None:
    both = [row(LIBRARY, "in-library"), row(PROGRAM, "in-program")]
    assert judged_together(both, PARTS, {7: [LIBRARY, PROGRAM]}) == both


def test_another_fix_of_the_same_hole_will_do() -> None:
    assert judged([row(LIBRARY, "in-library"), row(PROGRAM, "made-anew")]) == [Memory.FIXED, Memory.FIXED]


def test_a_binary_that_is_not_loaded_is_not_needed() -> None:
    assert judged([row(LIBRARY, "in-library")], {7: [LIBRARY, THIRD]}) == [Memory.FIXED]
    assert judged([row(LIBRARY, "in-library")], {8: [PROGRAM]}) == [Memory.FIXED]


@pytest.mark.parametrize(
    "other",
    [
        row(PROGRAM, "other-fix", cve="CVE-2099-0002"),
        row(PROGRAM, memory=Memory.UNKNOWN),
        row(PROGRAM, "in-program", memory=Memory.OPEN),
        row(PROGRAM, "in-program", pid=8),
    ],
    ids=("another fix", "no patch", "not in force", "another process"),
)
def test_only_its_own_part_in_force_in_the_same_process_counts(other: Row) -> None:
    assert judged([row(LIBRARY, "in-library"), other])[0] is Memory.PARTLY


def test_every_copy_of_the_other_binary_must_have_it() -> None:
    rows = [row(PROGRAM, "in-program"), row(LIBRARY, "in-library"), row(f"/opt{LIBRARY} (deleted)", memory=Memory.OPEN)]
    assert judged(rows)[0] is Memory.PARTLY


def test_what_is_open_stays_as_it_is() -> None:
    opened = row(LIBRARY, memory=Memory.OPEN)
    assert judged_together([opened], PARTS, {7: [PROGRAM]}) == [opened]
