"""Real-time scheduling for what must not wait for a processor.

While a process stands still, threads that are woken to stop, or let go, would otherwise take the processor from the
one that works at ending the pause. On a loaded machine the whole work on a process is hurried: a thread of it has to
be woken a dozen times, and each time who works on it would wait for its turn. It is this thread's alone, ends with the
work, and is not passed on to children.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from suture.process.lending import PRIORITY, Lending

HURRY_SECONDS = 0.25  # of the processor, for one process
_PRIORITY = PRIORITY + 1
_ORDINARY = frozenset({os.SCHED_OTHER, os.SCHED_BATCH, os.SCHED_IDLE})


class Urgency:
    """SCHED_FIFO from `begin` to `end` for the calling thread (sched(7)), where it is allowed: without CAP_SYS_NICE or
    RLIMIT_RTPRIO, or in a control group without real-time share, the pause is only longer."""

    def __init__(self) -> None:
        self._before: int | None = None

    def begin(self) -> None:
        policy = os.sched_getscheduler(0)
        if policy & ~os.SCHED_RESET_ON_FORK not in _ORDINARY:
            return
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(_PRIORITY))
        except PermissionError:
            return
        self._before = policy

    @property
    def is_on(self) -> bool:
        return self._before is not None

    def end(self) -> None:
        if self._before is not None:
            os.sched_setscheduler(0, self._before, os.sched_param(0))
            self._before = None


@contextmanager
def urgent() -> Iterator[None]:
    """`Urgency` for as long as the context lasts."""
    urgency = Urgency()
    urgency.begin()
    try:
        yield
    finally:
        urgency.end()


@dataclass
class _Hurry:
    """`until` is the thread's processor time at which it ends."""

    urgency: Urgency
    lending: Lending
    until: float = 0.0


class _CurrentHurry(threading.local):
    hurry: _Hurry | None = None


_current = _CurrentHurry()


@contextmanager
def hurry() -> Iterator[None]:
    """Inside, on a loaded machine, the thread has real-time priority until it has used a quarter of a second of the
    processor: a process that makes the work long makes it slow for itself, not for the machine. `keep_to_hurry` is to
    be called now and then.

    Each of those inside another has the whole time, and leaves the priority as it is: for one process after the other.
    """
    outer = _current.hurry
    now = outer or _Hurry(Urgency(), Lending())
    now.until = time.thread_time() + HURRY_SECONDS
    if is_loaded():
        now.urgency.begin()
    else:
        now.urgency.end()
    _current.hurry = now
    try:
        yield
    finally:
        if outer is None:
            _current.hurry = None
            now.lending.close()
            now.urgency.end()


def lending() -> Lending:
    """To lend priority to others with, in a hurry; else nothing is lent."""
    now = _current.hurry
    return now.lending if now is not None and now.urgency.is_on else Lending(most=0)


def keep_to_hurry(now: float | None = None) -> None:
    """End the hurry when its time is used up; `now` is time.thread_time()."""
    hurry = _current.hurry
    if hurry is not None and (time.thread_time() if now is None else now) > hurry.until:
        hurry.urgency.end()


def is_loaded() -> bool:
    """Whether at this moment more than twice as many threads want to run as there are processors (proc_loadavg(5))."""
    with open("/proc/loadavg", "rb", buffering=0) as file:
        running = int(file.read(128).split()[3].partition(b"/")[0])
    return running > 2 * (os.cpu_count() or 1)
