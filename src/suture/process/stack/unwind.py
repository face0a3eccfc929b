"""Who called whom on a stopped thread's stack, to tell a return address from an old word that means nothing any more.

Inside a stop only rows that are known already are used, which costs microseconds; rows that were missing are looked up
once the process runs again, so that the next stop has them. A stack that cannot be unwound to its outermost frame
proves nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence

from suture.number import Address
from suture.process import x86_64
from suture.process.memory.image import frame_headers
from suture.process.memory.maps import Maps
from suture.process.memory.placed import find_placed
from suture.process.stack.frame import RA, RSP, FrameRow, FrameTable, NoFrame, Undescribed, Word, caller
from suture.process.stack.patch_frame import PatchFrames

_MOST_FRAMES = 1024
_DWARF_ORDER = [
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
_PLACES = [x86_64.place_of(name) for name in _DWARF_ORDER]


def thread_registers(words: Sequence[int] | memoryview[int]) -> dict[int, int]:
    """DWARF numbers to values, from one thread's x86_64.WORDS words."""
    return {number: words[place] for number, place in enumerate(_PLACES)}


def frames(registers: Mapping[int, int], row_of: Callable[[int], FrameRow], word: Word) -> list[tuple[int, int]]:
    """Program counter and stack pointer of each frame, from the innermost to the outermost. Raises NoFrame."""
    found = [(registers[RA], registers[RSP])]
    here: Mapping[int, int] = registers
    exact = True  # a return address may stand behind its function's end, an interrupted instruction does not
    while len(found) < _MOST_FRAMES:
        try:
            row = row_of(here[RA] if exact else here[RA] - 1)
        except Undescribed:
            if not exact and row_of(here[RA]).is_start:
                # what no call can have left: makecontext(3) lets its function return to the first byte of one that has
                # no caller
                return found
            raise
        above = caller(row, here, word)
        if above is None or above[RA] == 0:
            return found
        if above[RSP] <= here[RSP]:
            raise NoFrame("a stack that does not grow")
        exact = row.is_signal
        found.append((above[RA], above[RSP]))
        here = above
    raise NoFrame("too many frames")


class Unwinder:
    """Rows of one process, kept from stop to stop while its code mappings stay the same."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._rows: dict[int, FrameRow] = {}
        self._undescribed: set[int] = set()
        self._tables: dict[int, FrameTable | PatchFrames | None] = {}
        self._code: list[bytes] = []
        self._starts: list[int] = []
        self._spans: list[tuple[Address, Address, Address]] = []

    def follow(self, maps: Maps) -> None:
        """Take notice of the mappings; forget all rows when code has come or gone."""
        code = [line for line in maps.raw.splitlines() if b" r-xp " in line]
        if code != self._code:
            self._code = code
            self._rows.clear()
            self._undescribed.clear()
            self._tables.clear()
            self._spans = frame_headers(self.pid, maps)
            for placed in find_placed(self.pid, maps)[0]:
                base, end = placed.record.base, placed.record.base + placed.record.text_size
                self._spans.append((base, Address(end), base))
                self._tables[base] = PatchFrames(self.pid, placed.record)
            self._spans.sort()
            self._starts = [s[0] for s in self._spans]

    def known_row(self, pc: int) -> FrameRow:
        """For use inside a stop."""
        row = self._rows.get(pc)
        if row is None:
            if pc in self._undescribed:
                raise Undescribed(pc)
            raise NoFrame(f"{pc:#x} has not been looked up yet")
        return row

    def row(self, pc: int) -> FrameRow:
        """Look a row up and keep it. Raises NoFrame."""
        if pc not in self._rows:
            index = bisect_right(self._starts, pc) - 1
            if index < 0 or pc >= self._spans[index][1]:
                raise NoFrame(f"{pc:#x} is in no image")
            header = self._spans[index][2]
            if header not in self._tables:
                try:
                    self._tables[header] = FrameTable(self.pid, header)
                except NoFrame:
                    self._tables[header] = None
            table = self._tables[header]
            if table is None:
                raise NoFrame("an image without a search table")
            try:
                self._rows[pc] = table.row(pc)
            except Undescribed:
                self._undescribed.add(pc)
                raise
        return self._rows[pc]
