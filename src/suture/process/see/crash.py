"""Processes that die of a signal that tells of a defect, whosoever child they are: the kernel's tracepoint
signal:signal_deliver, in a ring of each processor that a perf event fills (perf_event_open(2)).

Only signals without a handler count: who handles SIGSEGV goes on, or raises it again without one.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from suture.process import syscall

SIGNALS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS)
_EVENT = "events/signal/signal_deliver/id"
_PLACES = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
_PAGES = 8
_HEAD, _TAIL = 1024, 1032  # data_head and data_tail of struct perf_event_mmap_page
_HEADER = struct.Struct("<IHH")  # struct perf_event_header: type, misc, size
_SAMPLE = 9  # PERF_RECORD_SAMPLE
_BODY = struct.Struct("<III8xi")  # pid, tid, size of the tracepoint's record, its common fields, sig


@dataclass(frozen=True)
class Crash:
    """A process that a signal has ended."""

    pid: int
    signal: signal.Signals


class Crashes:
    """From when it is made. Raises OSError where the kernel does not tell: no tracefs, no right (CAP_PERFMON)."""

    def __init__(self) -> None:
        number = _number()
        wanted = " || ".join(f"sig == {int(s)}" for s in SIGNALS)
        self._rings: list[tuple[int, mmap.mmap]] = []
        self._poll = select.epoll()
        try:
            for cpu in range(os.cpu_count() or 1):
                fd = syscall.perf_tracepoint(number, cpu, f"sa_handler == 0 && ({wanted})")
                self._rings.append((fd, mmap.mmap(fd, (1 + _PAGES) * mmap.PAGESIZE)))
                self._poll.register(fd, select.EPOLLIN)
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        """What can be read when one has come."""
        return self._poll.fileno()

    def close(self) -> None:
        self._poll.close()
        for fd, ring in self._rings:
            ring.close()
            os.close(fd)
        self._rings.clear()

    def come(self) -> Iterator[Crash]:
        """Those since the last call."""
        for _, ring in self._rings:
            yield from _drain(ring)


def _drain(ring: mmap.mmap) -> Iterator[Crash]:
    size = _PAGES * mmap.PAGESIZE
    (head,), (tail,) = struct.unpack_from("<Q", ring, _HEAD), struct.unpack_from("<Q", ring, _TAIL)
    if tail == head:
        return
    data = ring[mmap.PAGESIZE :]
    while tail < head:
        at = tail % size
        record = data[at:] + data[:at]
        kind, _, length = _HEADER.unpack_from(record)
        if kind == _SAMPLE and length >= _HEADER.size + _BODY.size:
            pid, _, _, number = _BODY.unpack_from(record, _HEADER.size)
            yield Crash(pid, signal.Signals(number))
        tail += max(length, _HEADER.size)
    struct.pack_into("<Q", ring, _TAIL, head)


def _number() -> int:
    """Of the tracepoint."""
    problem = OSError()
    for place in _PLACES:
        try:
            return int((place / _EVENT).read_text())
        except OSError as found:
            problem = found
    raise problem
