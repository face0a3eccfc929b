"""Memory for a patch inside a process: a sealed memfd, mapped read-execute and read-write by a borrowed thread.

The contents are written through our own duplicate of the descriptor, so no page is ever writable and executable. The data is
mapped before the text: where text is, data is. What an applier that died has left is taken away first.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence

from suture.patch.record import MEMFD_PREFIX
from suture.process import memory, syscall, x86_64
from suture.process.borrow import Borrowed, OnStep, borrow, no_step
from suture.process.error import Hostile, NoProcess
from suture.process.maps import Maps
from suture.process.placed import Remains
from suture.process.proc import open_file
from suture.process.tracee import Tracee

_MFD_CLOEXEC, _MFD_ALLOW_SEALING, _MFD_EXEC = 0x1, 0x2, 0x10
_MOST_DESCRIPTORS = 1 << 16
_PROT_READ, _PROT_WRITE, _PROT_EXEC = 1, 2, 4
_MAP_PRIVATE, _MAP_FIXED_NOREPLACE = 0x2, 0x100000
# fcntl.h; Python names them from 3.8 on only when the C library does
_F_ADD_SEALS, _SEALS = 1033, 0x1 | 0x2 | 0x4 | 0x8  # SEAL, SHRINK, GROW, WRITE


def place(
    tracee: Tracee,
    maps: Maps,
    identity: str,
    base: int,
    text: bytes,
    data: bytes,
    remains: Sequence[Remains] = (),
    on_step: OnStep = no_step,
) -> None:
    """Map `text` at `base` and `data` behind it. Raises what `borrow` raises; OSError when a call in the process fails."""
    stale = left_descriptors(tracee, identity)
    with borrow(tracee, maps, on_step) as thread:
        for fd in stale:
            thread.call("close", x86_64.SYS_CLOSE, fd)
        for left in remains:
            m = left.mapping
            thread.call("munmap", x86_64.SYS_MUNMAP, m.start, m.end - m.start)
        fd = _create(thread, tracee, identity)
        try:
            thread.call("ftruncate", x86_64.SYS_FTRUNCATE, fd, len(text) + len(data))
            _fill(tracee, fd, text + data)
            on_step("contents written")
            _map(thread, base + len(text), len(data), _PROT_READ | _PROT_WRITE, fd, len(text))
            try:
                _map(thread, base, len(text), _PROT_READ | _PROT_EXEC, fd, 0)
            except OSError:
                thread.call("munmap", x86_64.SYS_MUNMAP, base + len(text), len(data))
                raise
        finally:
            thread.call("close", x86_64.SYS_CLOSE, fd)


def _map(thread: Borrowed, address: int, size: int, protection: int, fd: int, offset: int) -> None:
    flags = _MAP_PRIVATE | _MAP_FIXED_NOREPLACE
    got = thread.call("mmap", x86_64.SYS_MMAP, address, size, protection, flags, fd, offset)
    if got != address:  # a kernel before 4.17 takes the address as a hint
        thread.call("munmap", x86_64.SYS_MUNMAP, got, size)
        raise OSError(errno.EEXIST, f"mmap in pid {thread.pid}: {address:#x} is taken")


def _create(thread: Borrowed, tracee: Tracee, identity: str) -> int:
    name = (MEMFD_PREFIX + identity).encode() + b"\0"
    mem = memory.open_for_writing(tracee.via)
    try:
        memory.write(tracee.pid, mem, thread.scratch, name)
    finally:
        os.close(mem)
    flags = _MFD_CLOEXEC | _MFD_ALLOW_SEALING
    try:
        return thread.call("memfd_create", x86_64.SYS_MEMFD_CREATE, thread.scratch, flags | _MFD_EXEC)
    except OSError as problem:
        if problem.errno != errno.EINVAL:
            raise
    return thread.call("memfd_create", x86_64.SYS_MEMFD_CREATE, thread.scratch, flags)  # before Linux 6.3


def _fill(tracee: Tracee, fd: int, contents: bytes) -> None:
    if tracee.via == tracee.pid:
        ours = syscall.pidfd_getfd(tracee.pidfd, fd)
    else:  # a main thread that has ended has no descriptors any more
        ours = open_file(tracee.via, f"fd/{fd}", flags=os.O_RDWR)
    try:
        done = 0
        while done < len(contents):
            done += os.pwrite(ours, contents[done:], done)
        fcntl.fcntl(ours, _F_ADD_SEALS, _SEALS)
    finally:
        os.close(ours)


def close_left(tracee: Tracee, maps: Maps, descriptors: Sequence[int], on_step: OnStep = no_step) -> None:
    """Close what `left_descriptors` found. Raises what `borrow` raises."""
    with borrow(tracee, maps, on_step) as thread:
        for fd in descriptors:
            thread.call("close", x86_64.SYS_CLOSE, fd)


def left_descriptors(tracee: Tracee, identity: str) -> list[int]:
    """Descriptors of this patch's memfd that a dead applier did not get to close."""
    wanted = f"/memfd:{MEMFD_PREFIX}{identity} (deleted)"
    found = []
    folder = f"/proc/{tracee.via}/fd"
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, ProcessLookupError) as problem:
        raise NoProcess(tracee.pid) from problem
    if len(names) > _MOST_DESCRIPTORS:
        raise Hostile(tracee.pid, f"has {len(names)} open files")
    for name in names:
        try:
            if os.readlink(f"{folder}/{name}") == wanted:
                found.append(int(name))
        except OSError:
            continue
    return found
