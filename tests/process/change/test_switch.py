"""What is decided in a stop and said after it. Carrying transitions out is tested on processes
(tests/process/test_*.py)."""

from __future__ import annotations

import ctypes
import os
import threading
from array import array
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from suture.number import Address
from suture.process import x86_64
from suture.process.change.switch import _by_owner, _changed, _Doubts, _Work, describe
from suture.process.change.transition import Transition
from suture.process.memory.maps import Maps
from suture.process.stack.frame import RA, RSP, FrameRow, NoFrame, Rule
from suture.process.stack.stack import ELSEWHERE, NO_THREAD, Forbidden, Hit, Range, Snapshot, Stacks
from suture.process.stop.catch import Exit

TRACEE: Any = SimpleNamespace(pid=4_190_000)
OLD = Range(0x1000, 0x1100, 0, "f")


def work(expected: bytes = b"", present: bytes = b"", at: tuple[int, ...] = (), transitions: int = 0) -> _Work:
    nothing = [Transition((), Address(0), True, (), ())] * transitions
    return _Work(nothing, [], Forbidden([]), expected, array("Q", at), bytearray(present))


def test_hits_are_sorted_by_the_transition_whose_range_it_is() -> None:
    first, second = Hit(7, 0, 0x1000, OLD), Hit(8, 0, 0x2000, Range(0x2000, 0x2001, 2, "g"))
    assert _by_owner(work(transitions=3), [second, first]) == [[first], [], [second]]


def test_code_that_has_changed_is_named_by_its_first_address() -> None:
    at = (0x1000, 4, 0x2000, 4)
    for present, address in (
        (b"abcdefgX", 0x2003),
        (b"abcdXfgX", 0x2000),
        (b"abcXXXXX", 0x1003),
        (b"Xbcdefgh", 0x1000),
    ):
        error = _changed(TRACEE, work(b"abcdefgh", present, at), 8)
        assert f"pid 4190000: the code at {address:#x} changed meanwhile" in error.what
        assert error.remedy
    # all read is as it was, but not all could be read
    assert "0x2001 changed" in _changed(TRACEE, work(b"abcdefgh", b"abcdefgh", at), 5).what
    assert "its code changed" in _changed(TRACEE, work(b"abcdefgh", b"abcdefgh", at), 8).what


MAPS = Maps(
    b"5000-6000 rw-p 00000000 00:00 0 \n6000-7000 rw-p 00000000 00:00 0 [heap]\n"
    b"7000-8000 rw-p 00000000 fd:00 9 /usr/bin/x\n"
)


def said(*hits: Hit) -> str:
    return describe(TRACEE, hits, MAPS)


def test_who_is_in_the_way_is_said_in_words() -> None:
    gone = 4_190_001
    g = Range(0x2000, 0x2001, 0, "g")
    assert said(Hit(gone, 0, 0x1000, OLD)) == f"thread {gone} is in f"
    assert said(Hit(gone, 0, 0x1000, OLD), Hit(gone, 0x5000, 0x1001, OLD)) == f"thread {gone} is in f"
    assert said(Hit(gone, 0, 0, OLD), Hit(NO_THREAD, 0, 0, g)) == (
        f"thread {gone} is in f, a suspended stack (coroutine) is in g"
    )
    left = "leads into f (a suspended stack, or what is left of one)"
    assert said(Hit(ELSEWHERE, 0x5008, 0, OLD)) == f"the word at 0x5008 {left}"
    assert said(Hit(ELSEWHERE, 0x6008, 0, OLD)) == f"the word at 0x6008 ([heap]) {left}"
    assert said(Hit(ELSEWHERE, 0x7008, 0, OLD)) == f"the word at 0x7008 (/usr/bin/x) {left}"
    assert said(Hit(ELSEWHERE, 0x9008, 0, OLD)) == f"the word at 0x9008 {left}"
    own = threading.get_native_id()
    with open(f"/proc/{own}/comm") as comm:
        assert said(Hit(own, 0, 0, OLD)) == f"thread {own} ({comm.read().strip()}) is in f"


def test_three_are_named_and_the_rest_counted() -> None:
    hits = [Hit(4_190_001 + n, 0, 0, OLD) for n in range(5)]
    three = ", ".join(f"thread {4_190_001 + n} is in f" for n in range(3))
    assert said(*hits[:3]) == three
    assert said(*hits[:4]) == three + " and 1 more"
    assert said(*hits) == three + " and 2 more"


class Stack:
    """The words of a thread's stack in our own memory, and the frames that rows tell of."""

    def __init__(self, *words: int, pc: int = 0x9000) -> None:
        self._words = (ctypes.c_uint64 * len(words))(*words)
        self.address = ctypes.addressof(self._words)
        self.end = self.address + 8 * len(words)
        self.snapshot = Snapshot()
        self.snapshot.read(os.getpid(), Stacks([6, 7], array("Q", [self.address, 0, self.address, 8 * len(words)])))
        registers = array("Q", bytes(8 * 2 * x86_64.WORDS))
        registers[x86_64.WORDS + x86_64.RIP], registers[x86_64.WORDS + x86_64.RSP] = pc, self.address
        self.seizure: Any = SimpleNamespace(tids=[6, 7], registers=memoryview(registers))

    def hit(self, index: int) -> Hit:
        return Hit(7, self.address + 8 * index, self._words[index], OLD)


class Rows:
    """Stands for the unwinder: `known` in a stop, and `more` that it would find after it."""

    def __init__(self, known: Mapping[int, FrameRow], more: Mapping[int, FrameRow] | None = None) -> None:
        self.known, self.more = known, more or {}

    def known_row(self, pc: int) -> FrameRow:
        if pc not in self.known:
            raise NoFrame(f"{pc:#x}")
        return self.known[pc]

    def row(self, pc: int) -> FrameRow:
        if pc not in self.more:
            raise NoFrame(f"{pc:#x}")
        return self.more[pc]


def frame(words: int, outermost: bool = False) -> FrameRow:
    """Of so many words, the return address the last."""
    return FrameRow(RSP, 8 * words, b"", {RA: Rule("undefined") if outermost else Rule("offset", -8)}, False)


FORBIDDEN = Forbidden([OLD])


def doubts(stack: Stack, rows: Rows, *hits: Hit, may_switch: bool = False) -> _Doubts:
    unwinder: Any = rows
    return _Doubts(hits, stack.seizure, stack.snapshot, unwinder, may_switch)


def test_a_word_that_is_no_return_address_is_dismissed() -> None:
    stack = Stack(1, 0x1008, 0x8000, 4, 0x8100, 6)
    rows = Rows({0x9000: frame(3), 0x7FFF: frame(2), 0x80FF: frame(1, outermost=True)})
    found = doubts(stack, rows, stack.hit(1))
    assert found.real_hits(FORBIDDEN) == []
    assert found.exits == {}


def test_a_return_address_counts_and_tells_where_the_thread_will_leave() -> None:
    stack = Stack(1, 2, 0x1008, 4, 0x8100, 0x1010, 0x8200)
    rows = Rows({0x9000: frame(3), 0x1007: frame(2), 0x80FF: frame(2), 0x81FF: frame(1, outermost=True)})
    found = doubts(stack, rows, stack.hit(2))
    assert found.real_hits(FORBIDDEN) == [Hit(7, 0, 0x1008, OLD)]
    assert found.exits == {7: Exit(0x8100, stack.address + 40)}


def test_the_outermost_old_frame_is_the_one_that_is_left() -> None:
    stack = Stack(0x8100, 0x1010, 0x8200, pc=0x1004)
    rows = Rows({0x1004: frame(1), 0x80FF: frame(1), 0x100F: frame(1), 0x81FF: frame(1, outermost=True)})
    found = doubts(stack, rows, Hit(7, 0, 0x1004, OLD), stack.hit(1))
    assert found.real_hits(FORBIDDEN) == [Hit(7, 0, 0x1004, OLD), Hit(7, 0, 0x1010, OLD)]
    assert found.exits == {7: Exit(0x8200, stack.address + 24)}
    # the outermost frame of all is never left
    rows = Rows({0x1004: frame(1, outermost=True)})
    found = doubts(stack, rows, Hit(7, 0, 0x1004, OLD))
    assert found.real_hits(FORBIDDEN) == [Hit(7, 0, 0x1004, OLD)]
    assert found.exits == {}


def test_words_above_the_outermost_frame_stay() -> None:
    stack = Stack(0x8100, 0x1008, 0x1010)
    rows = Rows({0x9000: frame(1), 0x80FF: frame(1, outermost=True)})
    found = doubts(stack, rows, stack.hit(1), stack.hit(2))
    assert found.real_hits(FORBIDDEN) == [stack.hit(1), stack.hit(2)]


def test_a_stack_may_lie_in_a_frame_with_room_for_one() -> None:
    for words, may_switch, stays in ((300, True, True), (256, True, True), (255, True, False), (300, False, False)):
        stack = Stack(0x8100, *[0x1008] * (words - 1), 0x8200, 0)
        rows = Rows({0x9000: frame(1), 0x80FF: frame(words), 0x81FF: frame(1, outermost=True)})
        found = doubts(stack, rows, stack.hit(5), may_switch=may_switch)
        assert found.real_hits(FORBIDDEN) == ([stack.hit(5)] if stays else []), words
    # what lies in the first frame's place is below all frames but one
    stack = Stack(0x1008, *[0] * 300, 0x8100, 0)
    rows = Rows({0x9000: frame(302), 0x80FF: frame(1, outermost=True)})
    assert doubts(stack, rows, stack.hit(0), may_switch=True).real_hits(FORBIDDEN) == [stack.hit(0)]


def test_what_cannot_be_unwound_stays_and_is_learned_after_the_stop() -> None:
    stack = Stack(1, 2, 0x1008, 4, 0x8100, 6)
    all_rows = {0x9000: frame(3), 0x1007: frame(2), 0x80FF: frame(1, outermost=True)}
    found = doubts(stack, Rows({}, all_rows), stack.hit(2))
    assert found.real_hits(FORBIDDEN) == [stack.hit(2)]
    assert found.exits == {}
    found.learn(FORBIDDEN)
    assert found.exits == {7: Exit(0x8100, stack.address + 40)}
    nothing = doubts(stack, Rows({}), stack.hit(2))
    assert nothing.real_hits(FORBIDDEN) == [stack.hit(2)]
    nothing.learn(FORBIDDEN)
    assert nothing.exits == {}


def test_a_hit_on_another_stack_of_the_thread_stays_with_all_others_of_it() -> None:
    stack = Stack(1, 0x1008, 0x8000, 4)
    rows = Rows({0x9000: frame(3), 0x7FFF: frame(1, outermost=True)})
    away = Hit(7, stack.end, 0x1008, OLD)
    assert doubts(stack, rows, stack.hit(1), away).real_hits(FORBIDDEN) == [stack.hit(1), away]
    assert doubts(stack, rows, Hit(7, 0, 0x1000, OLD), stack.hit(1)).real_hits(FORBIDDEN) == []


@pytest.mark.parametrize("order", [(6, 7), (7, 6)])
def test_each_thread_is_unwound_by_its_own_registers(order: tuple[int, int]) -> None:
    stack = Stack(1, 0x1008, 0x8000, 4)
    rows = Rows({0x9000: frame(3), 0x7FFF: frame(1, outermost=True)})
    if order == (7, 6):
        words = stack.seizure.registers
        stack.seizure.registers = memoryview(array("Q", [*words[x86_64.WORDS :], *words[: x86_64.WORDS]]))
        stack.seizure.tids = [7, 6]
    assert doubts(stack, rows, stack.hit(1)).real_hits(FORBIDDEN) == []
