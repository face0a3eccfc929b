"""Where a suspended coroutine rests: the registers that sigsetjmp saved when it left its stack, found and read from
outside.

The structure with the jmp_buf is known by a pointer to it near the outermost end of the stack, where the coroutine's
first function keeps what it was started with. Which functions leave a stack so is told by the patch
(`Record.suspends`); a buffer counts only when its program counter is in one of them and its stack pointer on the stack.
glibc's mangling is undone with the process's secret.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

from suture.number import Address
from suture.process import syscall, x86_64
from suture.process.memory import memory
from suture.process.stack.frame import RA, RSP

_WORD = 8
_OUTERMOST = 512  # how far from a stack's end the pointer may be
_STRUCTURE = 512  # how far into what it points to the buffer may be
_LOWEST = 1 << 16
_ROW = _WORD + x86_64.JUMP_BUFFER_WORDS * _WORD


@dataclass(frozen=True, slots=True)
class Resting:
    """The word at `slot` on the stack holds `pointer`, and behind that is the jmp_buf at `buffer`."""

    slot: int
    pointer: int
    buffer: int


class RestingPlaces:
    """Finds and reads the saved registers of one process's suspended stacks."""

    def __init__(self, pid: int, suspends: Sequence[range]) -> None:
        self.pid = pid
        self._suspends = suspends
        self._usual: tuple[int, int] | None = None  # distance of slot from stack's end, of buffer from pointer

    def __bool__(self) -> bool:
        return bool(self._suspends)

    def find(self, start: int, end: int, guard: int) -> tuple[Resting, ...]:
        """Before a stop: the places of a stack, with whatever they hold now. All coroutines of a program are made
        alike, so where the last one was found is looked first."""
        if self._usual is not None:
            slot = end - self._usual[0]
            pointer = int.from_bytes(memory.try_read(self.pid, Address(slot), _WORD), "little")
            here = Resting(slot, pointer, pointer + self._usual[1])
            words = (
                array("Q", memory.try_read(self.pid, Address(here.buffer), _ROW - _WORD))
                if _sensible(pointer)
                else array("Q")
            )
            if len(words) == x86_64.JUMP_BUFFER_WORDS and self._registers(words, start, end, guard):
                return (here,)
        found = []
        low = max(start, end - _OUTERMOST)
        outermost = array("Q", memory.try_read(self.pid, Address(low), end - low))
        for number, pointer in enumerate(outermost):
            if not _sensible(pointer):
                continue
            data = memory.try_read(self.pid, Address(pointer), _STRUCTURE)
            words = array("Q", data[: len(data) & ~7])
            for index in range(len(words) - x86_64.JUMP_BUFFER_WORDS + 1):
                part = words[index : index + x86_64.JUMP_BUFFER_WORDS]
                if self._registers(part, start, end, guard):
                    found.append(Resting(low + number * _WORD, pointer, pointer + index * _WORD))
        if found and len({r.buffer for r in found}) == 1:
            self._usual = end - found[0].slot, found[0].buffer - found[0].pointer
        return tuple(found)

    def read(self, stacks: Sequence[tuple[int, int, tuple[Resting, ...]]], guard: int) -> list[list[dict[int, int]]]:
        """Inside the stop: for each stack (start, end, places) the registers that were saved of it; none when it is not
        sure any more."""
        ranges = array("Q")
        for _, _, places in stacks:
            for r in places:
                ranges.extend((r.slot, _WORD, r.buffer, _ROW - _WORD))
        words = array("Q", bytes(len(ranges) // 4 * _ROW))
        if not words:
            return [[] for _ in stacks]
        base = syscall.address_of(words)
        if syscall.process_vm_readv_into(self.pid, base, ranges) != len(words) * _WORD:
            return [[] for _ in stacks]
        found: list[list[dict[int, int]]] = []
        at = 0
        for start, end, places in stacks:
            rows: list[dict[int, int]] = []
            sure = True
            for r in places:
                registers = self._registers(words[at + 1 : at + _ROW // _WORD], start, end, guard)
                if words[at] != r.pointer or registers is None:
                    sure = False
                else:
                    rows.append(registers)
                at += _ROW // _WORD
            found.append(rows if sure else [])
        return found

    def _registers(self, words: Sequence[int], start: int, end: int, guard: int) -> dict[int, int] | None:
        if not start <= x86_64.demangle(words[x86_64.JUMP_BUFFER_RSP], guard) < end:
            return None
        registers = x86_64.jump_buffer(words, guard)
        if any(registers[RA] in function for function in self._suspends) and registers[RSP] % _WORD == 0:
            return registers
        return None


def _sensible(pointer: int) -> bool:
    return pointer % _WORD == 0 and _LOWEST <= pointer < 1 << 47
