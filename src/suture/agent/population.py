"""All processes of the host, looked at again and again for little: one that executes what it executed before is not
read anew until ten minutes have gone by.

What a known process loads later without executing (dlopen(3)) is seen then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from suture.process.see.find import Found, Unread, every_process

_WHOLE_SECONDS = 600.0
_STARTCODE, _STARTSTACK = 23, 25  # fields after the command's name (proc_pid_stat(5): 26 and 28)


class KnownProcesses:
    """What was seen last, by pid and start time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._seen: dict[tuple[int, int], tuple[str, Found]] = {}
        self._clock = clock
        self._whole_at = 0.0

    def look(self) -> tuple[list[Found], Sequence[Unread]]:
        """All processes, by rising pid, and those that could not be looked at."""
        if self._clock() >= self._whole_at:
            self._seen.clear()
            self._whole_at = self._clock() + _WHOLE_SECONDS
        kept = {key: row for key, row in self._seen.items() if row[0] and _execution(key[0]) == row[0]}
        new, unread = every_process(kept.keys())
        pids = {p.pid for p in new}
        self._seen = {key: row for key, row in kept.items() if key[0] not in pids}
        self._seen |= {(p.pid, p.start_time): (_execution(p.pid), p) for p in new}
        return sorted((p for _, p in self._seen.values()), key=lambda p: p.pid), unread

    def forget(self) -> None:
        """Read all anew at the next look: some were changed."""
        self._whole_at = 0.0


def _execution(pid: int) -> str:
    """Another text after each execve(2) (where addresses are chosen at random, which Linux does by default); "" for a
    process that has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read(4096).rpartition(b") ")[2].split()
        return f"{int(fields[_STARTCODE]):x}-{int(fields[_STARTSTACK]):x}"
    except (OSError, IndexError, ValueError):
        return ""
