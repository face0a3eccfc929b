"""Is any thread inside a function, or going to return into it? A conservative look at every word of every stack.

Any 8-aligned word between the stack pointer and the end of the stack that lies in a forbidden range counts, and so does
the program counter. A stack ends where its thread's control block begins, or with its mapping where there is no such
block above. Old words that mean nothing any more count too: that errs on the side of waiting. A thread on another stack
than its own (alternate signal stack, coroutine) has both searched. Stacks that no thread is on at the moment are
`coroutine`'s.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from suture.process import syscall, x86_64
from suture.process.memory.maps import Maps
from suture.process.stack.frame import NoFrame
from suture.refusal import RESTART

MOST_STACK_BYTES = 256 << 20
OTHER_WAYS = f"make the patch with --relaxed REASON if old code may go on beside the new code, or {RESTART}"
_USUAL_STACK_BYTES = 8 << 20
_FIRST_BYTES = 1 << 20
_PAGE = 4096
_WORD = 8
_NO_STACK = array("Q")

NO_THREAD = 0
"""The thread number of a `Hit` on a suspended stack."""
ELSEWHERE = -1
"""The thread number of a `Hit` in memory that is no known stack."""


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses `start`..`end` (end excluded) where no thread may be. `owner` tells whose it is, `what` names it for
    people.

    `holds_entries`: functions begin in it, so that a word with an address inside need not be a return address.
    """

    start: int
    end: int
    owner: int
    what: str
    holds_entries: bool = False


@dataclass(frozen=True, slots=True)
class Hit:
    """Thread `tid` is inside `range`: `value` stands at stack `address` (0: in the program counter)."""

    tid: int
    address: int
    value: int
    range: Range


class Stacks:
    """Pieces of stack to search, piece n of thread `tids[n]`; a thread may have several. `ranges` are address, size,
    address, size, ...

    Flat, because a stop with 512 threads has no time for 512 objects. `foreign` are the threads that are on another
    stack than their own.
    """

    def __init__(self, tids: Sequence[int], ranges: array[int], foreign: frozenset[int] = frozenset()) -> None:
        self.tids, self.ranges, self.foreign = tids, ranges, foreign
        self.size = sum(ranges[1::2])

    @cached_property
    def offsets(self) -> list[int]:
        """Where each piece stands when all are read one behind the other."""
        return list(accumulate(self.ranges[1:-2:2], initial=0))

    def piece_at(self, offset: int) -> int:
        """Number of the piece that holds an offset. Empty pieces hold none."""
        return bisect_right(self.offsets, offset) - 1

    def hold(self, tid: int, address: int) -> bool:
        """Whether a piece of this thread's covers an address."""
        starts, sizes = self.ranges[::2], self.ranges[1::2]
        return any(
            t == tid and start <= address < start + size
            for t, start, size in zip(self.tids, starts, sizes, strict=True)
        )

    def with_more(self, pieces: Sequence[tuple[int, int, int]]) -> Stacks:
        """The same and further pieces: thread, address, size of each."""
        ranges = self.ranges + array("Q", [v for _, address, size in pieces for v in (address, size)])
        return Stacks(
            [*self.tids, *(tid for tid, _, _ in pieces)], ranges, self.foreign | {tid for tid, _, _ in pieces}
        )

    def present(self, tid: int) -> int:
        """Number of the piece that a thread is on now: its first."""
        return self.tids.index(tid)


class StackUnknown(Exception):
    """A stack pointer that points into no mapping that could be a stack; `tid` has it. `lasts`: it will be so until the
    process ends."""

    def __init__(self, tid: int, why: str, remedy: str = "", lasts: bool = False) -> None:
        super().__init__(f"thread {tid} {why}")
        self.tid = tid
        self.why = why
        self.remedy = remedy
        self.lasts = lasts


class Forbidden:
    """Ranges, prepared so that searching costs little while a process is stopped.

    `returns` is where signal handlers return to: a word with such an address begins a signal frame.
    """

    def __init__(self, ranges: Iterable[Range], returns: Sequence[int] = ()) -> None:
        self.returns = frozenset(returns)
        self.ranges = sorted(ranges, key=lambda r: (r.start, r.end))
        self._starts = [r.start for r in self.ranges]
        self._longest = max((r.end - r.start for r in self.ranges), default=0)
        self.low = self._starts[0] if self._starts else 0
        self.high = max((r.end for r in self.ranges), default=0)
        self._needles = _needles(self.ranges)
        self._return_needles = [_needle(8, block) for block in sorted({r >> 8 for r in returns})]

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
        """(offset, value) of each 8-aligned word of `buffer[:size]` whose high bytes are those of a range."""
        return _words(buffer, size, self._needles)

    def signal_frames_in(self, buffer: bytearray, size: int) -> list[int]:
        """Offset of each word that begins a signal frame."""
        return [offset for offset, value in _words(buffer, size, self._return_needles) if value in self.returns]


def _words(buffer: bytearray, size: int, needles: Sequence[_Needle]) -> Iterable[tuple[int, int]]:
    """One byte of each word is enough to leave nearly all out: all bytes at its place, taken with one slice, are
    searched for one value (memchr); the few words that it finds are looked at one by one. A loop over all words would
    cost 50 times this.
    """
    words = memoryview(buffer).cast("Q")
    for needle in needles:
        plane = buffer[needle.place : size : _WORD]
        index = plane.find(needle.value)
        while index >= 0:
            if words[index] >> needle.shift == needle.block:
                yield index * _WORD, words[index]
            index = plane.find(needle.value, index + 1)


@dataclass(frozen=True, slots=True)
class _Needle:
    """Words with word >> `shift` == `block`; each has `value` as its byte at `place`."""

    shift: int
    block: int
    place: int
    value: int


def _needles(ranges: Sequence[Range]) -> list[_Needle]:
    """What to look for so that no word of a range is missed. Blocks of 64 KiB while they are few, else of 16 MiB."""
    for shift in (16, 24):
        blocks = {block for r in ranges for block in range(r.start >> shift, (r.end - 1 >> shift) + 1)}
        if len(blocks) <= 2 or shift == 24:
            break
    return [_needle(shift, block) for block in sorted(blocks)]


def _needle(shift: int, block: int) -> _Needle:
    # the lowest byte that all of the block share tells most, unless it is one of the values that small numbers have
    # there
    tail = block.to_bytes(_WORD, "little")[: _WORD - shift // 8]
    place = next((i for i, b in enumerate(tail) if b not in (0x00, 0xFF)), 0)
    return _Needle(shift, block, shift // 8 + place, tail[place])


_spare: list[bytearray] = []
"""The memory of a snapshot that is done with: for the next process, since making it ready is a good part of a short
job."""


class Snapshot:
    """Memory for the stacks of stopped threads, kept from one stop to the next."""

    def __init__(self) -> None:
        self._stacks = Stacks((), _NO_STACK)
        if _spare:
            self._use(_spare.pop())
        else:
            self._make_room(_FIRST_BYTES)

    def _make_room(self, size: int) -> None:
        self._use(bytearray(size + (size >> 1) & ~7))
        # touched now, because the page faults would come inside the stop
        self._buffer[::_PAGE] = bytes(len(range(0, len(self._buffer), _PAGE)))

    def _use(self, buffer: bytearray) -> None:
        self._buffer = buffer
        self._base = syscall.address_of(buffer)

    def give_back(self) -> None:
        """After the last stop; the snapshot is of no use any more."""
        if not _spare and len(self._buffer) <= 2 * _FIRST_BYTES:
            _spare.append(self._buffer)
        self._buffer, self._base, self._stacks = bytearray(), 0, Stacks((), _NO_STACK)

    def make_ready(self) -> None:
        """Between two stops: room for as much as the last one had."""
        if self._stacks.size > len(self._buffer):
            self._make_room(min(self._stacks.size, MOST_STACK_BYTES))

    def word_reader(self, tid: int) -> Callable[[int], int]:
        """The words of a thread's present stack as last read. The function raises NoFrame outside it."""
        at = self._stacks.present(tid)
        start, size = self._stacks.ranges[2 * at : 2 * at + 2]
        offset = self._stacks.offsets[at]
        words = memoryview(self._buffer).cast("Q")

        def word(address: int) -> int:
            distance = address - start
            if distance % _WORD or not 0 <= distance <= size - _WORD:
                raise NoFrame(f"{address:#x} is not on the stack")
            return words[(offset + distance) // _WORD]

        return word

    def on_present_stack(self, hit: Hit) -> bool:
        """Whether a hit is on the stack that its thread is on now."""
        at = self._stacks.present(hit.tid)
        start, size = self._stacks.ranges[2 * at : 2 * at + 2]
        return start <= hit.address < start + size

    def read(self, pid: int, stacks: Stacks) -> None:
        """Read all stacks in one go. Raises StackUnknown when one cannot be read."""
        self._stacks = stacks
        if stacks.size > len(self._buffer):
            if stacks.size > MOST_STACK_BYTES:
                raise StackUnknown(stacks.tids[0], f"and others have {stacks.size >> 20} MiB of stack in use")
            self._make_room(stacks.size)
        done = syscall.process_vm_readv_into(pid, self._base, stacks.ranges)
        if done != stacks.size:
            raise StackUnknown(stacks.tids[stacks.piece_at(done)], "has a stack that cannot be read")

    def signal_frames(
        self, tids: Sequence[int], registers: memoryview[int], forbidden: Forbidden
    ) -> list[tuple[int, int, bool]]:
        """Threads that are in a signal handler, with the stack pointer that the handler's frame says they had, and
        whether the frame is on the stack that the thread is on now. Old frames that mean nothing any more are among
        them."""
        stacks, words = self._stacks, memoryview(self._buffer).cast("Q")
        frames = [(stacks.piece_at(offset), offset) for offset in forbidden.signal_frames_in(self._buffer, stacks.size)]
        for tid, rip in zip(tids, registers[x86_64.RIP :: x86_64.WORDS], strict=True):
            if any(0 <= rip - start < x86_64.SIGRETURN_SIZE for start in forbidden.returns):
                at = stacks.present(tid)
                frames.append(
                    (at, stacks.offsets[at] - _WORD)
                )  # the handler has returned, so the frame's first word is off the stack
        found = []
        for at, offset in frames:
            saved = offset + x86_64.FRAME_RSP
            if saved < stacks.offsets[at] + stacks.ranges[2 * at + 1]:
                tid = stacks.tids[at]
                found.append((tid, words[saved // _WORD], at == stacks.present(tid)))
        return found

    def search(self, tids: Sequence[int], registers: memoryview[int], forbidden: Forbidden) -> list[Hit]:
        """Look for forbidden addresses in what was read, and in the program counters of `tids`."""
        low, high = forbidden.low, forbidden.high
        hits = [
            Hit(tid, 0, rip, r)
            for tid, rip in zip(tids, registers[x86_64.RIP :: x86_64.WORDS], strict=True)
            if low <= rip < high
            for r in forbidden.holding(rip)
        ]
        stacks = self._stacks
        for offset, value in forbidden.words_in(self._buffer, stacks.size):
            for held in forbidden.holding(value):
                at = stacks.piece_at(offset)
                hits.append(Hit(stacks.tids[at], stacks.ranges[2 * at] + offset - stacks.offsets[at], value, held))
        return hits


class StackMap:
    """Which mapping is whose stack: prepared before a stop, cheap inside it. The main thread's is [stack], wherever its
    control block is."""

    def __init__(self, maps: Maps) -> None:
        self.raw = maps.raw
        rows = [m for m in maps.mappings if m.readable and m.writable]
        self._starts = [m.start for m in rows]
        self._ends = [m.end for m in rows]
        self._main = next((i for i, m in enumerate(rows) if m.name == b"[stack]"), -1)

    def _index(self, address: int) -> int:
        index = bisect_right(self._starts, address) - 1
        return index if index >= 0 and address < self._ends[index] else -1

    def below_control_blocks(self, pid: int, tids: Sequence[int], registers: memoryview[int]) -> Stacks | None:
        """The pieces when each thread is on its own stack; None when one is not, or may not be: then `stacks` finds
        out.

        A thread's control block (fs_base) stands at the upper end of its own stack, whoever made it (pthread_create(3)
        lays it there, also with pthread_attr_setstack(3)), so all that the thread may return into is between stack
        pointer and block, whatever has been mapped or unmapped since the map was read. The piece must be readable as a
        whole: a guard page between the two tells that the pointer is on another stack. The main thread's stack ends
        where it ended before: it is never moved.
        """
        starts = [rsp & ~7 for rsp in registers[x86_64.RSP :: x86_64.WORDS]]
        sizes = [
            (fs_base & ~7) - start
            for start, fs_base in zip(starts, registers[x86_64.FS_BASE :: x86_64.WORDS], strict=True)
        ]
        if self._main >= 0 and pid in tids:
            main = tids.index(pid)
            if not self._starts[self._main] <= starts[main] < self._ends[self._main]:
                return None
            sizes[main] = self._ends[self._main] - starts[main]
        if not 0 < min(sizes) <= max(sizes) <= _USUAL_STACK_BYTES:
            return None
        ranges = array("Q", bytes(2 * _WORD * len(sizes)))
        ranges[::2], ranges[1::2] = array("Q", starts), array("Q", sizes)
        return Stacks(tids, ranges)

    def interrupted(self, stacks: Stacks, frames: Iterable[tuple[int, int, bool]]) -> list[tuple[int, int, int]]:
        """Pieces (thread, address, size) that were in use when signals came and that `stacks` do not hold: a handler
        may run above them on the same stack. `frames` are those of `Snapshot.signal_frames`; a pointer that points
        nowhere is of an old one."""
        pieces = []
        for tid, rsp in dict.fromkeys((tid, rsp) for tid, rsp, _ in frames):
            index = self._index(rsp)
            if index >= 0 and not stacks.hold(tid, rsp):
                pieces.append((tid, rsp & ~7, self._ends[index] - (rsp & ~7)))
        return pieces

    def stacks(self, pid: int, tids: Sequence[int], registers: memoryview[int]) -> Stacks:
        """The pieces to search, each to the end of its mapping. Raises StackUnknown."""
        owners: list[int] = []
        ranges = array("Q")
        foreign = set()
        for tid, rsp, fs_base in zip(
            tids, registers[x86_64.RSP :: x86_64.WORDS], registers[x86_64.FS_BASE :: x86_64.WORDS], strict=True
        ):
            index = self._index(rsp)
            if index < 0:
                raise StackUnknown(tid, f"has its stack pointer {rsp:#x} in no writable mapping")
            # whole words from below the stack pointer on: it need not be aligned
            owners.append(tid)
            ranges.extend((rsp & ~7, self._ends[index] - (rsp & ~7)))
            # a child of vfork is on its parent's
            home = self._main if self._main >= 0 and (tid == pid or index == self._main) else self._index(fs_base)
            if index != home:
                foreign.add(tid)
                # its own stack: where its thread control block is, or for the main thread [stack]; how much of it is in
                # use cannot be known
                if home >= 0:
                    owners.append(tid)
                    ranges.extend((self._starts[home], self._ends[home] - self._starts[home]))
        return Stacks(owners, ranges, frozenset(foreign))
