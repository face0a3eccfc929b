"""Is any thread inside a function, or going to return into it? A conservative look at every word of every stack.

Any 8-aligned word between the stack pointer and the end of the stack's mapping that lies in a forbidden range counts, and so
does the program counter. Old words that mean nothing any more count too: that errs on the side of waiting. A thread on another
stack than its own (alternate signal stack, coroutine) has both searched. Stacks that no thread is on at the moment (suspended
coroutines) are not searched; the result tells how many foreign stacks were seen.
"""

from __future__ import annotations

import ctypes
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from suture.process import syscall, x86_64
from suture.process.frame import NoFrame
from suture.process.maps import Maps

MOST_STACK_BYTES = 256 << 20
_WORD = 8


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses `start`..`end` (end excluded) where no thread may be. `owner` tells whose it is, `what` names it for people."""

    start: int
    end: int
    owner: int
    what: str


@dataclass(frozen=True, slots=True)
class Hit:
    """Thread `tid` is inside `range`: `value` stands at stack `address` (0: in the program counter)."""

    tid: int
    address: int
    value: int
    range: Range


@dataclass(frozen=True, slots=True)
class Stack:
    """A piece of stack to search: `size` bytes at `address` of thread `tid`."""

    tid: int
    address: int
    size: int


class StackUnknown(Exception):
    """A stack pointer that points into no mapping that could be a stack; `tid` has it."""

    def __init__(self, tid: int, why: str) -> None:
        super().__init__(f"thread {tid} {why}")
        self.tid = tid
        self.why = why


class Forbidden:
    """Ranges, prepared so that searching costs little while a process is stopped."""

    def __init__(self, ranges: Iterable[Range]) -> None:
        self.ranges = sorted(ranges, key=lambda r: (r.start, r.end))
        self._starts = [r.start for r in self.ranges]
        self._longest = max((r.end - r.start for r in self.ranges), default=0)
        self._needles = _needles(self.ranges)

    def holding(self, value: int) -> list[Range]:
        """All ranges that hold an address."""
        found = []
        index = bisect_right(self._starts, value) - 1
        while index >= 0 and self._starts[index] > value - self._longest:
            if value < self.ranges[index].end:
                found.append(self.ranges[index])
            index -= 1
        return found

    def words_in(self, buffer: bytearray, size: int) -> Iterable[tuple[int, int]]:
        """(offset, value) of each 8-aligned word of `buffer[:size]` whose high bytes are those of a range.

        One byte of each word is enough to leave nearly all out: all bytes at its place, taken with one slice, are searched for
        one value (memchr); the few words that it finds are looked at one by one. A loop over all words would cost 50 times this.
        """
        words = memoryview(buffer).cast("Q")
        for shift, block, place, value in self._needles:
            plane = buffer[place:size:_WORD]
            index = plane.find(value)
            while index >= 0:
                if words[index] >> shift == block:
                    yield index * _WORD, words[index]
                index = plane.find(value, index + 1)


def _needles(ranges: Sequence[Range]) -> list[tuple[int, int, int, int]]:
    """(shift, block, place, value): each word of a range has word >> shift == block of one of these, and `value` as its byte at
    `place`. Blocks of 64 KiB while they are few, else of 16 MiB."""
    for shift in (16, 24):
        blocks = {block for r in ranges for block in range(r.start >> shift, (r.end - 1 >> shift) + 1)}
        if len(blocks) <= 2 or shift == 24:
            break
    found = []
    for block in sorted(blocks):
        # the lowest byte that all of the block share tells most, unless it is one of the values that small numbers have there
        tail = block.to_bytes(_WORD, "little")[:5]
        place = next((i for i, b in enumerate(tail) if b not in (0x00, 0xFF)), 0)
        found.append((shift, block, shift // 8 + place, tail[place]))
    return found


class Snapshot:
    """Memory for the stacks of stopped threads, kept from one stop to the next."""

    def __init__(self) -> None:
        self._buffer = bytearray(1 << 20)
        self._stacks: Sequence[Stack] = ()
        self._offsets: list[int] = []

    def _base(self, size: int) -> int:
        if size > len(self._buffer):
            self._buffer = bytearray(size + (size >> 1) & ~7)
        return ctypes.addressof((ctypes.c_char * len(self._buffer)).from_buffer(self._buffer))

    def word_reader(self, tid: int) -> Callable[[int], int]:
        """The words of a thread's present stack as last read. The function raises NoFrame outside it."""
        at = next(i for i, s in enumerate(self._stacks) if s.tid == tid)
        stack, offset = self._stacks[at], self._offsets[at]
        words = memoryview(self._buffer).cast("Q")

        def word(address: int) -> int:
            distance = address - stack.address
            if distance % _WORD or not 0 <= distance <= stack.size - _WORD:
                raise NoFrame(f"{address:#x} is not on the stack")
            return words[(offset + distance) // _WORD]

        return word

    def on_present_stack(self, hit: Hit) -> bool:
        """Whether a hit is on the stack that its thread is on now."""
        stack = next(s for s in self._stacks if s.tid == hit.tid)
        return stack.address <= hit.address < stack.address + stack.size

    def search(
        self, pid: int, tids: Sequence[int], registers: memoryview[int], stacks: Sequence[Stack], forbidden: Forbidden
    ) -> list[Hit]:
        """Read all stacks in one go and look for forbidden addresses. Raises StackUnknown when a stack cannot be read."""
        hits = []
        for tid, rip in zip(tids, registers[x86_64.RIP :: x86_64.WORDS], strict=True):
            hits += [Hit(tid, 0, rip, r) for r in forbidden.holding(rip)]
        size = sum(s.size for s in stacks)
        if size > MOST_STACK_BYTES:
            raise StackUnknown(stacks[0].tid, f"and others have {size >> 20} MiB of stack in use")
        base = self._base(size)
        ranges = array("Q")
        offsets = []
        at = 0
        for stack in stacks:
            ranges.extend((stack.address, stack.size))
            offsets.append(at)
            at += stack.size
        self._stacks, self._offsets = stacks, offsets
        done = syscall.process_vm_readv_into(pid, base, ranges)
        if done != size:
            stack = stacks[bisect_right(offsets, done) - 1]
            raise StackUnknown(stack.tid, "has a stack that cannot be read")
        for offset, value in forbidden.words_in(self._buffer, size):
            for held in forbidden.holding(value):
                stack = stacks[bisect_right(offsets, offset) - 1]
                where = stack.address + offset - offsets[bisect_right(offsets, offset) - 1]
                hits.append(Hit(stack.tid, where, value, held))
        return hits


class StackMap:
    """Which mapping is whose stack: prepared before a stop, cheap inside it."""

    def __init__(self, maps: Maps) -> None:
        self.raw = maps.raw
        rows = [m for m in maps.mappings if m.readable and m.writable]
        self._starts = [m.start for m in rows]
        self._ends = [m.end for m in rows]
        self._main = next((i for i, m in enumerate(rows) if m.name == b"[stack]"), -1)

    def _index(self, address: int) -> int:
        index = bisect_right(self._starts, address) - 1
        return index if index >= 0 and address < self._ends[index] else -1

    def stacks(self, pid: int, tids: Sequence[int], registers: memoryview[int]) -> tuple[list[Stack], int]:
        """The pieces to search, and how many threads are on a foreign stack. Raises StackUnknown."""
        found: list[Stack] = []
        foreign = 0
        for tid, rsp, fs_base in zip(
            tids, registers[x86_64.RSP :: x86_64.WORDS], registers[x86_64.FS_BASE :: x86_64.WORDS], strict=True
        ):
            index = self._index(rsp)
            if index < 0:
                raise StackUnknown(tid, f"has its stack pointer {rsp:#x} in no writable mapping")
            # whole words from below the stack pointer on: it need not be aligned
            found.append(Stack(tid, rsp & ~7, self._ends[index] - (rsp & ~7)))
            home = self._index(fs_base) if fs_base else self._main
            if index not in (home, self._main):
                foreign += 1
                # its own stack: where its thread control block is, or for the main thread [stack]; how much of it is in use
                # cannot be known
                for other in {home, self._main if tid == pid else -1} - {-1, index}:
                    found.append(Stack(tid, self._starts[other], self._ends[other] - self._starts[other]))
        return found, foreign
