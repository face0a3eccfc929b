"""What looking at one process may cost: bytes and places of its memory, and processor time.

A process lays out its memory as it likes: endless lists, thousands of files that look like programs. Each walk through
it has bounds of its own; an allowance holds for all of them together, so that no process makes a look at all others
slow. The usual one is for a look at one of many; who names a process (`suture apply PATCH PID`) gives it more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from suture.process.error import Hostile
from suture.process.urgency import keep_to_hurry
from suture.report.reason import Reason

MOST_BYTES = 24 << 20
MOST_READS = 20_000
MOST_SECONDS = 0.1  # of the processor, not of the clock: a busy machine is nobody's fault
BY_NAME_SECONDS = 10.0


@dataclass
class _Allowance:
    """`bytes` and `reads` are what is left, `until` the thread's processor time at which it ends."""

    pid: int
    bytes: int
    reads: int
    until: float


class _Current(threading.local):
    allowance: _Allowance | None = None


_current = _Current()


@contextmanager
def limited(
    pid: int, *, most_bytes: int = MOST_BYTES, most_reads: int = MOST_READS, seconds: float = MOST_SECONDS
) -> Iterator[None]:
    """What is read in here is read of `pid`, and must stay within the allowance: else `Hostile` is raised. The inner of
    two holds."""
    before = _current.allowance
    _current.allowance = _Allowance(pid, most_bytes, most_reads, time.thread_time() + seconds)
    try:
        yield
    finally:
        _current.allowance = before


def limited_by_name(pid: int) -> AbstractContextManager[None]:
    """As `limited`, with what a process may cost that is worked on by itself: many times what any honest one does."""
    return limited(pid, most_bytes=1 << 30, most_reads=2_000_000, seconds=BY_NAME_SECONDS)


def spend(size: int, reads: int = 1) -> None:
    """Account for `size` bytes in some reads. Raises Hostile where an allowance is in force and used up."""
    left = _current.allowance
    if left is None:
        return
    left.bytes -= size
    left.reads -= reads
    if left.bytes < 0:
        raise Hostile(
            left.pid, "more of its memory would have to be read than any honest process needs", reason=Reason.TOO_COSTLY
        )
    if left.reads < 0:
        raise Hostile(
            left.pid,
            "more places of its memory would have to be read than any honest process needs",
            reason=Reason.TOO_COSTLY,
        )
    now = time.thread_time()
    keep_to_hurry(now)
    if now > left.until:
        raise Hostile(
            left.pid, "looking at it takes more processor time than any honest process needs", reason=Reason.TOO_COSTLY
        )
