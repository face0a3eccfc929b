"""All processes of the host, looked at again and again for little: one that executes what it executed before is not
read anew until ten minutes have gone by.

A process that was read while its loader was at work is read again, until five seconds of one execution lie between two
reads. What a known process loads later (dlopen(3)) is seen after ten minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from suture.process.see.find import Found, Unread, every_process
from suture.process.tracee import list_processes

_WHOLE_SECONDS, _SETTLING_SECONDS = 600.0, 5.0
_STARTTIME, _STARTCODE, _STARTSTACK = 19, 23, 25  # fields after the command's name (proc_pid_stat(5): 22, 26, 28)


@dataclass(frozen=True)
class _KnownProcess:
    """`execution` as `_execution` gives it; `first` and `last`: when it was read, by the clock."""

    execution: str
    found: Found
    first: float
    last: float

    @property
    def is_settled(self) -> bool:
        return self.last - self.first >= _SETTLING_SECONDS


class KnownProcesses:
    """What was seen last. `clock` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._rows: dict[int, _KnownProcess] = {}
        self._bare: dict[int, str] = {}  # kernel threads, and what has ended and is still listed
        self._clock = clock
        self._whole_at = 0.0

    def look(self) -> tuple[list[Found], Sequence[Unread]]:
        """All processes, by rising pid, and those that could not be looked at."""
        now = self._clock()
        if now >= self._whole_at:
            self._bare, self._whole_at = {}, now + _WHOLE_SECONDS
            settled: dict[int, _KnownProcess] = {}
        else:
            settled = {pid: row for pid, row in self._rows.items() if row.is_settled}
        listed = {pid: _execution(pid) for pid in list_processes()}
        known = {pid: row for pid, row in settled.items() if listed.get(pid) == row.execution}
        new: Sequence[Found] = ()
        unread: Sequence[Unread] = ()
        if any(pid not in known and self._bare.get(pid) != execution for pid, execution in listed.items()):
            new, unread = every_process({(pid, row.found.start_time) for pid, row in known.items()})
        self._rows = known | {p.pid: self._row(p, listed.get(p.pid, ""), now) for p in new}
        told = self._rows.keys() | {u.pid for u in unread}
        self._bare = {pid: execution for pid, execution in listed.items() if pid not in told}
        return [row.found for _, row in sorted(self._rows.items())], unread

    def forget(self, pids: Collection[int] | None = None) -> None:
        """Read these anew at the next look, or all of them: they were changed."""
        if pids is None:
            self._whole_at = 0.0
        for pid in pids or ():
            self._rows.pop(pid, None)

    def _row(self, found: Found, execution: str, now: float) -> _KnownProcess:
        before = self._rows.get(found.pid)
        is_same = before is not None and execution and before.execution == execution
        return _KnownProcess(execution, found, before.first if before and is_same else now, now)


def _execution(pid: int) -> str:
    """Another text for another process, and after each execve(2) (where addresses are chosen at random, which Linux
    does by default); "" for a process that has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read(4096).rpartition(b") ")[2].split()
        return b" ".join((fields[_STARTTIME], fields[_STARTCODE], fields[_STARTSTACK])).decode()
    except (OSError, IndexError):
        return ""
