"""System calls that our stop has interrupted and that would return EINTR for it: they are made to start again."""

from __future__ import annotations

import os
import signal

from suture.process import syscall, x86_64
from suture.process.error import NoProcess
from suture.process.tracee import Status, read_status
from suture.process.x86_64 import Registers

_IGNORED_BY_DEFAULT = sum(1 << (s - 1) for s in (signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT))


def repair_interrupted(tid: int, registers: Registers, status: int) -> bool:
    """For a thread in the ptrace stop `status`: set `registers` back to repeat its call when only our stop made it return EINTR.

    A signal that is to be handled keeps its EINTR. Returns whether the registers changed; they are not written.
    """
    if registers.rax != x86_64.EINTR or registers.orig_rax not in x86_64.REPEATED_AFTER_EINTR:
        return False
    delivered = os.WSTOPSIG(status) if status >> 16 == 0 else 0
    if not delivered and not syscall.has_pending(tid, shared=False) and not syscall.has_pending(tid, shared=True):
        x86_64.repeat_call(registers)
        return True
    try:
        known = read_status(tid)
    except NoProcess:
        return False
    signals = 1 << (delivered - 1) if delivered else (known.pending | known.shared_pending) & ~known.blocked
    if signals & ~_without_effect(known):
        return False
    x86_64.repeat_call(registers)
    return True


def _without_effect(status: Status) -> int:
    """Signals that an untraced process would not have noticed."""
    return status.ignored | (_IGNORED_BY_DEFAULT & ~status.caught)
