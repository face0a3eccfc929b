"""Attempts to use holes that patches of this host have closed: the counters of all patched processes and of the running
kernel, looked at again and again.

A look at what is known reads a few bytes of each process that has tripwires, from a child, since a read may never
return. Processes that are new are looked at when they are seen; those that had no tripwire when they were seen,
every few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from suture.error import ExitCode
from suture.host.facts import this_host
from suture.host.flood import Flood
from suture.host.subject import process, user
from suture.kernel.attempts import counts
from suture.kernel.livepatch import patches
from suture.process.see.aside import each
from suture.process.see.tripwires import WiredProcess, counted, wired
from suture.process.tracee import list_processes
from suture.report.attempt import CountedWire, TrippedWire
from suture.report.document import AttemptReport
from suture.report.host import Host
from suture.report.moment import now
from suture.report.process import Process

APART_SECONDS = 10.0
MOST_EVENTS = 60
_WHOLE_SECONDS = 5.0
_Key = tuple[str, str, str, TrippedWire]
_THE_KERNEL = Process(0, 0, "kernel", "", "", "")
_NOBODY = -1


@dataclass
class _Watched:
    """A process with tripwires, and the counts that have been told of."""

    process: WiredProcess
    counts: dict[TrippedWire, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Fact:
    """The process of the last attempt, the tripwire, and what that process has counted at that place in all."""

    process: Process
    user: str
    uid: int
    wire: TrippedWire
    total: int


class Attempts:
    """What was counted when it was looked at last. What had been counted before the first look is no event: `suture
    status` shows it. At most one event in `apart` seconds for a program and a tripwire, and `most` events a minute.
    `only` are the processes that are looked at, all without any."""

    def __init__(
        self,
        apart: float = APART_SECONDS,
        most: int = MOST_EVENTS,
        only: Collection[int] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._only = frozenset(only)
        self._clock = clock
        self._watched: dict[int, _Watched] = {}
        self._bare: set[int] = set()
        self._whole_at = 0.0
        self._begun = False
        self._flood: Flood[_Key, _Fact] = Flood(apart, most)
        self._kernel: dict[TrippedWire, int] = {}

    @property
    def in_kernel(self) -> bool:
        """Whether the running kernel has tripwires."""
        return bool(self._kernel)

    @property
    def processes(self) -> int:
        """How many have tripwires."""
        return len(self._watched)

    def look(self) -> list[AttemptReport]:
        """What was tried since the last look, as far as it may be told by now."""
        moment = self._clock()
        listed = set(list_processes())
        if self._only:
            listed &= self._only
        self._find(listed, moment)
        for answer in each(sorted(self._watched), self._count):
            if answer.result is None:
                self._watched.pop(answer.pid, None)  # it is found anew if it has any
            else:
                self._note(self._watched[answer.pid], answer.result)
        if not self._only:
            self._note_kernel(counts(patches()))
        self._begun = True
        return [_report(*row) for row in self._flood.due(moment)]

    def _find(self, listed: set[int], moment: float) -> None:
        """Processes that have tripwires now."""
        whole = moment >= self._whole_at
        if whole:
            self._whole_at = moment + _WHOLE_SECONDS
        self._watched = {pid: one for pid, one in self._watched.items() if pid in listed}
        self._bare &= listed
        known = set() if whole else self._bare.union(self._watched)
        asked = sorted(listed - known)
        for answer in each(asked, wired) if asked else ():
            if answer.result is None:
                if not (answer.problem and answer.pid in self._watched):
                    self._watched.pop(answer.pid, None)
                    self._bare.add(answer.pid)
                continue
            self._bare.discard(answer.pid)
            earlier = self._watched.get(answer.pid)
            if earlier is not None and earlier.process.start_time == answer.result.start_time:
                earlier.process = answer.result
            else:
                self._watched[answer.pid] = _Watched(answer.result, self._inherited(answer.result))

    def _inherited(self, process: WiredProcess) -> dict[TrippedWire, int]:
        """What a child of a known process had counted when it was born, as far as is known."""
        parent = self._watched.get(process.parent)
        same = {p.base for p in process.patches}
        if parent is None or not same & {p.base for p in parent.process.patches}:
            return {}
        return dict(parent.counts)

    def _count(self, pid: int) -> tuple[CountedWire, ...]:
        return counted(self._watched[pid].process)

    def _note(self, one: _Watched, counts: tuple[CountedWire, ...]) -> None:
        if self._begun:
            rises = {c.wire: c.count - min(one.counts.get(c.wire, 0), c.count) for c in counts}
            if any(rises.values()):
                self._tell(one.process.pid, rises, counts)
        one.counts = {c.wire: c.count for c in counts}

    def _note_kernel(self, now_counted: tuple[CountedWire, ...]) -> None:
        """A module that takes the place of another begins with its counts; one that is loaded again, at nothing."""
        places: dict[tuple[str, ...], int] = {}
        for wire, count in self._kernel.items():
            places[wire.place] = max(count, places.get(wire.place, 0))
        for one in now_counted if self._begun else ():
            earlier = self._kernel.get(one.wire, places.get(one.wire.place, 0))
            rise = one.count - earlier if one.count >= earlier else one.count
            if rise:
                fact = _Fact(_THE_KERNEL, "", _NOBODY, one.wire, one.count)
                self._flood.add((_THE_KERNEL.command, "", "", one.wire), rise, _THE_KERNEL.pid, fact)
        self._kernel = {c.wire: c.count for c in now_counted}

    def _tell(self, pid: int, rises: Mapping[TrippedWire, int], counts: tuple[CountedWire, ...]) -> None:
        subject, (name, uid) = process(pid), user(pid)
        for wire, rise in rises.items():
            if rise:
                total = sum(c.count for c in counts if c.wire.place == wire.place)
                key = (subject.program, subject.unit, subject.container, wire)
                self._flood.add(key, rise, pid, _Fact(subject, name, uid, wire, total))


@lru_cache(maxsize=1)
def _host() -> Host:
    return this_host()


def _report(fact: _Fact, count: int, processes: int) -> AttemptReport:
    return AttemptReport(
        now(), int(ExitCode.OK), _host(), fact.process, fact.user, fact.uid, fact.wire, count, fact.total, processes
    )
