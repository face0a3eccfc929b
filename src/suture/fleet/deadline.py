"""Deadlines of the fleet: those that run, by hole and kind of host, from the database; and all pairs of a host and a
hole of a period, for reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from suture.comply.deadline import judge
from suture.comply.exemption import holding
from suture.comply.exposure import Period, StateSpan
from suture.comply.fact import AssetFacts, HoleFacts
from suture.comply.rule import DeadlineRule
from suture.fleet.exemption import exemptions
from suture.fleet.hole import facts
from suture.fleet.host import moment
from suture.fleet.open_kind import OpenCount, counted
from suture.fleet.role import Visitor
from suture.fleet.table import HoleRow, HostRow, SpanRow
from suture.report.deadline import Deadline, DeadlineGroup, DeadlineState
from suture.report.hole import HoleState

_MOST_NAMED = 500


@dataclass(frozen=True)
class Pair:
    """A hole on a host, with its spans."""

    name: str
    asset: AssetFacts
    facts: HoleFacts
    spans: tuple[StateSpan, ...]


def running(
    session: Session,
    visitor: Visitor,
    rule: DeadlineRule,
    now: datetime,
    only: str = "",
    count: OpenCount | None = None,
) -> tuple[DeadlineGroup, ...]:
    """What is not closed by this rule now, the next to run out first; without a number last. Hosts of one kind (reached
    from the internet or not, classes) are one row, which counts from the first of them. `only`: of this hole. `count`:
    what is open, where it was counted before."""
    rows: dict[tuple[str, bool | None, frozenset[str]], tuple[datetime, int]] = {}
    for kind in (count or counted(session)).kinds:
        if kind.state in rule.ends or (only and kind.cve != only) or not visitor.sees(kind.group):
            continue
        key = (kind.cve, kind.exposed, kind.classes)
        seen, hosts = rows.get(key, (kind.seen, 0))
        rows[key] = (min(seen, kind.seen), hosts + kind.hosts)
    known = {h.cve: facts(h) for h in session.scalars(_holes({cve for cve, _, _ in rows}))}
    excepted = exemptions(session)
    found = []
    for (cve, exposed, classes), (seen, hosts) in rows.items():
        says = rule.apply(known[cve], AssetFacts("", exposed, classes), seen)
        if says is None:
            continue
        exempt = holding(excepted, "", cve, now)
        state = DeadlineState.NO_DATE if says.due is None else DeadlineState.RUNNING
        if says.due is not None and says.due < now:
            state = DeadlineState.OVERDUE
        duties = says.clause.duties or ((says.clause.term.words,) if says.clause.term.words else ())
        found.append(
            DeadlineGroup(
                rule.id, says.clause.name, cve, exposed, hosts, DeadlineState.EXEMPT if exempt else state,
                says.clock.value, moment(says.start), moment(says.due), duties, says.assumed,
            )
        )  # fmt: skip
    return tuple(sorted(found, key=lambda d: (not d.due, d.state is DeadlineState.EXEMPT, d.due, d.cve)))


def _holes(cves: set[str]) -> Select[HoleRow]:
    """The holes of these numbers; all where they are too many to name."""
    statement = select(HoleRow)
    return statement.where(HoleRow.cve.in_(cves)) if len(cves) <= _MOST_NAMED else statement


def pairs(session: Session, visitor: Visitor, period: Period, cve: str = "", host: str = "") -> Iterator[Pair]:
    """All pairs of a host and a hole that there were in a period, each with all of its spans."""
    there = (
        select(SpanRow.host, SpanRow.cve)
        .where(SpanRow.since < period.end, or_(SpanRow.until.is_(None), SpanRow.until > period.begin))
        .where(SpanRow.state.is_not(None))
        .distinct()
    )
    if cve:
        there = there.where(SpanRow.cve == cve)
    if host:
        there = there.where(SpanRow.host == host)
    wanted = there.subquery()
    statement = (
        select(SpanRow, HostRow, HoleRow)
        .join(wanted, (wanted.c.host == SpanRow.host) & (wanted.c.cve == SpanRow.cve))
        .join(HostRow, HostRow.id == SpanRow.host)
        .join(HoleRow, HoleRow.cve == SpanRow.cve)
        .order_by(SpanRow.host, SpanRow.cve, SpanRow.since, SpanRow.id)
    )
    statement = visitor.among(statement, HostRow.group)
    rows = session.execute(statement).yield_per(2000)
    for _, same in groupby(rows, key=lambda r: (r[0].host, r[0].cve)):
        of_pair = list(same)
        _, row, hole = of_pair[0]
        asset = AssetFacts(row.id, row.exposed, frozenset(row.classes))
        yield Pair(row.name, asset, facts(hole), tuple(_span(r[0]) for r in of_pair))


def judged(found: Iterable[Pair], rules: Sequence[DeadlineRule], session: Session, now: datetime) -> Iterator[Deadline]:
    """What rules say of pairs."""
    excepted = exemptions(session)
    for pair in found:
        for rule in rules:
            deadline = judge(rule, pair.facts, pair.asset, pair.spans, excepted, now)
            if deadline is not None:
                yield deadline


def _span(row: SpanRow) -> StateSpan:
    return StateSpan(HoleState(row.state) if row.state else None, row.since, row.until)
