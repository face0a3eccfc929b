"""The stacks are buffers of our own, which are read as another process's would be: through process_vm_readv."""

from __future__ import annotations

import ctypes
import os
import struct
from array import array
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from suture.process import x86_64
from suture.process.memory.maps import Maps
from suture.process.stack import stack
from suture.process.stack.frame import NoFrame
from suture.process.stack.stack import Forbidden, Hit, Range, Snapshot, StackMap, Stacks, StackUnknown

ME = os.getpid()
CODE = 0x5555_5555_0000


def ranges(*rows: tuple[int, int]) -> list[Range]:
    return [Range(start, end, 0, f"{start:#x}") for start, end in rows]


def registers(*threads: Mapping[str, int]) -> memoryview[int]:
    words = array("Q", bytes(8 * x86_64.WORDS * len(threads)))
    for n, thread in enumerate(threads):
        for name, value in thread.items():
            words[n * x86_64.WORDS + x86_64.place_of(name)] = value
    return memoryview(words)


class Memory:
    """Words at an address of our own."""

    def __init__(self, *words: int) -> None:
        self._words = (ctypes.c_uint64 * len(words))(*words)
        self.address = ctypes.addressof(self._words)
        self.size = 8 * len(words)


def taken(*pieces: tuple[int, Memory]) -> Snapshot:
    snapshot = Snapshot()
    snapshot.read(ME, Stacks([t for t, _ in pieces], array("Q", [v for _, m in pieces for v in (m.address, m.size)])))
    return snapshot


def test_pieces_stand_one_behind_the_other() -> None:
    s = Stacks([7, 7, 8, 9], array("Q", [0x1000, 16, 0x2000, 0, 0x3000, 24, 0x4000, 8]))
    assert s.size == 48
    assert s.offsets == [0, 16, 16, 40]
    assert [s.piece_at(o) for o in (0, 8, 15, 16, 39, 40, 47)] == [0, 0, 0, 2, 2, 3, 3]
    assert (s.present(7), s.present(8), s.present(9)) == (0, 2, 3)
    assert [s.hold(8, a) for a in (0x2FFF, 0x3000, 0x3017, 0x3018)] == [False, True, True, False]
    assert not s.hold(7, 0x3000) and not s.hold(7, 0x2000) and s.hold(7, 0x100F)


def test_further_pieces_belong_to_threads_that_are_away() -> None:
    s = Stacks([7, 8], array("Q", [0x1000, 16, 0x2000, 8]), frozenset({8}))
    more = s.with_more([(7, 0x5000, 32)])
    assert (more.tids, list(more.ranges), more.foreign) == (
        [7, 8, 7], [0x1000, 16, 0x2000, 8, 0x5000, 32], frozenset({7, 8}),
    )  # fmt: skip
    assert more.present(7) == 0 and more.size == 56


def test_all_ranges_that_hold_an_address_are_found_also_those_inside_others() -> None:
    rows = ranges((0x1000, 0x2000), (0x1800, 0x1810), (0x1800, 0x1900), (0x3000, 0x3001))
    f = Forbidden(reversed(rows))
    assert f.ranges == rows
    assert (f.low, f.high) == (0x1000, 0x3001)
    for at in (0xFFF, 0x1000, 0x17FF, 0x1800, 0x180F, 0x1810, 0x18FF, 0x1900, 0x1FFF, 0x2000, 0x3000, 0x3001):
        assert sorted(f.holding(at), key=rows.index) == [r for r in rows if r.start <= at < r.end], hex(at)
    nothing = Forbidden([])
    assert (nothing.low, nothing.high, nothing.holding(0)) == (0, 0, [])


@given(
    st.lists(st.tuples(st.integers(0x10_0000, 0x20_0000), st.integers(1, 0x30000)), min_size=1, max_size=6), st.data()
)
@settings(deadline=None)
def test_no_word_of_a_range_is_missed_and_no_other_is_found(rows: list[tuple[int, int]], data: st.DataObject) -> None:
    where = ranges(*((CODE + a, CODE + a + n) for a, n in rows))
    edges = [v for r in where for v in (r.start - 1, r.start, r.end - 1, r.end)]
    words = data.draw(st.lists(st.one_of(st.sampled_from(edges), st.integers(0, 2**64 - 1)), max_size=40))
    buffer = bytearray(struct.pack(f"<{len(words)}Q", *words))
    f = Forbidden(where)
    found = {(o, v) for o, v in f.words_in(buffer, len(buffer)) if f.holding(v)}
    assert found == {(8 * n, w) for n, w in enumerate(words) if any(r.start <= w < r.end for r in where)}


@pytest.mark.parametrize("at", [0x100_0000, 0xFF_FF00, 0x5500_0000_0000, 0xFFFF_FF00_0000, 0x10_0000, 0x1_0000, 0x0])
def test_words_of_small_and_even_addresses_are_found_too(at: int) -> None:
    for size in (1, 8, 0x10000, 0x20000, 0x30000, 0x2_000_000):
        wanted = [at, at + size - 1]
        others = [at + size, at + 0x1000_0000_0000, 0xFFFF_FFFF_FFFF_FFFF, *([at - 1] if at else [])]
        buffer = bytearray(struct.pack(f"<{len(wanted + others)}Q", *wanted, *others))
        f = Forbidden(ranges((at, at + size)))
        assert {v for _, v in f.words_in(buffer, len(buffer)) if f.holding(v)} == set(wanted), hex(size)


def test_only_the_words_of_the_given_size_are_looked_at() -> None:
    buffer = bytearray(struct.pack("<4Q", 0, CODE, CODE, CODE))
    assert list(Forbidden(ranges((CODE, CODE + 1))).words_in(buffer, 24)) == [(8, CODE), (16, CODE)]


def test_needles_are_few_for_wide_ranges_and_look_for_a_byte_that_tells() -> None:
    assert [n.shift for n in stack._needles(ranges((CODE, CODE + 0x20000)))] == [16, 16]
    assert [n.shift for n in stack._needles(ranges((CODE, CODE + 0x20001)))] == [24]
    assert [n.shift for n in stack._needles(ranges((0x7F00_1200_0000, 0x7F01_1200_0000)))] == [24] * 256
    assert stack._needle(16, 0x5555_00FF) == stack._Needle(16, 0x5555_00FF, 4, 0x55)
    assert stack._needle(16, 0x5555_1234) == stack._Needle(16, 0x5555_1234, 2, 0x34)
    assert stack._needle(24, 0x0056) == stack._Needle(24, 0x56, 3, 0x56)
    assert stack._needle(8, 0xFF) == stack._Needle(8, 0xFF, 1, 0xFF)


def test_return_addresses_and_program_counters_are_hits() -> None:
    one, two = Memory(1, CODE + 4, 3), Memory(CODE - 1, CODE, CODE + 15, CODE + 16)
    f = Forbidden(ranges((CODE, CODE + 16)))
    hits = taken((7, one), (8, two)).search(
        [7, 8, 9, 10], registers({"rip": CODE}, {"rip": CODE + 16}, {"rip": CODE + 15}, {"rip": CODE - 1}), f
    )
    (r,) = f.ranges
    assert hits == [
        Hit(7, 0, CODE, r), Hit(9, 0, CODE + 15, r),
        Hit(7, one.address + 8, CODE + 4, r), Hit(8, two.address + 8, CODE, r), Hit(8, two.address + 16, CODE + 15, r),
    ]  # fmt: skip


def test_the_words_of_the_present_stack_can_be_read_again() -> None:
    first, second, more = Memory(1, 2), Memory(3, 4, 5), Memory(6)
    snapshot = taken((7, first), (8, second), (8, more))
    word = snapshot.word_reader(8)
    assert [word(second.address + at) for at in (0, 8, 16)] == [3, 4, 5]
    for wrong in (-8, 4, 24, 1 << 20):
        with pytest.raises(NoFrame, match="not on the stack"):
            word(second.address + wrong)
    (r,) = ranges((1, 2))
    on = [
        snapshot.on_present_stack(Hit(8, a, 0, r))
        for a in (second.address - 1, second.address, second.address + 23, second.address + 24, more.address)
    ]
    assert on == [False, True, True, False, False]


def test_a_stack_that_cannot_be_read_is_named_by_its_thread() -> None:
    good = Memory(1, 2)
    with pytest.raises(StackUnknown, match="thread 8 has a stack that cannot be read") as caught:
        Snapshot().read(ME, Stacks([7, 8], array("Q", [good.address, 16, 8, 8])))
    assert (caught.value.tid, caught.value.why) == (8, "has a stack that cannot be read")
    with pytest.raises(StackUnknown, match=r"thread 7 and others have 256 MiB of stack in use"):
        Snapshot().read(ME, Stacks([7], array("Q", [good.address, (256 << 20) + 1])))


def test_room_grows_with_what_the_stacks_need_and_is_kept_for_the_next_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "_spare", [])
    monkeypatch.setattr(stack, "_FIRST_BYTES", 64)
    snapshot = Snapshot()
    assert len(snapshot._buffer) == 96
    large = Memory(*range(16))
    s = Stacks([7], array("Q", [large.address, large.size]))
    snapshot.read(ME, s)
    assert len(snapshot._buffer) == 192
    assert bytes(snapshot._buffer[:128]) == struct.pack("<16Q", *range(16))
    before = snapshot._buffer
    snapshot.make_ready()
    assert snapshot._buffer is before
    snapshot._stacks = Stacks([7], array("Q", [0, 192]))
    snapshot.make_ready()
    assert snapshot._buffer is before
    assert len(before) == 3 * 64
    larger = Snapshot()
    larger._stacks = Stacks([7], array("Q", [0, 248]))
    larger.make_ready()
    assert len(larger._buffer) == 248 + 124 & ~7
    snapshot.give_back()
    assert stack._spare == [] and len(snapshot._buffer) == 0  # too large to be kept
    again = Snapshot()
    kept = again._buffer
    again.give_back()
    assert stack._spare == [kept]
    Snapshot().give_back()
    assert stack._spare == [kept]
    one, two = Snapshot(), Snapshot()
    assert one._buffer is kept
    one.give_back()
    two.give_back()
    assert len(stack._spare) == 1


RESTORER = 0x7FFF_F7C0_1234
SAVED = x86_64.FRAME_RSP // 8


def signal_frame(rsp: int) -> list[int]:
    frame = [0] * (SAVED + 1)
    frame[0], frame[SAVED] = RESTORER, rsp
    return frame


def test_the_stack_pointer_before_a_signal_is_read_from_its_frame() -> None:
    f = Forbidden([], [RESTORER])
    own, away = Memory(5, *signal_frame(0xAAA0), 6), Memory(*signal_frame(0xBBB0))
    near_miss = Memory(RESTORER + 1, *[0] * 40)
    snapshot = taken((7, own), (8, near_miss), (8, away))
    outside = registers({}, {})
    assert snapshot.signal_frames([7, 8], outside, f) == [(7, 0xAAA0, True), (8, 0xBBB0, False)]
    assert snapshot.signal_frames([7, 8], outside, Forbidden([])) == []


def test_a_frame_that_the_stack_cuts_off_tells_nothing() -> None:
    cut, other = Memory(*signal_frame(0xAAA0)[:-1]), Memory(0xCCC0)
    assert taken((7, cut), (8, other)).signal_frames([7, 8], registers({}, {}), Forbidden([], [RESTORER])) == []


def test_a_handler_that_has_just_returned_stands_in_the_restorer() -> None:
    f = Forbidden([], [RESTORER])
    first, second = Memory(1, 2), Memory(*signal_frame(0xAAA0)[1:])
    snapshot = taken((7, first), (8, second))
    for rip, found in (
        (RESTORER - 1, []),
        (RESTORER, [(8, 0xAAA0, True)]),
        (RESTORER + 8, [(8, 0xAAA0, True)]),
        (RESTORER + 9, []),
    ):
        assert snapshot.signal_frames([7, 8], registers({}, {"rip": rip}), f) == found


MAPS = b"""\
555555550000-555555560000 r-xp 00000000 fd:00 5 /usr/bin/program
555555570000-555555580000 rw-p 00000000 00:00 0 [heap]
7f0000000000-7f0000001000 ---p 00000000 00:00 0 
7f0000001000-7f0000801000 rw-p 00000000 00:00 0 
7f0000801000-7f0002000000 rw-p 00000000 00:00 0 
7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0 [stack]
"""
HEAP, LOW, END, MAIN, TOP = 0x5555_5557_0000, 0x7F00_0000_1000, 0x7F00_0080_1000, 0x7FFF_FFFD_E000, 0x7FFF_FFFF_F000
BLOCK = 0x7F00_0080_0700
WITHOUT = MAPS.replace(b"[stack]", b"")


def pieces(stacks: Stacks | None) -> list[tuple[int, int, int]] | None:
    if stacks is None:
        return None
    return list(zip(stacks.tids, stacks.ranges[::2], stacks.ranges[1::2], strict=True))


def quick(*threads: tuple[int, int, int], maps: bytes = MAPS) -> list[tuple[int, int, int]] | None:
    return pieces(
        StackMap(Maps(maps)).below_control_blocks(
            7, [t for t, _, _ in threads], registers(*({"rsp": s, "fs_base": b} for _, s, b in threads))
        )
    )


def test_a_stack_ends_at_its_control_block_and_the_main_one_with_its_mapping() -> None:
    assert quick((7, TOP - 0x105, 1), (8, BLOCK - 0x201, BLOCK + 3)) == [
        (7, TOP - 0x108, 0x108),
        (8, BLOCK - 0x208, 0x208),
    ]
    assert quick((8, BLOCK - 8, BLOCK)) == [(8, BLOCK - 8, 8)]
    assert quick((7, MAIN, 0)) == [(7, MAIN, TOP - MAIN)]


def test_a_thread_that_is_not_below_its_control_block_has_no_quick_way() -> None:
    assert quick((7, TOP - 0x100, 0), (8, BLOCK, BLOCK)) is None
    assert quick((8, BLOCK + 8, BLOCK)) is None
    assert quick((7, BLOCK - 8, BLOCK)) is None  # the main thread, elsewhere
    assert quick((7, MAIN - 8, BLOCK)) is None
    assert quick((7, TOP, BLOCK)) is None
    assert quick((8, BLOCK - (8 << 20), BLOCK)) == [(8, BLOCK - (8 << 20), 8 << 20)]
    assert quick((8, BLOCK - (8 << 20) - 8, BLOCK)) is None
    assert quick((7, BLOCK - 8, BLOCK), maps=WITHOUT) == [(7, BLOCK - 8, 8)]


def test_the_careful_way_takes_each_stack_to_the_end_of_its_mapping() -> None:
    def careful(*threads: tuple[int, int, int], maps: bytes = MAPS) -> tuple[object, frozenset[int]]:
        found = StackMap(Maps(maps)).stacks(
            7, [t for t, _, _ in threads], registers(*({"rsp": s, "fs_base": b} for _, s, b in threads))
        )
        return pieces(found), found.foreign

    own = (7, TOP - 0x105, 0)
    assert careful(own, (8, BLOCK - 0x11, BLOCK)) == (
        [(7, TOP - 0x108, 0x108), (8, BLOCK - 0x18, END - BLOCK + 0x18)], frozenset(),
    )  # fmt: skip
    # on the heap: both stacks of each
    assert careful((7, HEAP + 0x10, 0)) == ([(7, HEAP + 0x10, 0xFFF0), (7, MAIN, TOP - MAIN)], frozenset({7}))
    assert careful((8, HEAP, BLOCK)) == ([(8, HEAP, 0x10000), (8, LOW, END - LOW)], frozenset({8}))
    assert careful((8, HEAP, 1)) == ([(8, HEAP, 0x10000)], frozenset({8}))
    # a child of vfork, which has the parent's stack
    assert careful((9, TOP - 8, BLOCK)) == ([(9, TOP - 8, 8)], frozenset())
    assert careful((7, HEAP, BLOCK), maps=WITHOUT) == ([(7, HEAP, 0x10000), (7, LOW, END - LOW)], frozenset({7}))
    for nowhere in (LOW - 1, CODE, 8, 0x7F00_0200_0000):
        with pytest.raises(StackUnknown, match=f"has its stack pointer {nowhere:#x} in no writable mapping") as caught:
            careful(own, (8, nowhere, BLOCK))
        assert caught.value.tid == 8


def test_what_a_signal_interrupted_on_another_stack_is_added_once() -> None:
    stackmap = StackMap(Maps(MAPS))
    stacks = Stacks([8], array("Q", [HEAP, 0x100]), frozenset({8}))
    frames = [
        (8, HEAP + 0x80, True),
        (8, BLOCK - 0x11, True),
        (8, BLOCK - 0x11, True),
        (8, 0x1234, True),
        (9, HEAP + 3, False),
    ]
    assert stackmap.interrupted(stacks, frames) == [(8, BLOCK - 0x18, END - BLOCK + 0x18), (9, HEAP, 0x10000)]


def test_hits_that_are_of_no_thread_have_numbers_of_their_own() -> None:
    assert (stack.NO_THREAD, stack.ELSEWHERE) == (0, -1)
    assert stack._FIRST_BYTES == 1 << 20 and stack._USUAL_STACK_BYTES == 8 << 20


def test_a_word_with_other_high_bytes_is_left_out() -> None:
    f = Forbidden(ranges((CODE, CODE + 16)))
    (needle,) = f._needles
    others = [CODE + (1 << 56), CODE - (1 << 40), CODE ^ (1 << 63), 0x7FFF_FFFF_FFFF_FFFF]
    buffer = bytearray(struct.pack("<5Q", *others, CODE + 8))
    assert any((other >> 8 * needle.place) & 0xFF == needle.value for other in others), "its byte alone says nothing"
    assert list(f.words_in(buffer, len(buffer))) == [(32, CODE + 8)]
