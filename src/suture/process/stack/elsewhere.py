"""Suspended stacks that have no shape: in memory from malloc, in arrays, in plain mappings. Found by what any of them
holds: the address in old code at which it will go on.

Searched is all private memory that can be written and is there, but for what `coroutine` searches and the main thread's
stack. A word counts that lies inside forbidden code behind its first byte: no pointer to a function does, and whoever
holds such a word means to go on there. Left out are landing pads in C++ exception objects, which stay in freed memory.

That is done where the code of the process can leave a stack at all (`switching`), or a thread was seen on another stack
than its own: once before a stop, which spares a process the pause that would be in vain, and again in it. A process
with more of such memory than can be searched in a stop is not patched, unless no call, from which a function would
return there, lies in the forbidden code, as in the few bytes of an entry (a relaxed patch). Of memory that is shared
with other processes nothing is searched.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence

from suture.number import Address
from suture.process.memory import memory
from suture.process.memory.maps import Mapping, Maps
from suture.process.stack.resident import Resident
from suture.process.stack.stack import ELSEWHERE, OTHER_WAYS, Forbidden, Hit, Range, StackUnknown
from suture.process.stack.switching import may_switch_stacks

_MOST_BYTES = 64 << 20
_MOST_SPAN = 1 << 38
_PATCH = b"/memfd:suture:"
_CXX_CLASSES = frozenset({int.from_bytes(b"GNUCC++\0", "big"), int.from_bytes(b"GNUCC++\1", "big")})
_CLASS_AFTER_PAD = 16  # from catchTemp to exception_class in __cxa_exception (libsupc++/unwind-cxx.h)
_WORD = 8
_LONGEST_CALL = 7
_ENTRY = 64


class Elsewhere:
    """Of one process, kept from stop to stop. `is_needed` False: nothing is ever searched."""

    def __init__(self, resident: Resident, is_needed: bool) -> None:
        self._resident = resident
        self._is_needed = is_needed
        self._raw = b""
        self._code: tuple[bytes, ...] = ()
        self.may_switch = False
        self.searched = 0

    def follow(self, maps: Maps) -> None:
        """Before a stop: take notice of the mappings."""
        if self._is_needed and not self.may_switch and maps.raw != self._raw:
            self.may_switch = may_switch_stacks(self._resident.pid, maps)
        self._raw, self._code = maps.raw, _code(maps)

    def suspect(self) -> None:
        """A thread was on another stack than its own."""
        self.may_switch = self._is_needed

    def search(self, maps: Maps, stacks: Collection[int], forbidden: Forbidden) -> list[Hit]:
        """Words that lead into forbidden code. `stacks` are the starts of mappings that are searched as such. Raises
        StackUnknown when that cannot be told."""
        self.searched = 0
        if not self.may_switch:
            if self._is_needed and maps.raw != self._raw and _code(maps) != self._code:
                raise StackUnknown(ELSEWHERE, "may be made by code that has just been loaded")
            return []
        found = spans(maps, stacks)
        if sum(end - start for start, end in found) > _MOST_SPAN:
            if not self._may_return_into(forbidden):
                return []
            raise StackUnknown(
                ELSEWHERE,
                f"may lie anywhere in more than {_MOST_SPAN >> 30} GiB that are reserved, as by AddressSanitizer, "
                "and that is not searched",
                OTHER_WAYS,
                lasts=True,
            )
        ranges = array("Q")
        for row in self._resident.pages(found):
            ranges += row
        self.searched = sum(ranges[1::2])
        if self.searched > _MOST_BYTES:
            if not self._may_return_into(forbidden):
                self.searched = 0
                return []
            raise StackUnknown(
                ELSEWHERE,
                f"may lie anywhere in {self.searched >> 20} MiB, and no more than {_MOST_BYTES >> 20} MiB can be "
                "searched while the process stands still",
                f"{OTHER_WAYS}; trying again helps only when the program has given memory back",
            )
        return [
            Hit(ELSEWHERE, address, value, held)
            for address, value in self._resident.words(ranges, forbidden)
            for held in forbidden.holding(value)
            if value != held.start and self._counts(address, value, held.holds_entries)
        ]

    def _counts(self, address: int, value: int, must_follow_call: bool) -> bool:
        if must_follow_call and not self._follows_call(value):
            return False
        behind = memory.try_read(self._resident.pid, Address(address + _CLASS_AFTER_PAD), _WORD)
        return int.from_bytes(behind, "little") not in _CXX_CLASSES

    def _may_return_into(self, forbidden: Forbidden) -> bool:
        return any(self._holds_call(r) for r in forbidden.ranges)

    def _holds_call(self, r: Range) -> bool:
        """Whether a return address may lie in a range. The few bytes of an entry have no call as a rule."""
        return r.end - r.start > _ENTRY or any(self._follows_call(value) for value in range(r.start + 1, r.end))

    def _follows_call(self, value: int) -> bool:
        """Whether the code before an address can be a call (Intel SDM volume 2: E8 rel32, FF /2 of 2 to 7 bytes)."""
        code = memory.try_read(self._resident.pid, Address(value - _LONGEST_CALL), _LONGEST_CALL)
        return (
            len(code) < _LONGEST_CALL
            or code[-5] == 0xE8
            or any(code[-n] == 0xFF and code[1 - n] & 0x38 == 0x10 for n in (2, 3, 4, 6, 7))
        )


def spans(maps: Maps, stacks: Collection[int]) -> list[tuple[int, int]]:
    """(start, end) of the memory that may hold a suspended stack, without the mappings that begin at `stacks`."""
    return [(m.start, m.end) for m in maps.mappings if _may_hold(m) and m.start not in stacks]


def _code(maps: Maps) -> tuple[bytes, ...]:
    return tuple(line for line in maps.raw.split(b"\n") if b"x" in line.partition(b" ")[2][:4])


def _may_hold(m: Mapping) -> bool:
    return m.readable and m.writable and m.private and m.name != b"[stack]" and not m.name.startswith(_PATCH)


def all_in_the_way(hits: Sequence[Hit], owners: int) -> bool:
    """Whether every one of the transitions 0..`owners` has a hit."""
    return len({h.range.owner for h in hits}) == owners
