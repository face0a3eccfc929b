"""How deadlines stand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from suture.comply.deadline import figures, judge
from suture.comply.exposure import StateSpan
from suture.comply.fact import AssetFacts, HoleFacts
from suture.comply.rulebook import shipped
from suture.report.deadline import Deadline, DeadlineState, Exemption
from suture.report.hole import HoleState

THIRTY = next(r for r in shipped() if r.id == "thirty-days")
T, DAY = datetime(2026, 7, 1, tzinfo=UTC), timedelta(days=1)
HOLE, HOST = HoleFacts("CVE-1"), AssetFacts("a")


def at(day: float, *spans: StateSpan, exemptions: tuple[Exemption, ...] = ()) -> Deadline:
    found = judge(THIRTY, HOLE, HOST, spans or (StateSpan(HoleState.OPEN, T, None),), exemptions, T + day * DAY)
    assert found is not None
    return found


def closed(day: float) -> tuple[StateSpan, StateSpan]:
    return StateSpan(HoleState.OPEN, T, T + day * DAY), StateSpan(HoleState.FIXED_IN_MEMORY, T + day * DAY, None)


def test_a_deadline_runs_is_overdue_and_is_met_or_late() -> None:
    assert at(29).state is DeadlineState.RUNNING and at(31).state is DeadlineState.OVERDUE
    assert at(60, *closed(29)).state is DeadlineState.MET and at(60, *closed(31)).state is DeadlineState.LATE
    assert at(1).due == (T + 30 * DAY).isoformat() and at(1).hole is HoleState.OPEN


def test_an_unknown_host_does_not_end_a_deadline() -> None:
    away = StateSpan(HoleState.OPEN, T, T + DAY), StateSpan(HoleState.UNKNOWN, T + DAY, None)
    assert at(31, *away).state is DeadlineState.OVERDUE


def test_an_exception_holds_until_it_runs_out() -> None:
    one = Exemption(7, "CVE-1", "a", "why", "ann", "firewall", T.isoformat(), (T + 40 * DAY).isoformat(), "bob")
    assert at(39, exemptions=(one,)).state is DeadlineState.EXEMPT and at(39, exemptions=(one,)).exemption == 7
    assert at(41, exemptions=(one,)).state is DeadlineState.OVERDUE


def test_a_host_that_never_had_it_has_no_deadline() -> None:
    assert judge(THIRTY, HOLE, HOST, (), (), T) is None


def test_figures_count_what_was_kept_of_what_had_a_date() -> None:
    found = figures(THIRTY, [at(60, *closed(29)), at(60, *closed(31)), at(60, *closed(2)), at(31), at(3)])
    assert found.kept == 0.5 and found.counts[DeadlineState.RUNNING] == 1
    assert figures(THIRTY, [at(3)]).kept is None
