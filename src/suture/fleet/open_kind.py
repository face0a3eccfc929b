"""What is open in the fleet, counted by hole and kind of host, which deadlines are made from. A large fleet takes the
database seconds to count, so a count is kept for a while: the longer it took, the longer, and a minute at most."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from suture.fleet.database import Database
from suture.fleet.table import HostRow, SpanRow
from suture.report.hole import HoleState

_SHORT_SECONDS = 0.05  # a count that took less is made anew each time
_FACTOR, _MOST_SECONDS = 20.0, 60.0
_IDLE_SECONDS = 600.0  # what nobody has asked for so long is not kept up


@dataclass(frozen=True)
class OpenKind:
    """Hosts of one kind on which a hole stands in one state, other than gone; `seen` is when the first of them had
    it."""

    cve: str
    group: str
    exposed: bool | None
    classes: frozenset[str]
    state: HoleState
    seen: datetime
    hosts: int


@dataclass(frozen=True)
class OpenCount:
    """All of them, as it was `at` a moment."""

    kinds: tuple[OpenKind, ...]
    at: datetime


def counted(session: Session) -> OpenCount:
    """As it is now."""
    at, classes = datetime.now(UTC), cast(HostRow.classes, Text)
    statement = (
        select(
            SpanRow.cve, HostRow.group, HostRow.exposed, classes, SpanRow.state, func.min(SpanRow.seen), func.count()
        )
        .join(HostRow, HostRow.id == SpanRow.host)
        .where(SpanRow.until.is_(None), SpanRow.state.is_not(None))
        .group_by(SpanRow.cve, HostRow.group, HostRow.exposed, classes, SpanRow.state)
    )
    known = cache(lambda words: frozenset(json.loads(words)))
    kinds = tuple(
        OpenKind(cve, group, exposed, known(words), HoleState(state), seen, int(hosts))
        for cve, group, exposed, words, state, seen, hosts in session.execute(statement)
    )
    return OpenCount(kinds, at)


class OpenCounts:
    """The count that a server keeps."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._lock = threading.Lock()
        self._kept: OpenCount | None = None
        self._made = self._took = self._asked = 0.0

    def now(self) -> OpenCount:
        """The count, no older than it may be."""
        self._asked = self._clock()
        kept = self._kept
        if kept is not None and self._age() < self._lasts():
            return kept
        with self._lock:
            if self._kept is None or self._age() >= self._lasts():
                self._count()
            assert self._kept is not None
            return self._kept

    def keep(self) -> None:
        """Make a count that took long anew before it is too old, so that nobody waits for it. A chore."""
        with self._lock:
            if self._lasts() and self._age() > self._lasts() / 2 and self._clock() - self._asked < _IDLE_SECONDS:
                self._count()

    def _count(self) -> None:
        begun = self._clock()
        with self._database.reading() as session:
            self._kept = counted(session)
        self._made = self._clock()
        self._took = self._made - begun

    def _age(self) -> float:
        return self._clock() - self._made

    def _lasts(self) -> float:
        return min(self._took * _FACTOR, _MOST_SECONDS) if self._took >= _SHORT_SECONDS else 0.0
