"""Code of the process that we make use of: where a system call can be made, and where signal handlers return to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from suture.error import Unsupported
from suture.number import Address
from suture.process import x86_64
from suture.process.memory import memory
from suture.process.memory.maps import Mapping, Maps
from suture.refusal import RESTART
from suture.report.reason import Reason

_MOST_SEARCHED = 64 << 20
_MOST_KNOWN = 4096


@dataclass(frozen=True)
class Gadgets:
    """Addresses of `syscall; ret` and of sigreturn trampolines in executable memory of the process; `call` 0 for none.

    `returns` are those of the C library and the program: the first word of a signal frame is one of them.
    """

    call: int
    returns: tuple[int, ...]

    @property
    def are_there(self) -> bool:
        return bool(self.call and self.returns)

    def require(self, pid: int) -> Gadgets:
        """Raises Unsupported when one is missing."""
        if self.are_there:
            return self
        raise Unsupported(
            f"pid {pid}: has no code to return from a signal with, so no thread can be borrowed safely",
            RESTART,
            reason=Reason.NO_SIGRETURN,
        )


# Offsets in a mapping of a file, by what identifies both: libraries are the same in every process. An inode's number
# may come to mean another file, so the bytes are looked at each time; that a file has none is not kept, since it could
# not be checked.
_known: dict[tuple[bytes, int, int, int], tuple[int, tuple[int, ...]]] = {}


def find_gadgets(pid: int, maps: Maps) -> Gadgets:
    """Look through the C library and the program, then, while something is missing, all other executable mappings."""
    call = 0
    returns: list[int] = []
    for must, mapping in _searched(maps):
        if call and returns and not must:
            break
        found_call, found_returns = _in_mapping(pid, mapping)
        if not call and found_call >= 0:
            call = mapping.start + found_call
        returns += [mapping.start + at for at in found_returns]
    return Gadgets(call, tuple(returns))


def gadgets_within(pid: int, start: int, size: int) -> Gadgets:
    """Those whose `syscall` is followed by an instruction in this range, by which Syscall User Dispatch knows that a
    call may be made (kernel/entry/syscall_user_dispatch.c)."""
    code = memory.try_read(pid, Address(start), min(size, _MOST_SEARCHED))
    call = code.find(x86_64.SYSCALL_RET)
    returns = tuple(start + m.start() for m in x86_64.SIGRETURN.finditer(code) if m.end() < len(code))
    return Gadgets(start + call if call >= 0 else 0, returns)


def _searched(maps: Maps) -> Iterator[tuple[bool, Mapping]]:
    """Mappings in order, whether each must be looked through in any case; bounded."""
    rows = [m for m in maps.mappings if m.executable and m.readable and m.name != b"[vsyscall]"]
    program = next((m for m in rows if m.inode), None)
    budget = _MOST_SEARCHED
    for mapping in sorted(rows, key=lambda m: (b"libc" not in m.name, m is not program)):
        budget -= mapping.end - mapping.start
        if budget < 0:
            return
        yield b"libc" in mapping.name or mapping is program, mapping


def _in_mapping(pid: int, mapping: Mapping) -> tuple[int, tuple[int, ...]]:
    key = (mapping.device, mapping.inode, mapping.offset, mapping.end - mapping.start)
    if mapping.inode and key in _known and _holds(pid, mapping, *_known[key]):
        return _known[key]
    code = memory.try_read(pid, mapping.start, mapping.end - mapping.start)
    found = code.find(x86_64.SYSCALL_RET), tuple(m.start() for m in x86_64.SIGRETURN.finditer(code))
    if mapping.inode and found[0] >= 0 and found[1] and len(_known) < _MOST_KNOWN:
        _known[key] = found
    return found


def _holds(pid: int, mapping: Mapping, call: int, returns: tuple[int, ...]) -> bool:
    if call >= 0 and memory.try_read(pid, Address(mapping.start + call), len(x86_64.SYSCALL_RET)) != x86_64.SYSCALL_RET:
        return False
    return all(x86_64.SIGRETURN.match(memory.try_read(pid, Address(mapping.start + at), 16)) for at in returns)
