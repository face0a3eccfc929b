"""Stacks that no thread is on, found by their shape: suspended coroutines with a guard page. Searched in every stop.

What counts as one: an anonymous, private mapping that can be written and not executed, with a guard page (no access)
directly below it, of at most 64 MiB. Left out are a thread's own stack, a stack that an ended thread has left to the C
library for the next one (its control block is still at the upper end, and no thread has it), and the arenas of malloc.
Of the rest every page that the kernel has in memory or in swap is searched, word by word; when that is too much, the
process is left as it is. Stacks without this shape are `elsewhere`'s.

Remains of earlier calls are told from frames where the patch knows the functions in which the program's coroutines
stand while they are suspended (`Record.suspends`, from the recipe: functions that leave a stack with sigsetjmp and
siglongjmp). Then the saved registers of a suspended stack are looked up (`resting`): what lies below its stack pointer
is dead, and the rest is unwound. That is believed only in a stop in which every thread is on its own stack, because
only then each coroutine has left by such a function. Mappings of another size than those of stacks so found are left
out then. Without that knowledge every word counts, and a coroutine that is kept for later use may be in the way until
it is used again.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

from suture.number import Address
from suture.process import x86_64
from suture.process.error import NoPermission, NoProcess
from suture.process.memory import memory
from suture.process.memory.maps import Mapping, Maps
from suture.process.proc import open_file, read_auxv
from suture.process.stack.frame import RSP, NoFrame, Word
from suture.process.stack.resident import Resident
from suture.process.stack.resting import Resting, RestingPlaces
from suture.process.stack.stack import NO_THREAD, OTHER_WAYS, Forbidden, Hit, StackUnknown
from suture.process.stack.unwind import Unwinder, frames

_MOST_STACK = 64 << 20
_MOST_RESIDENT = 64 << 20
_ARENA_ALIGNMENT = 64 << 20  # HEAP_MAX_SIZE of glibc (malloc/arena.c)
_CONTROL_BLOCK_ROOM = 8192  # struct pthread has 2304 bytes and stands at the upper end (nptl/allocatestack.c)
_PAGE = 4096
_WORD = 8
_PATIENCE = 5  # stops in which a thread in a coroutine is waited for
_AT_RANDOM = 25


@dataclass(frozen=True, slots=True)
class Suspended:
    """A mapping that may be a suspended stack. `block`: where a thread's control block stands at its upper end (0:
    none).

    `resting`: where the saved registers are, none when that is not known.
    """

    start: int
    end: int
    block: int = 0
    resting: tuple[Resting, ...] = ()


def candidates(maps: Maps) -> list[Mapping]:
    """The mappings with the shape of a stack that somebody made with mmap and a guard page."""
    rows = maps.mappings
    return [
        this
        for below, this in pairwise(rows)
        if this.readable
        and this.writable
        and not this.executable
        and this.private
        and not this.inode
        and (not this.name or this.name.startswith(b"[anon:"))
        and this.end - this.start <= _MOST_STACK
        and below.end == this.start
        and not (below.readable or below.writable or below.executable)
        and not below.inode
    ]


class SuspendedStacks:
    """Of one process, kept from stop to stop, until `close`. Raises NoProcess, NoPermission."""

    def __init__(self, resident: Resident, unwinder: Unwinder, suspends: Sequence[range] = ()) -> None:
        self.pid = pid = resident.pid
        self._resident = resident
        self._unwinder = unwinder
        self._places = RestingPlaces(pid, suspends)
        self._guard = _first_secret(pid) if self._places else 0
        self._patience = _PATIENCE
        self._unknown: list[tuple[dict[int, int], Word]] = []
        self.searched = 0
        self._raw = b""
        self._pages_in_all = b""
        self._stacks: list[Suspended] = []
        self._known: dict[tuple[Address, Address], Suspended | None] = {}
        self._statm = open_file(pid, "statm")

    def close(self) -> None:
        os.close(self._statm)

    def follow(self, maps: Maps) -> None:
        """Before a stop: take notice of the mappings. What is a thread's stack is known by the control block in it."""
        self._pages_in_all = self._size()
        self._raw = maps.raw
        known = {}
        for m in candidates(maps):
            key = (m.start, m.end)
            before = self._known.get(key)
            if before is None or not (before.block or before.resting):
                before = None if self._is_arena(m) else self._look(m)
            known[key] = before
        self._known = known
        self._stacks = [s for s in known.values() if s is not None]

    @property
    def starts(self) -> frozenset[int]:
        """Where the mappings begin that count as stacks, those of threads included."""
        return frozenset(s.start for s in self._stacks)

    def _look(self, m: Mapping) -> Suspended:
        block = self._control_block(m)
        looks = self._places and not block
        return Suspended(m.start, m.end, block, self._places.find(m.start, m.end, self._guard) if looks else ())

    def search(
        self, maps: Maps | None, tids: Sequence[int], registers: memoryview[int], forbidden: Forbidden, foreign: int
    ) -> list[Hit]:
        """Inside the stop: forbidden addresses on all suspended stacks. `maps` are of this moment, None when they need
        not be known (`needs_map`). `foreign` is how many threads are on stacks not their own.

        Raises StackUnknown when one cannot be read, or when there are too many.
        """
        self._unknown = []
        self.searched = 0
        if maps is not None and maps.raw != self._raw:
            self.follow(maps)
        stacks = self._without_threads(tids, registers)
        if not stacks:
            return []
        self._guard = self._secret(registers)
        saved: dict[Suspended, list[dict[int, int]]] = {}
        resting = [s for s in stacks if s.resting]
        if resting:  # then all coroutines of the program are known to be made alike, and other memory is none
            stacks = _of_sizes({s.end - s.start for s in resting}, stacks)
        if foreign and resting and self._patience:
            # searching all of them costs a long pause, and soon the thread will be on its own stack again
            self._patience -= 1
            raise StackUnknown(NO_THREAD, "is not sure to stand where it is known to while a thread is in another")
        if not foreign:
            rows = self._places.read([(s.start, s.end, s.resting) for s in resting], self._guard)
            saved = {s: r for s, r in zip(resting, rows, strict=True) if r}
        ranges = array("Q")
        for stack, found in saved.items():
            low = min(r[RSP] for r in found) & ~7
            ranges.extend((low, stack.end - low))
        self.searched = len(stacks)
        pages = array("Q")
        for pieces in self._resident.pages([(s.start, s.end) for s in stacks if s not in saved]):
            pages += pieces
        if (size := sum(pages[1::2])) > _MOST_RESIDENT:
            raise StackUnknown(
                NO_THREAD,
                f"may lie anywhere in {size >> 20} MiB, and no more than {_MOST_RESIDENT >> 20} MiB can be searched "
                "while the process stands still",
                OTHER_WAYS,
            )
        hits = self._search(ranges + pages, forbidden)
        return self._without_remains(hits, saved, forbidden) if hits and saved else hits

    def needs_map(self) -> bool:
        """Inside the stop: whether the mappings may have changed in a way that matters, as far as this can be told
        without reading them."""
        return any(not s.block for s in self._stacks) or self._size() != self._pages_in_all

    def learn(self) -> None:
        """After the stop: look up the unwind rows that were missing in it."""
        for registers, word in self._unknown:
            with suppress(NoFrame):
                frames(registers, self._unwinder.row, word)

    def _secret(self, registers: memoryview[int]) -> int:
        """What glibc mangles pointers with, the same in all threads (tcbhead_t.pointer_guard)."""
        guard = memory.try_read(self.pid, Address(registers[x86_64.FS_BASE] + x86_64.POINTER_GUARD), _WORD)
        return int.from_bytes(guard, "little")

    def _size(self) -> bytes:
        """The size of all mappings, in pages, as text (proc_pid_statm(5))."""
        return os.pread(self._statm, 64, 0).split(b" ", 1)[0]

    def _control_block(self, m: Mapping) -> int:
        """Address of a thread's control block near the mapping's end: it holds its own address twice (tcbhead_t,
        sysdeps/x86_64/nptl/tls.h)."""
        start = max(m.start, m.end - _CONTROL_BLOCK_ROOM)
        data = memory.try_read(self.pid, Address(start), m.end - start)
        # words that point into the same 64 KiB as the block: few, so that the rest need not be looked at
        for near in {start >> 16, (m.end - _WORD) >> 16}:
            pattern = near.to_bytes(6, "little")
            at = data.find(pattern)
            while at >= 0:
                place = at - 2
                own = (start + place).to_bytes(_WORD, "little")
                if place % 16 == 0 and data[place : place + 8] == own and data[place + 16 : place + 24] == own:
                    return start + place
                at = data.find(pattern, at + 1)
        return 0

    def _is_arena(self, m: Mapping) -> bool:
        """struct _heap_info at the start of each heap of an arena (malloc/arena.c): its fourth word is the size that
        can be written."""
        if m.start % _ARENA_ALIGNMENT:
            return False
        words = array("Q", memory.try_read(self.pid, m.start, 4 * _WORD))
        return len(words) == 4 and words[3] == m.end - m.start and 0 < words[2] <= words[3]

    def _without_threads(self, tids: Sequence[int], registers: memoryview[int]) -> list[Suspended]:
        """Leave out what threads have as their own, and what ended threads have left. What lies above a thread's
        control block in the same mapping is not the thread's. The main thread's stack is another; its control block
        stands in any memory."""
        blocks = set(registers[x86_64.FS_BASE :: x86_64.WORDS])
        main = 0
        if self.pid in tids:
            main = registers[tids.index(self.pid) * x86_64.WORDS + x86_64.FS_BASE]
            blocks.discard(main)
        rest = [s for s in self._stacks if s.block not in blocks]
        if not rest:
            return rest
        # a thread whose stack is younger than the map is known by its registers
        own, used = sorted(blocks), sorted(registers[x86_64.RSP :: x86_64.WORDS])
        found = []
        for s in rest:
            at = bisect_left(own, s.start)
            if at < len(own) and own[at] < s.end:
                above = (own[at] + _CONTROL_BLOCK_ROOM) // _PAGE * _PAGE
                found += [Suspended(above, s.end)] if above < s.end else []
            elif self._places and bisect_left(used, s.start) != bisect_left(used, s.end):
                continue  # a coroutine has a mapping of its own in such a program, and this one is not suspended
            elif not s.block or s.block == main or not self._is_left(s.block):
                found.append(s)
        return found

    def _is_left(self, block: int) -> bool:
        words = array("Q", memory.try_read(self.pid, Address(block), 3 * _WORD))
        return len(words) == 3 and words[0] == words[2] == block

    def _search(self, ranges: array[int], forbidden: Forbidden) -> list[Hit]:
        return [
            Hit(NO_THREAD, address, value, held)
            for address, value in self._resident.words(ranges, forbidden)
            for held in forbidden.holding(value)
        ]

    def _without_remains(
        self, hits: Sequence[Hit], saved: dict[Suspended, list[dict[int, int]]], forbidden: Forbidden
    ) -> list[Hit]:
        """What stays when stacks whose saved registers are known have been unwound."""
        by_stack: dict[Suspended, list[Hit]] = {}
        starts = [s.start for s in self._stacks]
        for hit in hits:
            by_stack.setdefault(self._stacks[bisect_right(starts, hit.address) - 1], []).append(hit)
        real: list[Hit] = []
        for stack, own in by_stack.items():
            found = self._frames(stack, saved.get(stack, []))
            if found is None:
                real += own
            else:
                real += [Hit(NO_THREAD, 0, pc, r) for pc in found for r in forbidden.holding(pc)]
        return real

    def _frames(self, stack: Suspended, saved: Sequence[dict[int, int]]) -> list[int] | None:
        """Program counters of all frames on a suspended stack; None when that cannot be told."""
        found: list[int] = []
        for registers in saved:
            word = self._reader(registers[RSP], stack.end)
            try:
                found += [pc for pc, _ in frames(registers, self._unwinder.known_row, word)]
            except NoFrame:
                self._unknown.append((registers, word))
                return None
        return found if saved else None

    def _reader(self, low: int, high: int) -> Word:
        start = low & ~7
        words = array("Q", memory.try_read(self.pid, Address(start), high - start)[: (high - start) & ~7])

        def word(address: int) -> int:
            distance = address - start
            if distance % _WORD or not 0 <= distance < len(words) * _WORD:
                raise NoFrame(f"{address:#x} is not on the stack")
            return words[distance // _WORD]

        return word


def _of_sizes(sizes: set[int], stacks: Sequence[Suspended]) -> list[Suspended]:
    """Stacks of the sizes that a program makes. A larger mapping may be one that the kernel has merged with what lies
    above it."""
    return [
        s if s.end - s.start in sizes else Suspended(s.start, s.start + max(sizes))
        for s in stacks
        if s.end - s.start in sizes or s.end - s.start > max(sizes)
    ]


def _first_secret(pid: int) -> int:
    """glibc's pointer guard as the dynamic loader takes it from what the kernel gave (elf/rtld.c,
    _dl_setup_pointer_guard); 0 when that cannot be read. In a stop the thread's own is taken."""
    try:
        place = read_auxv(pid).get(_AT_RANDOM, 0)
    except (NoProcess, NoPermission):
        return 0
    return int.from_bytes(memory.try_read(pid, Address(place + _WORD), _WORD), "little")
