"""Memory for a patch inside a process: a sealed memfd, mapped read-execute and read-write by a borrowed thread.

The memfd is made by the borrowed thread, since its mappings need a descriptor of its own. All else is done to it from
outside: it is sized, filled and sealed through a descriptor of ours, so that no limit of the process's applies
(RLIMIT_FSIZE) and no page is ever writable and executable. The data is mapped before the text: where text is, data is.
What an applier that died has left is taken away first.

A number in a table of descriptors means what any thread that shares the table last made of it. So what stands under the
number is held first without opening it, and is written only when it is a memfd of this patch's name that is still
empty: nobody has anything to lose in such a file. What the process then has mapped must be that very file.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
from collections.abc import Sequence

from suture.number import Address
from suture.patch.record import MEMFD_PREFIX
from suture.process import x86_64
from suture.process.error import Hostile
from suture.process.memory.maps import Maps, read_raw
from suture.process.memory.placed import Remains
from suture.process.stop.borrow import Borrowed, OnStep, borrow, no_step
from suture.process.tracee import Tracee
from suture.report.reason import Reason

# MFD_NOEXEC_SEAL (Linux 6.3): the file cannot be executed, which is all that vm.memfd_noexec asks for; it can be mapped
# executable.
_MFD_CLOEXEC, _MFD_ALLOW_SEALING, _MFD_NOEXEC_SEAL = 0x1, 0x2, 0x8
_PROT_READ, _PROT_WRITE, _PROT_EXEC = 1, 2, 4
_MAP_PRIVATE, _MAP_FIXED_NOREPLACE = 0x2, 0x100000
# fcntl.h; Python names them from 3.8 on only when the C library does
_F_ADD_SEALS, _SEALS = 1033, 0x1 | 0x2 | 0x4 | 0x8  # SEAL, SHRINK, GROW, WRITE


def place(
    tracee: Tracee,
    maps: Maps,
    identity: str,
    base: Address,
    text: bytes,
    data: bytes,
    remains: Sequence[Remains] = (),
    on_step: OnStep = no_step,
    deadline: float = math.inf,
) -> None:
    """Map `text` at `base` and `data` behind it. Raises what `borrow` raises; OSError when a call in the process
    fails."""
    with borrow(tracee, maps, on_step, deadline) as thread:
        _close_left(thread, identity)
        for left in remains:
            m = left.mapping
            thread.call("munmap", x86_64.SYS_MUNMAP, m.start, m.end - m.start)
        fd = _create(thread, identity)
        try:
            file = _fill(thread, fd, identity, text + data)
            on_step("contents written")
            _map(thread, Address(base + len(text)), len(data), _PROT_READ | _PROT_WRITE, fd, len(text))
            try:
                _map(thread, base, len(text), _PROT_READ | _PROT_EXEC, fd, 0)
                _check_mapped(tracee, file, base, len(text), len(data))
            except (OSError, Hostile):
                thread.call("munmap", x86_64.SYS_MUNMAP, base + len(text), len(data))
                raise
        finally:
            thread.call("close", x86_64.SYS_CLOSE, fd)


def _map(thread: Borrowed, address: Address, size: int, protection: int, fd: int, offset: int) -> None:
    flags = _MAP_PRIVATE | _MAP_FIXED_NOREPLACE
    got = thread.call("mmap", x86_64.SYS_MMAP, address, size, protection, flags, fd, offset)
    if got != address:  # a kernel before 4.17 takes the address as a hint
        thread.call("munmap", x86_64.SYS_MUNMAP, got, size)
        raise OSError(errno.EEXIST, f"mmap in pid {thread.pid}: {address:#x} is taken")


def _create(thread: Borrowed, identity: str) -> int:
    name = thread.put((MEMFD_PREFIX + identity).encode() + b"\0")
    try:
        return thread.call("memfd_create", x86_64.SYS_MEMFD_CREATE, name, _MFD_CLOEXEC | _MFD_NOEXEC_SEAL)
    except OSError as problem:
        if problem.errno != errno.EINVAL:
            raise
    return thread.call("memfd_create", x86_64.SYS_MEMFD_CREATE, name, _MFD_CLOEXEC | _MFD_ALLOW_SEALING)


def _fill(thread: Borrowed, fd: int, identity: str, contents: bytes) -> os.stat_result:
    """Write and seal the memfd; what identifies it. Raises Hostile when something else stands under its number."""
    held = thread.open_path(fd)
    try:
        file = os.fstat(held)
        name = os.readlink(f"/proc/self/fd/{held}")
        if file.st_dev != _memfd_device() or file.st_nlink or file.st_size or name != _link(identity):
            raise Hostile(
                thread.pid,
                f"has put something else ({name}) in the place of the patch's memory",
                reason=Reason.PLACE_TAKEN,
            )
        ours = os.open(f"/proc/self/fd/{held}", os.O_RDWR | os.O_CLOEXEC)
    finally:
        os.close(held)
    try:
        done = 0
        while done < len(contents):
            done += os.pwrite(ours, contents[done:], done)
        fcntl.fcntl(ours, _F_ADD_SEALS, _SEALS)
    finally:
        os.close(ours)
    return file


def _link(identity: str) -> str:
    return f"/memfd:{MEMFD_PREFIX}{identity} (deleted)"


def _memfd_device() -> int:
    """The file system that memfds are in, and no file with a path is (mm/shmem.c, shm_mnt)."""
    fd = os.memfd_create("suture")
    try:
        return os.fstat(fd).st_dev
    finally:
        os.close(fd)


def _check_mapped(tracee: Tracee, file: os.stat_result, base: Address, text_size: int, data_size: int) -> None:
    """Raises Hostile when the process has not just this file mapped there."""
    maps = Maps(read_raw(tracee.via))
    device = f"{os.major(file.st_dev):02x}:{os.minor(file.st_dev):02x}".encode()
    for start, end, offset in (
        (base, base + text_size, 0),
        (Address(base + text_size), base + text_size + data_size, text_size),
    ):
        m = maps.at(start)
        if m is None or (m.start, m.end, m.offset, m.device, m.inode) != (start, end, offset, device, file.st_ino):
            raise Hostile(
                tracee.pid, "has something else mapped in the place of the patch's memory", reason=Reason.PLACE_TAKEN
            )


def close_left(tracee: Tracee, maps: Maps, identity: str, on_step: OnStep = no_step) -> None:
    """Close descriptors of this patch's memfd that a dead applier did not get to close. Raises what `borrow` raises."""
    with borrow(tracee, maps, on_step) as thread:
        _close_left(thread, identity)


def _close_left(thread: Borrowed, identity: str) -> None:
    for fd, name in thread.descriptors():
        if name == _link(identity):
            thread.call("close", x86_64.SYS_CLOSE, fd)


def has_left(tracee: Tracee, identity: str) -> bool:
    """Whether the process has such a descriptor open."""
    return any(name == _link(identity) for _, name in tracee.descriptors())
