"""What is open in the fleet, counted by hole and kind of host, which deadlines are made from. A large fleet takes the
database seconds to count, so only holes that stand otherwise than before are counted anew. Where that takes long too, a
count is kept for a while: the longer it took, the longer, and a minute at most."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from itertools import chain
from typing import Any

from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from suture.comply.fact import HoleFacts
from suture.fleet import audit
from suture.fleet.database import Database
from suture.fleet.hole import facts
from suture.fleet.table import AuditRow, DataSourceRow, HoleRow, HostRow, SpanRow
from suture.report.hole import HoleState

_SHORT_SECONDS = 0.05  # a count that took less is made anew each time
_FACTOR, _MOST_SECONDS = 20.0, 60.0
_MOST_CHANGED = 500
_HOST_CHANGES = (audit.HOST_DESCRIBED, audit.HOST_WITHDRAWN)
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
class Mark:
    """How far the database had come: the last span, the last time that a host was described or withdrawn, and the last
    data about holes that were taken in."""

    span: int
    audit: int
    data: datetime | None


@dataclass(frozen=True)
class OpenCount:
    """All of them by hole, as it was `at` a moment, with what is known of these holes. `said` keeps what was computed
    from this count, by who asked for it."""

    by_hole: Mapping[str, tuple[OpenKind, ...]]
    facts: Mapping[str, HoleFacts]
    mark: Mark
    at: datetime
    said: dict[Hashable, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def kinds(self) -> Iterator[OpenKind]:
        return chain.from_iterable(self.by_hole.values())


def counted(session: Session, before: OpenCount | None = None) -> OpenCount:
    """As it is now. Since `before` only holes of which a host has said something new are counted anew."""
    at, mark = datetime.now(UTC), _mark(session)
    changed = _changed(session, before.mark, mark) if before is not None else None
    if before is None or changed is None or len(changed) > _MOST_CHANGED:
        by_hole = _count(session, None)
        return OpenCount(by_hole, _facts(session, None), mark, at)
    if not changed and mark.data == before.mark.data:
        return replace(before, mark=mark, at=at)
    by_hole = {cve: kinds for cve, kinds in before.by_hole.items() if cve not in changed} | _count(session, changed)
    facts = _facts(session, None) if mark.data != before.mark.data else {**before.facts, **_facts(session, changed)}
    return OpenCount(by_hole, facts, mark, at)


def _mark(session: Session) -> Mark:
    changes = select(func.max(AuditRow.number)).where(AuditRow.what.in_(_HOST_CHANGES))
    return Mark(
        session.scalar(select(func.max(SpanRow.id))) or 0,
        session.scalar(changes) or 0,
        session.scalar(select(func.max(DataSourceRow.read))),
    )


def _changed(session: Session, before: Mark, mark: Mark) -> set[str]:
    """Holes that stand otherwise on some host since then: each change begins a span, or is in the audit log."""
    found: set[str] = set()
    if mark.span != before.span:
        found |= set(session.scalars(select(SpanRow.cve).where(SpanRow.id > before.span)))
    if mark.audit != before.audit:
        names = select(AuditRow.subject).where(AuditRow.number > before.audit, AuditRow.what.in_(_HOST_CHANGES))
        of_hosts = select(SpanRow.cve).join(HostRow, HostRow.id == SpanRow.host).where(HostRow.name.in_(names))
        found |= set(session.scalars(of_hosts.distinct()))
    return found


def _count(session: Session, cves: Collection[str] | None) -> dict[str, tuple[OpenKind, ...]]:
    """Of these holes; of all without."""
    classes = cast(HostRow.classes, Text)
    statement = (
        select(
            SpanRow.cve, HostRow.group, HostRow.exposed, classes, SpanRow.state, func.min(SpanRow.seen), func.count()
        )
        .join(HostRow, HostRow.id == SpanRow.host)
        .where(SpanRow.until.is_(None), SpanRow.state.is_not(None))
        .group_by(SpanRow.cve, HostRow.group, HostRow.exposed, classes, SpanRow.state)
    )
    if cves is not None:
        statement = statement.where(SpanRow.cve.in_(cves))
    known = cache(lambda words: frozenset(json.loads(words)))
    found: dict[str, list[OpenKind]] = {}
    for cve, group, exposed, words, state, seen, hosts in session.execute(statement):
        kind = OpenKind(cve, group, exposed, known(words), HoleState(state), seen, int(hosts))
        found.setdefault(cve, []).append(kind)
    return {cve: tuple(kinds) for cve, kinds in found.items()}


def _facts(session: Session, cves: Collection[str] | None) -> dict[str, HoleFacts]:
    statement = select(HoleRow)
    if cves is not None:
        statement = statement.where(HoleRow.cve.in_(cves))
    return {row.cve: facts(row) for row in session.scalars(statement)}


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
        """Make the first count before anybody waits for it, and one that took long anew before it is too old. A
        chore."""
        with self._lock:
            is_old = self._lasts() and self._age() > self._lasts() / 2
            if self._kept is None or (is_old and self._clock() - self._asked < _IDLE_SECONDS):
                self._count()

    def _count(self) -> None:
        begun, is_first = self._clock(), self._kept is None
        with self._database.reading() as session:
            self._kept = counted(session, self._kept)
        self._made = self._clock()
        self._took = 0.0 if is_first else self._made - begun  # the next one has little to count

    def _age(self) -> float:
        return self._clock() - self._made

    def _lasts(self) -> float:
        return min(self._took * _FACTOR, _MOST_SECONDS) if self._took >= _SHORT_SECONDS else 0.0
