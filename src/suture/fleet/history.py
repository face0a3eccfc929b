"""The time line of a hole: on how many hosts it stood how, from the first to the last change, as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, cast, extract, func, literal, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from suture.fleet.role import Visitor
from suture.fleet.table import HostRow, SpanRow, UtcMoment
from suture.report.hole import HoleState

_STEPS = 60


@dataclass(frozen=True)
class Column:
    """At one moment: hosts where it is open, unknown, and closed."""

    moment: datetime
    open: int
    unknown: int
    closed: int


@dataclass(frozen=True)
class TimeLine:
    """`columns` are evenly spaced; `most` is the greatest number of hosts in one."""

    columns: tuple[Column, ...]
    most: int

    @property
    def lasts(self) -> timedelta:
        """How long it looks the same if nothing changes."""
        if len(self.columns) < 2:
            return timedelta()
        return min((self.columns[1].moment - self.columns[0].moment) / 4, timedelta(minutes=1))


def kept_line(session: Session, visitor: Visitor, cve: str, now: datetime, said: dict[Hashable, Any]) -> TimeLine:
    """As `line`; what is `said` since the last change is taken as long as nobody sees a difference."""
    key = ("line", cve, tuple(visitor.groups))
    kept: tuple[datetime, TimeLine] | None = said.get(key)
    if kept is None or now - kept[0] > kept[1].lasts:
        kept = said[key] = now, line(session, visitor, cve, now)
    return kept[1]


def line(session: Session, visitor: Visitor, cve: str, now: datetime) -> TimeLine:
    """Counted in the database: one row for each step and state."""
    first = session.scalar(_among(visitor, select(func.min(SpanRow.since)), cve, SpanRow.since))
    if first is None:
        return TimeLine((), 0)
    step = max((now - first).total_seconds(), 1.0) / _STEPS
    changes: list[Counter[HoleState]] = [Counter() for _ in range(_STEPS)]
    for moment, sign in ((SpanRow.since, 1), (SpanRow.until, -1)):
        step_number = cast(func.floor(_seconds(session, moment, first) / step), Integer)
        statement: Any = select(step_number, SpanRow.state, func.count()).group_by(step_number, SpanRow.state)
        rows: Sequence[Any] = session.execute(_among(visitor, statement, cve, moment)).all()
        for at, state, count in rows:
            changes[min(max(at, 0), _STEPS - 1)][HoleState(state)] += sign * count
    standing, columns = Counter[HoleState](), []
    for number, change in enumerate(changes):
        standing.update(change)
        columns.append(_column(first + timedelta(seconds=step * (number + 1)), standing))
    return TimeLine(tuple(columns), max(c.open + c.unknown + c.closed for c in columns))


def _among(visitor: Visitor, statement: Select[Any], cve: str, moment: InstrumentedAttribute[Any]) -> Select[Any]:
    statement = statement.where(SpanRow.cve == cve, SpanRow.state.is_not(None), moment.is_not(None))
    if visitor.groups:
        statement = statement.join(HostRow, HostRow.id == SpanRow.host).where(HostRow.group.in_(visitor.groups))
    return statement


def _seconds(session: Session, moment: InstrumentedAttribute[Any], first: datetime) -> ColumnElement[Any]:
    """From `first` to a moment, in the database's own words."""
    start = literal(first, UtcMoment)
    if session.get_bind().dialect.name == "sqlite":
        return (func.julianday(moment) - func.julianday(start)) * 86400.0
    return extract("epoch", moment - start)


def _column(at: datetime, counts: Counter[HoleState]) -> Column:
    closed = sum(n for s, n in counts.items() if s.is_closed)
    unknown = counts[HoleState.UNKNOWN]
    return Column(at, sum(counts.values()) - closed - unknown, unknown, closed)
