"""Real-time scheduling for the time in which a process stands still.

Threads that are woken to stop, or let go, would otherwise take the processor from the one that works at ending the pause. It is
this thread's alone, ends with the pause, and is not passed on to children.
"""

from __future__ import annotations

import os

_LOWEST_REAL_TIME = 1
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
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(_LOWEST_REAL_TIME))
        except PermissionError:
            return
        self._before = policy

    def end(self) -> None:
        if self._before is not None:
            os.sched_setscheduler(0, self._before, os.sched_param(0))
            self._before = None
