"""The time line of a hole: on how many hosts it stood how, from the first to the last change, as numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from suture.fleet.role import Visitor
from suture.fleet.table import HostRow, SpanRow
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


def line(session: Session, visitor: Visitor, cve: str, now: datetime) -> TimeLine:
    """Counted in the database, one row for each moment and state in which something changed."""
    changes = Counter[tuple[datetime, str]]()
    for moment, sign in ((SpanRow.since, 1), (SpanRow.until, -1)):
        statement = (
            select(moment, SpanRow.state, func.count())
            .where(SpanRow.cve == cve, SpanRow.state.is_not(None), moment.is_not(None))
            .group_by(moment, SpanRow.state)
        )
        if visitor.groups:
            statement = statement.join(HostRow, HostRow.id == SpanRow.host).where(HostRow.group.in_(visitor.groups))
        for when, state, count in session.execute(statement):
            assert when is not None
            changes[(when, str(state))] += sign * int(count)
    if not changes:
        return TimeLine((), 0)
    first = min(when for when, _ in changes)
    step = max(now - first, (now - now.replace(microsecond=0))) / _STEPS
    moments = [first + step * (n + 1) for n in range(_STEPS)]
    columns = tuple(_column(at, changes) for at in moments)
    return TimeLine(columns, max(c.open + c.unknown + c.closed for c in columns))


def _column(at: datetime, changes: Counter[tuple[datetime, str]]) -> Column:
    counts = Counter[HoleState]()
    for (when, state), by in changes.items():
        if when <= at:
            counts[HoleState(state)] += by
    closed = sum(n for s, n in counts.items() if s.is_closed)
    unknown = counts[HoleState.UNKNOWN]
    return Column(at, sum(counts.values()) - closed - unknown, unknown, closed)
