"""Transitions of several patches made one. Memory is a dictionary here, as in test_transition."""

from __future__ import annotations

import pytest

from suture.error import Refused
from suture.patch.x86_64 import PAGE
from suture.process.change.joint import Joint, together
from suture.process.change.transition import Aim, Step, Transition
from tests.process.change.test_transition import Memory, function, group, record

NEAR, FAR = 0x7000_0000, 0x7F00_7000_0000
F, G = function("f", NEAR - 0x10_0000, NEAR, 0), function("g", NEAR - 0x20_0000, NEAR + 0x10_0000, 0)
H = function("h", FAR - 0x10_0000, FAR, 0)
ONE = record("one", NEAR, group("fix", NEAR + 0x1000, F))
TWO = record("two", NEAR + 0x10_0000, group("fix", NEAR + 0x10_1000, G))
THREE = record("three", FAR, group("fix", FAR + 0x1000, H))


def writes(step: Step) -> list[tuple[int, bytes]]:
    return [(step.address, step.data), *step.also]


def carried_out(memory: Memory, whole: Transition) -> list[Step]:
    """All steps, with a look after each: all functions lead to the old code, and then all to the new."""
    before = memory.targets()
    steps, seen = whole.steps(memory.read), [before]
    for step in steps:
        for address, data in writes(step):
            assert address // PAGE == (address + len(data) - 1) // PAGE
            memory.put(address, data)
        seen.append(memory.targets())
    after = seen[-1]
    assert all(state in (before, after) for state in seen) and before != after
    assert seen == sorted(seen, key=lambda state: state == after)
    return steps


def joint(memory: Memory, *aims: Aim) -> Transition:
    whole = together(7, [t for aim in aims for t in memory.plan(aim)])
    assert whole is not None
    return whole


def test_binaries_that_a_stub_reaches_change_by_one_byte_and_back() -> None:
    memory = Memory(ONE, TWO)
    steps = carried_out(memory, joint(memory, Aim(ONE, (), True), Aim(TWO, (), True)))
    assert memory.targets() == {F.old: F.new, G.old: G.new}
    assert [s.address for s in steps if s.what.startswith("switch")] == [NEAR + 0x1000]
    assert all(not s.also for s in steps)
    assert memory.read(NEAR + 0x10_1000, 1) != b"\2", "the other is marked as used"
    carried_out(memory, joint(memory, Aim(TWO, (), False), Aim(ONE, (), False)))
    assert memory.targets() == {F.old: F.old, G.old: G.old}


def test_binaries_further_apart_change_by_bytes_that_are_written_in_one_call() -> None:
    memory = Memory(THREE, ONE, TWO)
    whole = joint(memory, *(Aim(r, (), True) for r in (THREE, ONE, TWO)))
    assert isinstance(whole, Joint) and len(whole.parts) == 2
    (flip,) = [s for s in carried_out(memory, whole) if s.also]
    assert {address for address, _ in writes(flip)} == {FAR + 0x1000, NEAR + 0x1000}
    assert memory.targets() == {F.old: F.new, G.old: G.new, H.old: H.new}
    carried_out(memory, joint(memory, *(Aim(r, (), False) for r in (ONE, THREE, TWO))))
    assert memory.targets() == {F.old: F.old, G.old: G.old, H.old: H.old}


def test_what_another_patch_loses_goes_in_the_same_write() -> None:
    lost = function("lost", NEAR - 0x30_0000, NEAR + 0x20_0000, 0)
    older = record("older", NEAR + 0x20_0000, group("a", NEAR + 0x20_1000, lost))
    memory = Memory(ONE, TWO, older)
    memory.carry_out(Aim(older, (), True))
    carried_out(memory, joint(memory, Aim(ONE, (older,), True), Aim(TWO, (), True)))
    assert memory.targets() == {F.old: F.new, G.old: G.new, lost.old: lost.old}


def test_nothing_is_no_transition_and_two_of_one_function_are_refused() -> None:
    memory = Memory(ONE, TWO)
    assert together(7, []) is None
    with pytest.raises(Refused, match="pid 7: two of the patches change f"):
        joint(memory, Aim(ONE, (), True), Aim(ONE, (), True))
