"""Whether processes live on after they were patched: which died of a defect within the policy's window, which services
end with an error again and again, and so which patches are suspected.

A process that a patched one has forked counts as patched when that was: it has the patch from it.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from suture.agent.journal import Journal
from suture.agent.suspect import SETTLED_SECONDS, Carriers
from suture.error import SutureError
from suture.host.subject import service
from suture.process.see.crash import Crash, Crashes, ErrorExit, Exits
from suture.process.tracee import read_stat
from suture.report.agent import HealthSeen
from suture.report.reason import Cause, Reason

HEALTH = "health.json"
T = TypeVar("T", Crash, ErrorExit)
_MOST_WAITING = 4096
_LATE_SECONDS = 2.0
_TOLD_TO_END = {128 + s for s in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
_ENABLE = "mount --types tracefs tracefs /sys/kernel/tracing, then restart suture-agent-apply"


@dataclass(frozen=True)
class Suspicion:
    """What has happened to which process, which patches may have done it, and which older ones are `spared`."""

    what: str
    patches: tuple[str, ...]
    spared: tuple[str, ...]


class Health:
    """Of what was patched since this began. `clock` counts seconds."""

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._journal = clock, journal
        self._carriers = Carriers()
        self._services: dict[int, str] = {}
        self._deaths: dict[str, list[float]] = {}
        self._exits: dict[str, list[float]] = {}  # by service
        self._dead: deque[tuple[float, Crash, int]] = deque(maxlen=_MOST_WAITING)
        self._ended: deque[tuple[float, ErrorExit, int]] = deque(maxlen=_MOST_WAITING)
        self._settled: set[str] = set()  # services that had run well when they were patched
        self._crashes: Crashes | None = None
        self._exited: Exits | None = None
        why: list[Cause] = []
        try:
            self._crashes = Crashes()
        except (OSError, ValueError) as problem:
            why.append(Cause(Reason.NO_TRACEPOINT, f"no crash is seen: {problem}", _ENABLE))
        try:
            self._exited = Exits()
        except (OSError, ValueError) as problem:
            what = f"it is not seen whether a service ends with an error again and again: {problem}"
            why.append(Cause(Reason.NO_TRACEPOINT, what, _ENABLE))
        for cause in why:
            journal.tell("health", cause.text)
        self._why = tuple(why)

    @property
    def seen(self) -> HealthSeen:
        """What of it can be seen."""
        lost = sum(e.lost for e in (self._crashes, self._exited) if e)
        return HealthSeen(self._crashes is not None, self._exited is not None, self._why, lost)

    def fileno(self) -> int:
        """What can be read when a process has died of a defect, -1 where nobody tells."""
        return self._crashes.fileno() if self._crashes else -1

    def close(self) -> None:
        for events in (self._crashes, self._exited):
            if events is not None:
                events.close()
        self._crashes = self._exited = None

    def came(self, seconds: Mapping[str, float]) -> None:
        """How long these patches have been on this host."""
        now = self._clock()
        self._carriers.came({patch: now - ago for patch, ago in seconds.items()})

    def patched(self, pids: Iterable[int], patches: Iterable[str], services: Mapping[int, str] | None = None) -> None:
        """These processes have these patches from now on. `services`: which are the first of one, for those that are
        patched as they start."""
        now, given = self._clock(), tuple(patches)
        for pid in pids:
            forgotten = self._carriers.patched(pid, given, now)
            if services is None:
                self._services[pid] = service(pid)
                if self._services[pid] and _age(pid) >= SETTLED_SECONDS:
                    self._settled.add(self._services[pid])
            else:
                self._services[pid] = services.get(pid, "")
            if forgotten is not None:
                self._services.pop(forgotten, None)

    def taken_out(self, patch: str) -> None:
        """No process has it any more."""
        self._carriers.taken_out(patch, self._clock())

    def has_come(self) -> bool:
        """Whether somebody has died of whom it is to be asked what it was patched with."""
        now = self._clock()
        self._note(self._dead, now, self._crashes.come() if self._crashes else ())
        self._note(self._ended, now, self._exited.come() if self._exited else ())
        return bool(self._dead or self._ended)

    @staticmethod
    def _note(waiting: deque[tuple[float, T, int]], now: float, new: Iterable[T]) -> None:
        waiting.extend((now, death, _parent(death.pid) if isinstance(death, Crash) else 0) for death in new)

    def suspicions(self, window: float) -> Iterator[Suspicion]:
        """Of those that `has_come` has noted, deaths within `window` seconds after patching."""
        now = self._clock()
        for crash, parent in self._known(self._dead):
            self._services.pop(crash.pid, None)
            found = self._carriers.suspected(crash.pid, parent, now, window)
            if found is not None:
                what = f"pid {crash.pid} died of {crash.signal.name}, {found.seconds:.1f} s after patching"
                yield Suspicion(what, found.patches, found.spared)

    def loops(self, window: float, most: int) -> Iterator[Suspicion]:
        """Services that have ended with an error `most` times, each within `window` seconds after patching, as
        `has_come` has noted. Only those that had run well for a while when they got their first patch: one that fails
        anyway is no reason."""
        now = self._clock()
        for ended, _ in self._known(self._ended):
            name = self._services.pop(ended.pid, "")
            if ended.code in _TOLD_TO_END or name not in self._settled:
                self._carriers.forget(ended.pid)
                continue
            found = self._carriers.suspected(ended.pid, 0, now, window)
            if found is None:
                continue
            self._exits[name] = [at for at in self._exits.get(name, ()) if now - at <= window] + [now]
            if len(self._exits[name]) >= most:
                what = (
                    f"{name} ended {len(self._exits.pop(name))} times with an error, last with exit code {ended.code}"
                )
                yield Suspicion(f"{what}, {found.seconds:.1f} s after patching", found.patches, found.spared)

    def _known(self, waiting: deque[tuple[float, T, int]]) -> Iterator[tuple[T, int]]:
        """Deaths of which it is known now what was patched, with the parent as it was. Who was patched as it started,
        and died at once, is told of a little later."""
        now = self._clock()
        for _ in range(len(waiting)):
            at, death, parent = waiting.popleft()
            if death.pid in self._carriers or parent in self._carriers:
                yield death, parent
            elif now - at < _LATE_SECONDS:
                waiting.append((at, death, parent))

    def count(self, patch: str, window: float) -> int:
        """One more death under a patch; how many there were within the window."""
        now = self._clock()
        self._deaths[patch] = [at for at in self._deaths.get(patch, ()) if now - at <= window] + [now]
        return len(self._deaths[patch])


def _age(pid: int) -> float:
    """Seconds since it was started; 0 for one that is gone."""
    try:
        start = read_stat(pid).start_time
    except SutureError:
        return 0.0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - start / os.sysconf("SC_CLK_TCK")


def _parent(pid: int) -> int:
    """0 for one that is gone."""
    try:
        return read_stat(pid).parent
    except SutureError:
        return 0
