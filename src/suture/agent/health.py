"""Whether processes live on after they were patched: which died of a defect within the policy's window, and so which
patches are suspected.

A process that a patched one has forked counts as patched when that was: it has the patch from it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from suture.agent.journal import Journal
from suture.error import SutureError
from suture.process.see.crash import Crash, Crashes
from suture.process.tracee import read_stat

_MOST_PATCHED = 1 << 16


@dataclass(frozen=True)
class Suspicion:
    """A process that died, and what it had been patched with so many seconds before."""

    crash: Crash
    patches: tuple[str, ...]
    seconds: float


class Health:
    """Of what was patched since this began. `clock` counts seconds."""

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._patched: OrderedDict[int, dict[str, float]] = OrderedDict()  # by pid: patches, and since when
        self._deaths: dict[str, list[float]] = {}
        self._crashes: Crashes | None = None
        try:
            self._crashes = Crashes()
        except (OSError, ValueError) as problem:
            journal.tell("health", f"it is not seen whether a patched process crashes: {problem}")

    @property
    def is_seen(self) -> bool:
        """Whether the kernel tells of crashes."""
        return self._crashes is not None

    def fileno(self) -> int:
        """What can be read when a process has died of a defect, -1 where nobody tells."""
        return self._crashes.fileno() if self._crashes else -1

    def close(self) -> None:
        if self._crashes is not None:
            self._crashes.close()
            self._crashes = None

    def patched(self, pids: Iterable[int], patches: Iterable[str]) -> None:
        """These processes have these patches from now on."""
        now, given = self._clock(), tuple(patches)
        for pid in pids:
            self._patched.setdefault(pid, {}).update(dict.fromkeys(given, now))
            self._patched.move_to_end(pid)
        while len(self._patched) > _MOST_PATCHED:
            self._patched.popitem(last=False)

    def suspicions(self, window: float) -> Iterator[Suspicion]:
        """Deaths since the last call, within `window` seconds after patching."""
        now = self._clock()
        for crash in self._crashes.come() if self._crashes else ():
            since = self._patched.get(crash.pid) or self._patched.get(_parent(crash.pid), {})
            recent = {patch: at for patch, at in since.items() if now - at <= window}
            self._patched.pop(crash.pid, None)
            if recent:
                yield Suspicion(crash, tuple(recent), now - max(recent.values()))

    def count(self, patch: str, window: float) -> int:
        """One more death under a patch; how many there were within the window."""
        now = self._clock()
        self._deaths[patch] = [at for at in self._deaths.get(patch, ()) if now - at <= window] + [now]
        return len(self._deaths[patch])


def _parent(pid: int) -> int:
    """0 for one that is gone."""
    try:
        return read_stat(pid).parent
    except SutureError:
        return 0
