"""System calls that our stop has interrupted and that would not go on as if nothing had been: they are made to start
again.

One kind would return EINTR for it. Another the kernel goes on with by a call of its own, restart_syscall, and where the
thread's seccomp filters forbid that, it is made anew instead: a time that it waits for then begins anew too.
"""

from __future__ import annotations

import os
import signal

from suture.process import syscall, x86_64
from suture.process.error import NoProcess
from suture.process.stop import seccomp
from suture.process.syscall import Registers
from suture.process.tracee import Status, read_status

SECCOMP_MODE_FILTER = 2
_IGNORED_BY_DEFAULT = sum(1 << (s - 1) for s in (signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT))


def repair_interrupted(tid: int, registers: Registers, status: int, filtered: bool | None = None) -> bool:
    """For a thread in the ptrace stop `status`: set `registers` back to repeat its call when only our stop made it end.

    A signal that is to be handled keeps its EINTR. `filtered`: whether the thread may have a seccomp filter, looked up
    when not given. Returns whether the registers changed; they are not written.
    """
    if not _would_end(tid, registers, filtered) or _is_handled(tid, status):
        return False
    x86_64.repeat_call(registers)
    return True


def _would_end(tid: int, registers: Registers, filtered: bool | None) -> bool:
    if not x86_64.in_syscall(registers):
        return False
    if registers.rax == x86_64.RESTARTBLOCK:
        if filtered is None:
            filtered = has_filter(tid)
        return filtered and not seccomp.allows(tid, registers, x86_64.SYS_RESTART_SYSCALL)
    return registers.rax == x86_64.EINTR and x86_64.is_repeated_after_eintr(registers.orig_rax, registers.rsi)


def has_filter(tid: int) -> bool:
    """Whether a thread has a seccomp filter. False when it is gone."""
    try:
        return read_status(tid).seccomp == SECCOMP_MODE_FILTER
    except NoProcess:
        return False


def _is_handled(tid: int, status: int) -> bool:
    """Whether a signal is there that the thread would have noticed untraced."""
    delivered = os.WSTOPSIG(status) if status >> 16 == 0 else 0
    if not delivered and not syscall.has_pending(tid, shared=False) and not syscall.has_pending(tid, shared=True):
        return False
    try:
        known = read_status(tid)
    except NoProcess:
        return True
    signals = 1 << (delivered - 1) if delivered else (known.pending | known.shared_pending) & ~known.blocked
    return signals & ~_without_effect(known) != 0


def _without_effect(status: Status) -> int:
    """Signals that an untraced process would not have noticed."""
    return status.ignored | (_IGNORED_BY_DEFAULT & ~status.caught)
