"""Stacks of words by hand, with rows that tell where callers are."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping

import pytest

from suture.process import x86_64
from suture.process.memory.maps import Maps, read_maps
from suture.process.stack.frame import RA, RSP, FrameRow, NoFrame, Rule, Undescribed
from suture.process.stack.unwind import Unwinder, frames, thread_registers

ME = os.getpid()
CODE = range(0x1000, 0x2000)


def row(size: int, *, signal: bool = False, start: bool = False, outermost: bool = False) -> FrameRow:
    """Of a function whose frame is so large, with the return address at its end."""
    return FrameRow(RSP, size, b"", {RA: Rule("undefined") if outermost else Rule("offset", -8)}, signal, start)


def unwound(rows: Mapping[int, FrameRow], words: Mapping[int, int], pc: int = 0x1000) -> list[tuple[int, int]]:
    def row_of(pc: int) -> FrameRow:
        if pc not in rows:
            raise Undescribed(pc)
        return rows[pc]

    def word(address: int) -> int:
        if address not in words:
            raise NoFrame(f"{address:#x}")
        return words[address]

    return frames({RA: pc, RSP: 0x7000}, row_of, word)


def test_a_caller_is_asked_for_before_its_return_address_and_an_interrupted_one_at_it() -> None:
    rows = {0x1000: row(16), 0x10FF: row(8, signal=True), 0x1200: row(24), 0x12FF: row(8, outermost=True)}
    words = {0x7008: 0x1100, 0x7010: 0x1200, 0x7028: 0x1300}
    assert unwound(rows, words) == [(0x1000, 0x7000), (0x1100, 0x7010), (0x1200, 0x7018), (0x1300, 0x7030)]


def test_a_return_address_of_zero_is_the_end() -> None:
    assert unwound({0x1000: row(16)}, {0x7008: 0}) == [(0x1000, 0x7000)]


def test_a_context_that_ends_in_the_first_byte_of_a_function_has_no_caller() -> None:
    rows = {0x1000: row(16), 0x1100: row(8, start=True)}
    assert unwound(rows, {0x7008: 0x1100}) == [(0x1000, 0x7000), (0x1100, 0x7010)]
    with pytest.raises(Undescribed, match="0x10ff"):
        unwound({0x1000: row(16), 0x1100: row(8)}, {0x7008: 0x1100})
    with pytest.raises(Undescribed, match="0x1100"):
        unwound({0x1000: row(16, signal=True), 0x10FF: row(8, start=True)}, {0x7008: 0x1100})
    with pytest.raises(Undescribed, match="0x1000"):
        unwound({}, {})


def test_a_stack_that_does_not_grow_or_has_no_end_proves_nothing() -> None:
    with pytest.raises(NoFrame, match="does not grow"):
        unwound({0x1000: row(0), 0x10FF: row(8, outermost=True)}, {0x6FF8: 0x1100})
    endless = {0x7000 + 8 * n: 0x1001 for n in range(2000)}
    with pytest.raises(NoFrame, match="too many frames"):
        unwound({0x1000: row(8)}, endless)
    last = 0x7000 + 8 * 1022
    assert len(unwound({0x1000: row(8)}, {**endless, last: 0})) == 1023
    with pytest.raises(NoFrame, match="too many frames"):
        unwound({0x1000: row(8)}, {**endless, last + 8: 0})


def test_registers_are_numbered_as_the_debugging_format_numbers_them() -> None:
    registers = thread_registers([n + 100 for n in range(x86_64.WORDS)])
    names = [
        "rax",
        "rdx",
        "rcx",
        "rbx",
        "rsi",
        "rdi",
        "rbp",
        "rsp",
        "r8",
        "r9",
        "r10",
        "r11",
        "r12",
        "r13",
        "r14",
        "r15",
        "rip",
    ]
    assert registers == {n: 100 + x86_64.place_of(name) for n, name in enumerate(names)}


@pytest.fixture
def address() -> int:
    """Of a function of the C library in this process."""
    found = ctypes.cast(ctypes.CDLL(None).getpid, ctypes.c_void_p).value
    assert found is not None
    return found


def test_rows_are_looked_up_once_and_kept_for_the_next_stop(address: int, monkeypatch: pytest.MonkeyPatch) -> None:
    unwinder = Unwinder(ME)
    maps = read_maps(ME)
    unwinder.follow(maps)
    with pytest.raises(NoFrame, match=f"{address:#x} has not been looked up yet"):
        unwinder.known_row(address)
    found = unwinder.row(address)
    assert found.is_start and found.cfa_register == RSP and found.cfa_offset == 8
    unwinder.follow(Maps(maps.raw + b"7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0 \n"))
    assert unwinder.known_row(address) is found is unwinder.row(address)
    lines = maps.raw.splitlines(keepends=True)
    unwinder.follow(Maps(b"".join(line for line in lines if b" r-xp " not in line or b"libc" in line)))
    with pytest.raises(NoFrame, match="not been looked up"):
        unwinder.known_row(address)
    assert unwinder.row(address) == found


def test_what_no_image_or_no_table_describes_is_told_apart(address: int) -> None:
    unwinder = Unwinder(ME)
    maps = read_maps(ME)
    unwinder.follow(maps)
    for nowhere in (0, 8, 1 << 46):
        with pytest.raises(NoFrame, match=f"{nowhere:#x} is in no image"):
            unwinder.row(nowhere)
    start, end, _ = next(s for s in unwinder._spans if s[0] <= address < s[1])
    with pytest.raises(Undescribed):
        unwinder.row(start)
    with pytest.raises(Undescribed):  # known inside a stop too
        unwinder.known_row(start)
    with pytest.raises(Undescribed):
        unwinder.row(start)
    assert unwinder.row(address)
    unwinder._spans, unwinder._starts = [(start, end, start)], [start]
    unwinder._rows.clear()
    for _ in range(2):
        with pytest.raises(NoFrame, match="without a search table"):
            unwinder.row(address)
    with pytest.raises(NoFrame, match="in no image"):
        unwinder.row(end)
    with pytest.raises(NoFrame, match="without a search table"):
        unwinder.row(end - 1)
