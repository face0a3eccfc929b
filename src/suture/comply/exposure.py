"""How long the vulnerable code of a hole ran on a host: spans of time in one state, cut to a period, in hours.

A span's state is what was known then. Time without a word from the host is unknown, never fine. What is closed
counts no hours; mitigated hours are counted apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from suture.comply.fact import HoleFacts
from suture.report.deadline import ExposureFigure
from suture.report.hole import HoleState

_RUNS = (HoleState.OPEN, HoleState.FIXED_ON_DISK)


@dataclass(frozen=True)
class StateSpan:
    """A hole on a host in one state, from `begin` until `end`, None for until now. `state` is None where the host no
    longer runs the code at all."""

    state: HoleState | None
    begin: datetime
    end: datetime | None

    def hours(self, begin: datetime, end: datetime, now: datetime) -> float:
        """Those of them within a period, and not after now."""
        first, last = max(self.begin, begin), min(self.end or now, end, now)
        return max((last - first).total_seconds(), 0.0) / 3600


@dataclass(frozen=True)
class Period:
    """From `begin` until before `end`."""

    begin: datetime
    end: datetime


def opened(spans: Sequence[StateSpan], facts: HoleFacts) -> datetime | None:
    """When the exposure began: the latest of disclosure and first sight. None without a span."""
    if not spans:
        return None
    first = min(s.begin for s in spans)
    return max(first, facts.disclosed) if facts.disclosed else first


def ended(spans: Iterable[StateSpan], accepted: Iterable[HoleState]) -> datetime | None:
    """Since when the hole is in an accepted state, or gone, without a break until now; None if it is not."""
    ends = set(accepted)
    since: datetime | None = None
    for span in sorted(spans, key=lambda s: s.begin):
        closed = span.state is None or span.state in ends
        since = (since or span.begin) if closed else None
    return since


def figure(
    host: str, facts: HoleFacts, spans: Sequence[StateSpan], period: Period, now: datetime
) -> ExposureFigure | None:
    """Hours in a period; None where the hole was not there in it."""
    begin = opened(spans, facts)
    if begin is None or begin >= min(period.end, now):
        return None
    first = max(begin, period.begin)

    def hours(*states: HoleState) -> float:
        return round(sum(s.hours(first, period.end, now) for s in spans if s.state in states), 3)

    last = min(monthly_window(begin), period.end, now)
    monthly = max((last - first).total_seconds(), 0.0) / 3600
    until = ended(spans, (s for s in HoleState if s.is_closed))
    return ExposureFigure(
        host,
        facts.cve,
        begin.isoformat(),
        until.isoformat() if until else "",
        hours(*_RUNS),
        hours(HoleState.MITIGATED),
        hours(HoleState.UNKNOWN),
        round(monthly, 3),
    )


def monthly_window(begin: datetime) -> datetime:
    """The first maintenance window after a hole opened, had there been one on the first day of each month (UTC)."""
    year, month = divmod(begin.year * 12 + begin.month, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)
