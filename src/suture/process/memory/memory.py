"""Reading and writing the memory of a process: bounded reads; writes through /proc/PID/mem, which may also write
read-only private pages."""

from __future__ import annotations

import errno
import os

from suture.number import Address
from suture.process import syscall
from suture.process.allowance import spend
from suture.process.error import NoPermission, NoProcess, WrongTarget, executed
from suture.report.reason import Reason

MOST_AT_ONCE = 64 << 20


def read(pid: int, address: Address, size: int) -> bytes:
    """Exactly `size` bytes. Raises NoProcess, NoPermission, or WrongTarget when not all is mapped."""
    if not 0 < size <= MOST_AT_ONCE or not 0 <= address < 1 << 63:
        raise WrongTarget(
            f"pid {pid}: {size} bytes at {address:#x} are no sensible piece of memory",
            _REMEDY,
            reason=Reason.MEMORY_UNREADABLE,
        )
    spend(size)
    try:
        data = syscall.process_vm_readv(pid, address, size)
    except OSError as problem:
        raise _explain(pid, address, problem) from problem
    if len(data) != size:
        raise WrongTarget(
            f"pid {pid}: memory at {address + len(data):#x} is not readable", _REMEDY, reason=Reason.MEMORY_UNREADABLE
        )
    return data


def try_read(pid: int, address: Address, size: int) -> bytes:
    """Up to `size` bytes; empty when nothing is there or the process is gone. Raises Hostile where a look costs too
    much."""
    if not 0 < size <= MOST_AT_ONCE or not 0 <= address < 1 << 63:
        return b""
    spend(size)
    try:
        return syscall.process_vm_readv(pid, address, size)
    except OSError:
        return b""


def write(pid: int, mem: int, address: Address, data: bytes) -> None:
    """Write all of `data` through a descriptor of /proc/PID/mem (`Tracee.memory`). Raises NoProcess, WrongTarget."""
    try:
        done = os.pwrite(mem, data, address)
    except OSError as problem:
        raise _explain(pid, address, problem) from problem
    if done == 0:
        if os.path.exists(f"/proc/{pid}/exe"):
            raise executed(pid)
        raise NoProcess(pid, "ended during the work", reason=Reason.ENDED_DURING_WORK)
    if done != len(data):
        raise WrongTarget(
            f"pid {pid}: memory at {address + done:#x} cannot be written", _REMEDY, reason=Reason.MEMORY_UNWRITABLE
        )


_REMEDY = "see what is mapped there: cat /proc/PID/maps"


def _explain(pid: int, address: int, problem: OSError) -> NoProcess | NoPermission | WrongTarget:
    if problem.errno == errno.ESRCH:
        return NoProcess(pid)
    if problem.errno in (errno.EPERM, errno.EACCES):
        return NoPermission(pid, "its memory may not be touched", reason=Reason.DENIED_READ)
    return WrongTarget(
        f"pid {pid}: memory at {address:#x}: {os.strerror(problem.errno or 0)}",
        _REMEDY,
        reason=Reason.MEMORY_UNREADABLE,
    )
