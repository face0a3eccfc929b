"""Room for a signal frame in a thread's own stack that is nobody's.

Below a stack pointer there need not be any: it may be in a coroutine of a few KiB, or on a tiny signal stack, with
other data under it. Looked for instead are pages of the thread's own stack, below its stack pointer, in which nothing
has ever been written but by us. Where the stack has none any more, the room below the stack pointer is taken, if
unwinding proves that the thread is on its own stack: the outermost frame is the first one that the stack can have.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from suture.number import Address
from suture.process.memory import memory
from suture.process.memory.maps import Maps
from suture.process.proc import read_file
from suture.process.stack.frame import NoFrame
from suture.process.stack.resident import Resident
from suture.process.stack.stack import StackUnknown
from suture.process.stack.unwind import Unwinder, frames, thread_registers
from suture.process.syscall import Registers

_PAGE = 4096
_WORD = 8
_CONTROL_BLOCK = 2304  # struct pthread of glibc; musl's is smaller
_MOST_ABOVE_BLOCK = 64 << 10
_MOST_LOOKED_AT = 1 << 20  # below the stack pointer
_MOST_UNWOUND = 1 << 20
_FIRST_FRAME = 64  # what _start pushes before it calls
MARK = b"room for suture\0"
"""What fills the pages that a borrowed thread had: nobody else has written to them then."""
_START_STACK = 25  # startstack, counted from the state (proc_pid_stat(5))


@dataclass(frozen=True)
class StackRoom:
    """There is room below the red zone of a stack pointer `top`. `start`..`end` are the pages without content that it
    lies in, none when it is below the thread's own stack pointer."""

    top: int
    start: int = 0
    end: int = 0


def own_stack(pid: int, is_main: bool, fs_base: int, maps: Maps) -> tuple[int, int] | None:
    """(low, high) of the stack that a thread was started with, as far as it is mapped; None when that cannot be told.

    The main thread's is [stack]. For others the control block tells it: base, size and guard size stand in a row
    (stackblock in nptl/descr.h; map_base in musl's pthread_impl.h).
    """
    if is_main:
        found = next((m for m in maps.mappings if m.name == b"[stack]"), None)
        return None if found is None else (found.start, found.end)
    here = maps.at(Address(fs_base))
    if here is None or not here.writable:
        return None
    data = memory.try_read(pid, Address(fs_base), min(_CONTROL_BLOCK, here.end - fs_base))
    words = array("Q", data[: len(data) & ~7])
    for base, size, guard in zip(words, words[1:], words[2:], strict=False):
        if base < fs_base < base + size <= fs_base + _MOST_ABOVE_BLOCK:
            low = max(base + guard if guard < size else base, here.start)
            return (low, fs_base) if low < fs_base else None
    return None


def find_room(pid: int, tid: int, is_main: bool, registers: Registers, maps: Maps, size: int) -> StackRoom | None:
    """Room of `size` bytes, red zone included. None when there is none."""
    own = own_stack(pid, is_main, registers.fs_base, maps)
    if own is None:
        return None
    low, high = own
    if not low <= registers.rsp < high:  # how much of it is in use cannot be known: the less the further down
        return _unwritten(pid, low, min(high, low + _MOST_LOOKED_AT), size)
    top = int(registers.rsp)
    found = _unwritten(pid, max(low, top - _MOST_LOOKED_AT), top, size)
    return found or _below(pid, tid, is_main, registers, maps, own, size)


def _unwritten(pid: int, low: int, top: int, size: int) -> StackRoom | None:
    """The upper end of the lowest `size` bytes in pages without any content."""
    end = top // _PAGE * _PAGE
    start = -(-low // _PAGE) * _PAGE
    if end - start < size:
        return None
    resident = Resident(pid)
    try:
        taken = resident.pages([(start, end)])[0]
    except StackUnknown:
        return None
    finally:
        resident.close()
    used = {
        page
        for address, length in zip(taken[::2], taken[1::2], strict=True)
        for page in range(address, address + length, _PAGE)
    }
    free = 0
    for page in range(start, end, _PAGE):
        if page in used and memory.try_read(pid, Address(page), _PAGE) != MARK * (_PAGE // len(MARK)):
            free = 0
            continue
        free += _PAGE
        if free >= size:
            return StackRoom(page + _PAGE, page + _PAGE - free, page + _PAGE)
    return None


def _below(
    pid: int, tid: int, is_main: bool, registers: Registers, maps: Maps, own: tuple[int, int], size: int
) -> StackRoom | None:
    """The stack pointer, when the thread is surely on its own stack and there is room."""
    low, high = own
    top = int(registers.rsp)
    if not low <= top < high or top - size < low:
        return None
    start = top & ~7
    data = memory.try_read(pid, Address(start), min(high - start, _MOST_UNWOUND))
    words = array("Q", data[: len(data) & ~7])

    def word(address: int) -> int:
        distance = address - start
        if distance % _WORD or not 0 <= distance < len(words) * _WORD:
            raise NoFrame(f"{address:#x} is not on the stack")
        return words[distance // _WORD]

    unwinder = Unwinder(pid)
    unwinder.follow(maps)
    try:
        outermost = frames(thread_registers(list(array("Q", bytes(registers)))), unwinder.row, word)[-1][1]
    except NoFrame:
        return None
    first = _start_stack(tid) if is_main else high
    if is_main:
        return StackRoom(top) if 0 <= first - outermost <= _FIRST_FRAME else None
    # between the first frame and the control block there are thread-local variables, but no frame
    above = words[(outermost - start) // _WORD : (first - start) // _WORD]
    return None if any(_is_code(maps, value) for value in above) else StackRoom(top)


def _is_code(maps: Maps, value: int) -> bool:
    mapping = maps.at(Address(value))
    return mapping is not None and mapping.executable


def _start_stack(tid: int) -> int:
    raw = read_file(tid, "stat")
    return int(raw[raw.rindex(b")") + 2 :].split()[_START_STACK])
