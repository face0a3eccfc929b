"""Deadlines of the fleet: those that run, by hole and kind of host, from the database; and all pairs of a host and a
hole of a period, for reports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from suture.comply.deadline import judge
from suture.comply.exemption import holding
from suture.comply.exposure import Period, StateSpan
from suture.comply.fact import AssetFacts, HoleFacts
from suture.comply.rule import Application, DeadlineRule
from suture.fleet.exemption import exemptions
from suture.fleet.hole import facts
from suture.fleet.host import moment
from suture.fleet.listing import Listed, ListWish
from suture.fleet.open_kind import OpenCount, OpenKind, counted
from suture.fleet.role import Visitor
from suture.fleet.table import HoleRow, HostRow, SpanRow
from suture.report.deadline import Deadline, DeadlineGroup, DeadlineState
from suture.report.hole import HoleState

_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Pair:
    """A hole on a host, with its spans."""

    name: str
    asset: AssetFacts
    facts: HoleFacts
    spans: tuple[StateSpan, ...]


@dataclass(frozen=True)
class RuleStanding:
    """What a rule says of a hole on hosts of one kind, whatever the time is."""

    cve: str
    exposed: bool | None
    hosts: int
    says: Application


def running(
    session: Session,
    visitor: Visitor,
    rule: DeadlineRule,
    now: datetime,
    only: str = "",
    count: OpenCount | None = None,
    most: int | None = None,
) -> tuple[DeadlineGroup, ...]:
    """What is not closed by this rule now, the next to run out first; without a number last. Hosts of one kind (reached
    from the internet or not, classes) are one row, which counts from the first of them. `only`: of this hole. `count`:
    what is open, where it was counted before. `most`: no more rows than that."""
    found = _ordered(session, _standings(count or counted(session), visitor, rule, only), now)
    return tuple(_group(rule, row, exempt, now) for row, exempt in found[:most])


def page(
    session: Session, visitor: Visitor, rule: DeadlineRule, now: datetime, wish: ListWish, count: OpenCount
) -> Listed[DeadlineGroup]:
    """One page of them; the text of the wish is a part of the hole's number."""
    rows = [r for r in _standings(count, visitor, rule, "") if wish.text.upper() in r.cve]
    begin = (wish.page - 1) * wish.size
    shown = _ordered(session, rows, now)[begin : begin + wish.size]
    return Listed(tuple(_group(rule, row, exempt, now) for row, exempt in shown), len(rows), wish)


def _standings(count: OpenCount, visitor: Visitor, rule: DeadlineRule, only: str) -> Sequence[RuleStanding]:
    """In the order in which they run out. Those of all holes are computed once for each count."""
    if only:
        return _applied(count.by_hole.get(only, ()), count.facts, visitor, rule)
    key = (rule.id, tuple(visitor.groups))
    found: Sequence[RuleStanding] | None = count.said.get(key)
    if found is None:
        found = count.said[key] = _applied(count.kinds, count.facts, visitor, rule)
    return found


def _applied(
    kinds: Iterable[OpenKind], known: Mapping[str, HoleFacts], visitor: Visitor, rule: DeadlineRule
) -> Sequence[RuleStanding]:
    rows: dict[tuple[str, bool | None, frozenset[str]], tuple[datetime, int]] = {}
    for kind in kinds:
        if kind.state in rule.ends or not visitor.sees(kind.group):
            continue
        key = (kind.cve, kind.exposed, kind.classes)
        seen, hosts = rows.get(key, (kind.seen, 0))
        rows[key] = (min(seen, kind.seen), hosts + kind.hosts)
    found = []
    for (cve, exposed, classes), (seen, hosts) in rows.items():
        says = rule.apply(known[cve], AssetFacts("", exposed, classes), seen)
        if says is not None:
            found.append(RuleStanding(cve, exposed, hosts, says))
    return sorted(found, key=lambda row: (row.says.due is None, row.says.due or _NEVER, row.cve))


def _ordered(session: Session, rows: Iterable[RuleStanding], now: datetime) -> list[tuple[RuleStanding, bool]]:
    """With whether an exception holds; these come after the others."""
    excepted = exemptions(session)
    named = {e.cve for e in excepted}
    found = [(row, row.cve in named and holding(excepted, "", row.cve, now) is not None) for row in rows]
    return sorted(found, key=lambda r: (r[0].says.due is None, r[1])) if named else found


def _group(rule: DeadlineRule, row: RuleStanding, exempt: bool, now: datetime) -> DeadlineGroup:
    says = row.says
    state = DeadlineState.NO_DATE if says.due is None else DeadlineState.RUNNING
    if says.due is not None and says.due < now:
        state = DeadlineState.OVERDUE
    duties = says.clause.duties or ((says.clause.term.words,) if says.clause.term.words else ())
    return DeadlineGroup(
        rule.id, says.clause.name, row.cve, row.exposed, row.hosts, DeadlineState.EXEMPT if exempt else state,
        says.clock.value, moment(says.start), moment(says.due), duties, says.assumed,
    )  # fmt: skip


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
