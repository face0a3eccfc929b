"""Events of one of the kernel's tracepoints on all processors, in a ring of each that a perf event fills
(perf_event_open(2))."""

from __future__ import annotations

import mmap
import os
import select
import struct
from collections.abc import Iterator
from pathlib import Path

from suture.process import syscall

_PLACES = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
_PAGES = 8
_HEAD, _TAIL = 1024, 1032  # data_head and data_tail of struct perf_event_mmap_page
_HEADER = struct.Struct("<IHH")  # struct perf_event_header: type, misc, size
_LOST, _SAMPLE = 2, 9  # PERF_RECORD_LOST (id, lost), PERF_RECORD_SAMPLE
_LOST_BODY = struct.Struct("<QQ")
_BODY = struct.Struct("<III")  # pid, tid, size of the tracepoint's record


class Tracepoint:
    """`name` is its folder below events/, `only` a filter (Documentation/trace/events.rst), "" for all. From when it is
    made; raises OSError and ValueError where the kernel does not tell: no tracefs, no right (CAP_PERFMON). Nobody
    waits for those that are not to wake anybody: they are there at the next look."""

    def __init__(self, name: str, only: str = "", *, wakes: bool = True) -> None:
        number = _number(name)
        self._rings: list[tuple[int, mmap.mmap]] = []
        self._poll = select.epoll()
        self.lost = 0
        """Events that had no room in a ring."""
        try:
            for cpu in range(os.cpu_count() or 1):
                fd = syscall.perf_tracepoint(number, cpu, only)
                self._rings.append((fd, mmap.mmap(fd, (1 + _PAGES) * mmap.PAGESIZE)))
                if wakes:
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

    def come(self) -> Iterator[tuple[int, bytes]]:
        """Those since the last call: the process, and the tracepoint's record with its common fields."""
        for _, ring in self._rings:
            yield from self._drain(ring)

    def _drain(self, ring: mmap.mmap) -> Iterator[tuple[int, bytes]]:
        size = _PAGES * mmap.PAGESIZE
        (head,), (tail,) = struct.unpack_from("<Q", ring, _HEAD), struct.unpack_from("<Q", ring, _TAIL)
        if tail == head:
            return
        data = ring[mmap.PAGESIZE :]
        at = tail % size
        came = (data[at:] + data[:at])[: head - tail]
        struct.pack_into("<Q", ring, _TAIL, head)
        at = 0
        while at + _HEADER.size <= len(came):
            kind, _, length = _HEADER.unpack_from(came, at)
            body = came[at + _HEADER.size : at + length]
            if kind == _LOST and len(body) >= _LOST_BODY.size:
                self.lost += _LOST_BODY.unpack_from(body)[1]
            elif kind == _SAMPLE and len(body) >= _BODY.size:
                pid, _, record = _BODY.unpack_from(body)
                yield pid, body[_BODY.size : _BODY.size + record]
            at += max(length, _HEADER.size)


def _number(name: str) -> int:
    problem = OSError()
    for place in _PLACES:
        try:
            return int((place / "events" / name / "id").read_text())
        except OSError as found:
            problem = found
    raise problem
