"""That programs have been executed: the kernel's tracepoint sched:sched_process_exec.

The process connector (netlink) tells the same, but to nobody without CAP_NET_ADMIN in the host's own network.
"""

from __future__ import annotations

from suture.process.see.tracepoint import Tracepoint


class Executions:
    """From when it is made. Raises as `Tracepoint`. They wake nobody."""

    def __init__(self) -> None:
        self._events = Tracepoint("sched/sched_process_exec", wakes=False)

    def close(self) -> None:
        self._events.close()

    def have_come(self) -> bool:
        """Whether there was one since the last call."""
        lost = self._events.lost
        return len(list(self._events.come())) > 0 or self._events.lost > lost
