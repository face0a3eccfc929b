"""Real-time priority lent to threads of a process, so that they come to a stop without waiting for their turn.

A thread takes notice of a stop only when it has a processor, and makes a borrowed call only then. Its own scheduling
is not touched, which would stay changed if we died: the kernel lends priority by itself, to whoever holds a lock that
one of higher priority waits for (priority inheritance, futex(2): FUTEX_LOCK_PI). So a thread of ours waits for a lock
in our own memory that says it is held by the thread of the process. That one knows nothing of it; what it was lent
ends when the wait ends, also because one of the two was killed.

Who has real-time priority and goes on computing takes the processor from all others for good. A lender needs one too,
also to die, and has the same priority. Three rules keep processors from being lost:

- Of the processors that this process may use one is always left: so many threads less one have priority at a time,
  among all appliers. Who lends holds a lock, which the kernel opens when the last of the lenders has ended.
- Priority is lent only to threads that were told to stop, so that what they do with a processor is to stop, and taken
  back before they are let go.
- Lenders have no interpreter: a few bytes of code wait for the lock. Nobody waits for a lender that has no processor.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from enum import IntEnum

from suture.error import Refused
from suture.process import syscall
from suture.process.lock import own_folder

PRIORITY = 1  # of real-time: below who works on the process, so that a thread with much to do is in nobody's way
_MOST_LENT = 8
_END_SECONDS = 1.0
_CLAIM_SECONDS = 0.05
_CLAIM_LOOK_SECONDS = 0.0002
_ROW = 64  # bytes for a lender: a line of the processor's cache
_WORD = struct.Struct("<I")


class _Order(IntEnum):
    REST = 0
    LEND = 1
    END = 2


class _Lender:
    """A thread that waits for a lock when it is told to. `row` are its words: the lock, the order, its number, and
    whether it rests."""

    def __init__(self, memory: mmap.mmap, row: int) -> None:
        self._memory = memory
        self._row = row
        self._address = syscall.address_of(memory) + row
        self._thread = syscall.start_bare(self._address, PRIORITY)

    @property
    def rests(self) -> bool:
        return bool(self._word(12))

    @property
    def has_lent(self) -> bool:
        return bool(self._word(0) & syscall.FUTEX_WAITERS)

    def lend(self, tid: int) -> None:
        self._write(12, 0)
        self._write(0, tid)
        self._tell(_Order.LEND)

    def take_back(self, order: _Order = _Order.REST) -> None:
        self._write(0, 0)
        self._tell(order)  # a barrier too: it has written its number by now, or finds a lock that is free
        if tid := self._word(8):
            syscall.tgkill(os.getpid(), tid, syscall.WAKE_SIGNAL)

    def has_ended(self, seconds: float) -> bool:
        return syscall.join_bare(self._thread, seconds)

    def _tell(self, order: _Order) -> None:
        self._write(4, order)
        syscall.futex_wake(self._address + 4)

    def _write(self, offset: int, value: int) -> None:
        _WORD.pack_into(self._memory, self._row + offset, value)

    def _word(self, offset: int) -> int:
        return int(_WORD.unpack_from(self._memory, self._row + offset)[0])


class Lending:
    """Priority for up to `most` threads at a time: by default one less than there are processors."""

    def __init__(self, most: int | None = None) -> None:
        self.most = min(len(os.sched_getaffinity(0)) - 1, _MOST_LENT) if most is None else most
        self._right = -1
        self._has_right = False
        self._memory: mmap.mmap | None = None
        self._lenders: list[_Lender] = []
        self._lent: dict[int, _Lender] = {}

    def prepare(self) -> None:
        """Have lenders ready. Where that is not allowed there are none, and things only take longer."""
        if self._memory is None and self.most > 0:
            with suppress(OSError, Refused):
                self._right = os.open(own_folder(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                # shared: the kernel looks for the holder of a lock among all processes
                self._memory = mmap.mmap(-1, mmap.PAGESIZE)
                for row in range(2 * self.most):  # one may still be on its way to its rest
                    self._lenders.append(_Lender(self._memory, row * _ROW))

    def claim(self) -> None:
        """Have the right to lend before the process has to wait for it: who would find that another applier lends
        inside a pause would be without it there. After a few hundredths of a second things only take longer."""
        until = time.monotonic() + _CLAIM_SECONDS
        while self._lenders and not self._may_lend() and time.monotonic() < until:
            time.sleep(_CLAIM_LOOK_SECONDS)

    def begin(self, tids: Sequence[int]) -> None:
        """Lend to the first of these, as many as there may be. They have been told to stop."""
        for tid in tids[: self.most - len(self._lent)]:
            if tid not in self._lent and self._may_lend():
                for lender in self._lenders:
                    if lender.rests and lender not in self._lent.values():
                        self._lent[tid] = lender
                        lender.lend(tid)
                        break

    def end(self, tid: int) -> None:
        """Take it back from one that has stopped."""
        if lender := self._lent.pop(tid, None):
            lender.take_back()

    def end_all(self) -> None:
        """Take it back from all, before they are let go."""
        while self._lent:
            self.end(next(iter(self._lent)))

    def release(self) -> None:
        """Let other appliers lend, unless a lender is still on its way back."""
        if self._has_right and not self._lent and all(lender.rests for lender in self._lenders):
            fcntl.flock(self._right, fcntl.LOCK_UN)
            self._has_right = False

    @property
    def lent(self) -> int:
        """How many threads have it at this moment."""
        return sum(lender.has_lent for lender in self._lent.values())

    def close(self) -> None:
        self.end_all()
        lenders, memory, right = self._lenders, self._memory, self._right
        self._lenders, self._memory, self._right, self._has_right = [], None, -1, False
        for lender in lenders:
            lender.take_back(_Order.END)
        until = time.monotonic() + _END_SECONDS
        if not all(lender.has_ended(max(until - time.monotonic(), 0.0)) for lender in lenders):
            _kept.append(memory)  # they still look at their words, and the right is still in use
            return
        if memory is not None:
            memory.close()
        if right >= 0:
            os.close(right)

    def _may_lend(self) -> bool:
        if not self._has_right and self._lenders:
            with suppress(OSError):
                fcntl.flock(self._right, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._has_right = True
        return self._has_right


_kept: list[mmap.mmap | None] = []


def start_alike(thread: threading.Thread) -> None:
    """Start it with the caller's priority, where that is allowed: to start takes as long as to get a processor."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(PermissionError):
        os.sched_setscheduler(0, policy & ~os.SCHED_RESET_ON_FORK, parameters)
    try:
        thread.start()
    finally:
        os.sched_setscheduler(0, policy, parameters)
