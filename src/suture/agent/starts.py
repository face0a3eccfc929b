"""What came of starts, gathered: told in few lines however many there are, and which patches some of them lack."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from suture.agent.hold import HeldStart
from suture.agent.journal import Journal
from suture.report.agent import PatchInForce
from suture.report.start import StartEnd

_TELL_SECONDS = 10.0
_MOST_LINES = 8
_SETTLE_SECONDS, _PAUSE_SECONDS = 0.05, 1.0
_WHY = {
    StartEnd.EXECUTED: "it is the program itself, which nobody can hold; it is patched now",
    StartEnd.FAILED: "",
}


class LateStarts:
    """`clock` counts seconds."""

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.monotonic) -> None:
        self._journal, self._clock = journal, clock
        self._patched: Counter[tuple[str, str]] = Counter()  # by command and file
        self._tell_at = 0.0
        self._lines_left = _MOST_LINES
        self._untold = 0
        self._lacking: set[str] = set()
        self._due_at = 0.0
        self._let_go = 0

    def note(self, starts: Iterable[HeldStart], let_go: int, in_force: Sequence[PatchInForce]) -> None:
        """`let_go` counts the openings that nobody could hold, which may have been of any file."""
        now = self._clock()
        if now >= self._tell_at:
            self._tell(now)
        for start in starts:
            if start.end is StartEnd.PATCHED:
                self._patched[start.command, start.shown] += 1
            elif start.end is not StartEnd.NOT_LOADED:
                self._lack(start.patches, now)
                self._tell_late(start)
        if let_go > self._let_go:
            self._journal.tell("not held", f"{let_go - self._let_go} starts, for want of time; they are patched now")
            self._lack((r.offer.patch for r in in_force), now)
        self._let_go = let_go

    def due(self) -> set[str]:
        """The patches (ids) that a process has started without, when it is time to do something about it."""
        now = self._clock()
        if not self._lacking or now < self._due_at:
            return set()
        found, self._lacking = self._lacking, set()
        self._due_at = now + _PAUSE_SECONDS
        return found

    def _lack(self, patches: Iterable[str], now: float) -> None:
        if not self._lacking:
            self._due_at = max(self._due_at, now + _SETTLE_SECONDS)
        self._lacking |= set(patches)

    def _tell_late(self, start: HeldStart) -> None:
        if self._lines_left:
            self._lines_left -= 1
            why = start.error or _WHY.get(start.end, "")
            self._journal.tell("started without", f"pid {start.pid} {start.command} ({start.shown}): {why}")
        else:
            self._untold += 1

    def _tell(self, now: float) -> None:
        for (command, shown), count in self._patched.most_common(_MOST_LINES):
            self._journal.tell("patched as they started", f"{count} of {command} ({shown})")
        rest = sum(self._patched.values()) - sum(c for _, c in self._patched.most_common(_MOST_LINES))
        if rest:
            self._journal.tell("patched as they started", f"{rest} of others")
        if self._untold:
            self._journal.tell("started without", f"{self._untold} others")
        self._patched.clear()
        self._untold, self._lines_left, self._tell_at = 0, _MOST_LINES, now + _TELL_SECONDS
