"""Real-time priority lent to threads of a process, so that they come to a stop without waiting for their turn.

A thread takes notice of a stop only when it has a processor, and makes a borrowed call only then. Its own scheduling
is not touched, which would stay changed if we died: the kernel lends priority by itself, to whoever holds a lock that
one of higher priority waits for (priority inheritance, futex(2): FUTEX_LOCK_PI). So a thread of ours waits for a lock
in our own memory that says it is held by the thread of the process. That one knows nothing of it; what it was lent
ends when the wait ends, also because one of the two was killed.

Who has real-time priority and goes on computing takes the processor from all others for good, the lender among them.
Three rules keep that from happening:

- Priority is lent only to threads that were told to stop, so that what they do with a processor is to stop, and taken
  back before they are let go.
- Lenders have no interpreter: a few bytes of code wait for the lock. Nobody waits for a lender that has no processor.
- Taking back needs nothing of the lender: its own scheduling is made ordinary, and the kernel takes from the holder at
  once what it had of it.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from enum import IntEnum

from suture.process import syscall

MOST_LENT = 16
PRIORITY = 1  # of real-time: below who works on the process, so that a thread with much to do is in nobody's way
_END_SECONDS = 1.0
_ROW = 64  # bytes for a lender: a line of the processor's cache
_FIRST = -20  # nice(2)
_WORD = struct.Struct("<I")


class _Order(IntEnum):
    REST = 0
    LEND = 1
    END = 2


class _Lender:
    """A thread that waits for one lock, once. `row` are its three words: the lock, the command, its number."""

    def __init__(self, memory: mmap.mmap, row: int) -> None:
        self._memory = memory
        self.row = row
        self._address = syscall.address_of(memory) + row
        memory[row : row + _ROW] = bytes(_ROW)
        self._thread = syscall.start_bare(self._address, PRIORITY)

    def lend(self, tid: int) -> None:
        _WORD.pack_into(self._memory, self.row, tid)
        self._tell(_Order.LEND)

    @property
    def has_lent(self) -> bool:
        return bool(_WORD.unpack_from(self._memory, self.row)[0] & syscall.FUTEX_WAITERS)

    def end(self) -> None:
        """Take it back, and end the thread as soon as it gets a processor."""
        _WORD.pack_into(self._memory, self.row, 0)
        self._tell(_Order.LEND)  # a barrier: it has written its number by now, or finds a free lock
        tid = _WORD.unpack_from(self._memory, self.row + 8)[0]
        if tid:  # the thread stays until it is told to end, so the number is its own
            with suppress(OSError):
                os.sched_setscheduler(tid, os.SCHED_OTHER, os.sched_param(0))
                os.setpriority(os.PRIO_PROCESS, tid, _FIRST)  # so that it ends soon
            syscall.tgkill(os.getpid(), tid, syscall.WAKE_SIGNAL)
        self._tell(_Order.END)

    def has_ended(self, seconds: float = 0.0) -> bool:
        return syscall.join_bare(self._thread, seconds)

    def _tell(self, command: _Order) -> None:
        _WORD.pack_into(self._memory, self.row + 4, command)
        syscall.futex_wake(self._address + 4)


class Lending:
    """Priority for up to `most` threads at a time."""

    def __init__(self, most: int = MOST_LENT) -> None:
        self._most = most
        self._memory: mmap.mmap | None = None
        self._resting: list[_Lender] = []
        self._lent: list[_Lender] = []
        self._ending: list[_Lender] = []

    def prepare(self, count: int) -> None:
        """Have lenders ready for so many threads; for none when they are too many, or where it is not allowed."""
        if not 0 < count <= self._most:
            return
        if self._memory is None:
            self._memory = mmap.mmap(-1, mmap.PAGESIZE)  # shared: the kernel looks for the holder among all processes
        self._ending = [lender for lender in self._ending if not lender.has_ended()]
        used = {lender.row for lender in (*self._resting, *self._lent, *self._ending)}
        free = (row for row in range(0, mmap.PAGESIZE, _ROW) if row not in used)
        with suppress(OSError):
            while len(self._resting) < count and (row := next(free, None)) is not None:
                self._resting.append(_Lender(self._memory, row))

    def begin(self, tids: Sequence[int]) -> None:
        """Lend to these, which have been told to stop; to none when they are too many."""
        self.prepare(len(tids))
        if len(tids) <= len(self._resting):
            for tid in tids:
                lender = self._resting.pop()
                self._lent.append(lender)
                lender.lend(tid)

    @property
    def lent(self) -> int:
        """How many threads have it at this moment."""
        return sum(lender.has_lent for lender in self._lent)

    def end(self) -> None:
        """Take it back from all. To be called before they are let go."""
        while self._lent:
            lender = self._lent.pop()
            self._ending.append(lender)
            lender.end()

    def close(self) -> None:
        self._lent += self._resting
        self._resting.clear()
        self.end()
        self._ending = [lender for lender in self._ending if not lender.has_ended(_END_SECONDS)]
        if self._ending:  # they still look at their words
            _kept.append(self)
        elif self._memory is not None:
            self._memory.close()
            self._memory = None


_kept: list[Lending] = []


def start_alike(thread: threading.Thread) -> None:
    """Start it with the caller's priority, where that is allowed: to start takes as long as to get a processor."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, policy & ~os.SCHED_RESET_ON_FORK, parameters)
    try:
        thread.start()
    finally:
        os.sched_setscheduler(0, policy, parameters)
