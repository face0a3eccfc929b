"""Hours of exposure from spans."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from suture.comply.exposure import Period, StateSpan, ended, figure, monthly_window, opened
from suture.comply.fact import HoleFacts
from suture.report.hole import HoleState

T = datetime(2026, 7, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
SPANS = (
    StateSpan(HoleState.OPEN, T, T + 10 * HOUR),
    StateSpan(HoleState.UNKNOWN, T + 10 * HOUR, T + 14 * HOUR),
    StateSpan(HoleState.FIXED_ON_DISK, T + 14 * HOUR, T + 20 * HOUR),
    StateSpan(HoleState.MITIGATED, T + 20 * HOUR, T + 21 * HOUR),
    StateSpan(HoleState.LOST_AT_NEXT_START, T + 21 * HOUR, None),
)
FACTS = HoleFacts("CVE-1", disclosed=T + 2 * HOUR)
JULY = Period(datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 8, 1, tzinfo=UTC))


def test_hours_count_from_disclosure_and_each_state_apart() -> None:
    found = figure("a", FACTS, SPANS, JULY, T + 100 * HOUR)
    assert found is not None
    assert (found.hours_open, found.hours_mitigated, found.hours_unknown) == (14.0, 1.0, 4.0)
    assert found.begin == (T + 2 * HOUR).isoformat() and found.end == (T + 20 * HOUR).isoformat()
    assert found.hours_monthly == 98.0  # until now: the window of August has not come


def test_only_what_lies_in_the_period_counts() -> None:
    period = Period(T + 8 * HOUR, T + 16 * HOUR)
    found = figure("a", FACTS, SPANS, period, T + 100 * HOUR)
    assert found is not None and (found.hours_open, found.hours_unknown) == (4.0, 4.0)
    assert figure("a", FACTS, SPANS, Period(T - 9 * HOUR, T - HOUR), T + 100 * HOUR) is None


def test_a_hole_ends_where_it_stays_closed() -> None:
    closed = (HoleState.FIXED_IN_MEMORY, HoleState.LOST_AT_NEXT_START)
    assert ended(SPANS, closed) == T + 21 * HOUR
    again = (
        *SPANS[:-1],
        StateSpan(HoleState.FIXED_IN_MEMORY, T + 21 * HOUR, T + 22 * HOUR),
        StateSpan(HoleState.OPEN, T + 22 * HOUR, None),
    )
    assert ended(again, closed) is None
    assert ended((StateSpan(HoleState.OPEN, T, T + HOUR), StateSpan(None, T + HOUR, None)), closed) == T + HOUR
    assert opened((), FACTS) is None


def test_a_monthly_window_is_the_first_of_the_next_month() -> None:
    assert monthly_window(T) == datetime(2026, 8, 1, tzinfo=UTC)
    assert monthly_window(datetime(2026, 12, 1, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)
