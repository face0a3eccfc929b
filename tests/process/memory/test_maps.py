"""Where a patch's memory may go."""

from __future__ import annotations

from suture.number import Address
from suture.patch.x86_64 import PAGE, REACH
from suture.process.memory.maps import Maps, choose_address


def maps_of(*lines: str) -> Maps:
    return Maps("\n".join(lines).encode())


def test_the_place_is_near_the_image_and_free() -> None:
    maps = maps_of("7f0000000000-7f0000100000 r-xp 0 08:01 5 /lib", "7f0000110000-7f0000200000 rw-p 0 00:00 0 ")
    at = choose_address(maps.mappings, Address(0x7F0000000000), Address(0x7F0000100000), 8 * PAGE)
    assert at is not None
    assert all(at + 8 * PAGE < m.start or at > m.end for m in maps.mappings)
    assert abs(at - 0x7F0000000000) < 1 << 24


def test_everything_of_the_image_is_within_reach_of_everything_of_the_patch() -> None:
    low, high = 0x7F0000000000, 0x7F0010000000
    filled = maps_of(f"{low - REACH + 0x20000:x}-{high + (1 << 30):x} r-xp 0 08:01 5 /lib")
    at = choose_address(filled.mappings, Address(low), Address(high), 4 * PAGE)
    assert at is not None
    assert max(abs(at - high), abs(at + 4 * PAGE - low), abs(at - low), abs(at + 4 * PAGE - high)) < REACH


def test_no_room_within_reach_is_none() -> None:
    low, high = 0x7F0000000000, 0x7F0000100000
    full = maps_of(f"{low - 2 * REACH:x}-{high + 2 * REACH:x} r-xp 0 08:01 5 /lib")
    assert choose_address(full.mappings, Address(low), Address(high), PAGE) is None


def test_the_room_of_the_heap_and_below_the_stack_is_left_free() -> None:
    maps = maps_of(
        "555500000000-555500100000 r-xp 0 08:01 5 /prog",
        "555500200000-555500300000 rw-p 0 00:00 0 [heap]",
        "555540000000-555540100000 rw-p 0 00:00 0 [stack]",
    )
    at = choose_address(maps.mappings, Address(0x555500000000), Address(0x555500100000), 4 * PAGE)
    assert at is not None
    assert not 0x555500300000 <= at < 0x555510300000
    assert not 0x555540000000 - (64 << 20) <= at < 0x555540000000


def test_a_program_without_a_heap_yet_keeps_the_room_above_it() -> None:
    maps = maps_of("00400000-00500000 r-xp 0 08:01 5 /prog")
    at = choose_address(maps.mappings, Address(0x400000), Address(0x500000), 4 * PAGE)
    assert at is not None and (at < 0x400000 or at >= 0x500000 + (256 << 20))
