"""What a process is said to run, decided from facts alone."""

from __future__ import annotations

from dataclasses import replace

from suture.report.reason import Reason
from suture.report.standing import Carried, Disk, Known, Memory, Standing, judge

A = Known("a" * 16, "fix-a", ("CVE-2099-0001",))
B = Known("b" * 16, "fix-b", ("CVE-2099-0002",))
HAS_A = Carried(A.id, A.name, "applied", True)


def memory(known: list[Known], carried: list[Carried]) -> Memory:
    return judge(known, carried).memory


def test_all_known_patches_must_be_in_force() -> None:
    assert memory([A], [HAS_A]) is Memory.FIXED
    assert memory([A, B], [HAS_A]) is Memory.PARTLY
    assert memory([A, B], []) is Memory.OPEN
    assert judge([A, B], [HAS_A]).missing == (B,)


def test_a_patch_that_supersedes_another_stands_for_it() -> None:
    newer = replace(B, supersedes=(A.name,))
    assert memory([A, newer], [Carried(B.id, B.name, "applied", True)]) is Memory.FIXED
    assert memory([A, newer], [HAS_A]) is Memory.PARTLY


def test_memory_that_its_patch_file_did_not_write_counts_for_nothing() -> None:
    verdict = judge([A], [replace(HAS_A, doubt="other bytes at 0x1000")])
    assert verdict.memory is Memory.OPEN and verdict.missing == (A,)
    assert any("other bytes at 0x1000" in reason for reason in (c.text for c in verdict.causes))
    newer = replace(B, supersedes=(A.id,))
    assert memory([A, newer], [Carried(B.id, B.name, "applied", True, "it pretends")]) is Memory.OPEN


def test_a_patch_whose_file_is_not_here_is_not_proved() -> None:
    assert memory([], [HAS_A]) is Memory.CLAIMED
    assert memory([B], [HAS_A]) is Memory.CLAIMED
    assert memory([], []) is Memory.UNKNOWN


def test_half_a_patch_is_half() -> None:
    half = replace(A, left_out=("limit (l.c): its initial value changes",))
    verdict = judge([half], [HAS_A])
    assert verdict.memory is Memory.PARTLY and not verdict.missing
    assert any("leaves out limit" in reason for reason in (c.text for c in verdict.causes))
    assert memory([A], [replace(HAS_A, state="partial", is_whole=False)]) is Memory.PARTLY


def test_memory_and_disk_are_kept_apart() -> None:
    assert Standing(Memory.FIXED, Disk.OPEN).is_lost_at_next_start
    assert not Standing(Memory.FIXED, Disk.REPLACED).is_lost_at_next_start
    assert not Standing(Memory.FIXED, Disk.OPEN).is_open
    assert Standing(Memory.UNTIL_EXEC, Disk.OPEN).is_open


def test_each_patch_is_told_once_with_the_reason_that_it_has() -> None:
    def told(known: list[Known], carried: list[Carried]) -> list[Reason]:
        return [c.reason for c in judge(known, carried).causes]

    assert told([A], [HAS_A]) == [Reason.IN_FORCE]
    assert told([A], []) == [Reason.NOT_APPLIED]
    assert told([A], [replace(HAS_A, doubt="it pretends")]) == [Reason.DOUBTED]
    assert told([A], [replace(HAS_A, is_whole=False)]) == [Reason.HALF]
    assert told([A], [replace(HAS_A, is_whole=False, doubt="it pretends")]) == [Reason.DOUBTED]
    assert told([A], [replace(HAS_A, old_frames="1 thread in f")]) == [Reason.IN_FORCE, Reason.OLD_FRAMES]
    # of what no file is known for, nothing more is said than that
    assert told([B], [replace(HAS_A, doubt="it pretends")]) == [Reason.CLAIMED, Reason.NOT_APPLIED]


def test_a_patch_in_force_is_told_with_those_that_it_changed_together_with() -> None:
    """And one that changed alone without a word of others."""
    (alone,) = judge([A], [HAS_A]).causes
    assert (alone.reason, alone.text) == (Reason.IN_FORCE, "fix-a is applied")
    (joined,) = judge([A], [replace(HAS_A, companions=("fix-b", "fix-c"))]).causes
    assert joined.text == "fix-a is applied, together with fix-b, fix-c"
