"""The call frames of code that live patches brought, for our own unwinder."""

from __future__ import annotations

from bisect import bisect_right

from suture.patch import finder
from suture.patch.record import Record
from suture.process.memory import memory
from suture.process.stack.frame import FrameRow, NoFrame, entry_row

_MOST_ROWS = 1 << 20


class PatchFrames:
    """Call frame information of one placed patch, for our own unwinder. All of it is the process's own memory:
    bounded."""

    def __init__(self, pid: int, record: Record) -> None:
        self.pid = pid
        self._base = record.base
        rows = []
        if record.unwinding is not None and record.unwinding.count <= _MOST_ROWS:
            data = memory.try_read(pid, record.unwinding.rows, record.unwinding.count * finder.ROW.size)
            rows = sorted(finder.decode_rows(data), key=lambda r: r.start)
        self._rows = rows
        self._starts = [r.start for r in rows]

    def row(self, pc: int) -> FrameRow:
        """The row for an address. Raises NoFrame."""
        index = bisect_right(self._starts, pc - self._base) - 1
        if index < 0 or pc - self._base >= self._rows[index].end:
            raise NoFrame(f"nothing describes {pc:#x}")
        return entry_row(self.pid, self._base + self._rows[index].entry, pc)
