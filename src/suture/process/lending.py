"""Real-time priority lent to threads of a process, so that they come to a stop without waiting for their turn.

A thread takes notice of a stop only when it has a processor, and makes a borrowed call only then. Its own scheduling
is not touched, which would stay changed if we died: the kernel lends priority by itself, to whoever holds a lock that
one of higher priority waits for (priority inheritance, futex(2): FUTEX_LOCK_PI). So a thread of ours waits for a lock
in our own memory that says it is held by the thread of the process. That one knows nothing of it; what it was lent
ends when the wait ends, also because one of the two was killed.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress

from suture.process import syscall

MOST_LENT = 16
PRIORITY = 1  # of real-time: below who works on the process, so that a thread with much to do is in nobody's way
_READY_SECONDS = 0.002
_LOOK_SECONDS = 0.00002
_END_SECONDS = 1.0
_WORD = struct.Struct("<I")


class _Lender(threading.Thread):
    """Waits for locks, one after the other, so that their holders have its priority."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        # shared memory, in which the kernel looks for the holder among all processes
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._ask, self._asked = os.pipe()
        self._idle = threading.Event()

    def run(self) -> None:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
        signal.pthread_sigmask(signal.SIG_BLOCK, (s for s in signal.valid_signals() if s != syscall.WAKE_SIGNAL))
        while True:
            self._idle.set()
            if not os.read(self._ask, 1):
                return
            with suppress(OSError):
                syscall.futex_lock_pi(self._memory)
                syscall.futex_unlock_pi(self._memory)

    def lend(self, tid: int) -> bool:
        """Begin; False when it has not come back from the last time yet."""
        if not self._idle.wait(_READY_SECONDS):
            return False
        self._idle.clear()
        _WORD.pack_into(self._memory, 0, tid)
        os.write(self._asked, b"1")
        return True

    @property
    def has_lent(self) -> bool:
        return bool(_WORD.unpack_from(self._memory)[0] & syscall.FUTEX_WAITERS)

    def take_back(self) -> None:
        _WORD.pack_into(self._memory, 0, 0)
        syscall.tgkill(os.getpid(), self.native_id or 0, syscall.WAKE_SIGNAL)

    def end(self) -> None:
        os.close(self._asked)
        self.join(_END_SECONDS)
        if not self.is_alive():
            os.close(self._ask)
            self._memory.close()


class Lending:
    """Priority for up to `most` threads at a time."""

    def __init__(self, most: int = MOST_LENT) -> None:
        self._most = most
        self._lenders: list[_Lender] = []
        self._busy: list[_Lender] = []

    def begin(self, tids: Sequence[int]) -> None:
        """Lend to these, or when they are too many, to none."""
        if len(tids) > self._most:
            return
        while len(self._lenders) < len(tids):
            self._lenders.append(lender := _Lender())
            start_alike(lender)
        for lender, tid in zip(self._lenders, tids, strict=False):
            if lender.lend(tid):
                self._busy.append(lender)
        until = time.monotonic() + _READY_SECONDS
        while not all(lender.has_lent for lender in self._busy) and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)

    def end(self) -> None:
        """Take it back from all."""
        for lender in self._busy:
            lender.take_back()
        self._busy.clear()

    def close(self) -> None:
        self.end()
        for lender in self._lenders:
            lender.end()
        self._lenders.clear()


def start_alike(thread: threading.Thread) -> None:
    """Start it with the caller's priority, where that is allowed: to start takes as long as to get a processor."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, policy & ~os.SCHED_RESET_ON_FORK, parameters)
    try:
        thread.start()
    finally:
        os.sched_setscheduler(0, policy, parameters)
