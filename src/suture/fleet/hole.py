"""Holes of the fleet: lists, one of them with its time line, and what is known of them from elsewhere."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from suture.comply.catalogue import DEBIAN, EPSS, KEV, EpssScores, KevCatalogue
from suture.comply.fact import HoleFacts, Impact, Severity
from suture.fleet import audit
from suture.fleet.error import NoSuchThing
from suture.fleet.host import moment, span
from suture.fleet.listing import Listed, ListWish, listed
from suture.fleet.role import Visitor
from suture.fleet.table import DataSourceRow, HoleRow, HostRow, SpanRow, TallyRow
from suture.report.deadline import DataSource
from suture.report.fleet import FleetHole, HoleSpan
from suture.report.hole import HoleState

_CLOSED = tuple(s.value for s in HoleState if s.is_closed)
_FACTS = (
    "disclosed",
    "fixed",
    "in_kev",
    "kev_added",
    "kev_due",
    "exploited",
    "automatable",
    "cvss",
    "agency_impact",
    "epss",
)


def holes(session: Session, visitor: Visitor, wish: ListWish, only: str = "") -> Listed[FleetHole]:
    """`only`: `open` or `kev`."""
    counts = select(
        TallyRow.cve,
        func.sum(TallyRow.hosts).filter(TallyRow.state.not_in(_CLOSED)).label("open"),
        func.sum(TallyRow.hosts).label("hosts"),
    ).group_by(TallyRow.cve)
    counts = visitor.among(counts, TallyRow.group)
    tally = counts.subquery()
    left = func.coalesce(tally.c.open, 0)
    statement = select(HoleRow).join(tally, tally.c.cve == HoleRow.cve)
    if only == "open":
        statement = statement.where(left > 0)
    elif only == "kev":
        statement = statement.where(HoleRow.in_kev.is_(True))
    columns: dict[str, Any] = {
        "cve": HoleRow.cve, "open": left, "hosts": tally.c.hosts, "cvss": HoleRow.cvss, "seen": HoleRow.first_seen,
        "kev": HoleRow.in_kev,
    }  # fmt: skip
    found = listed(session, statement, wish, columns, (HoleRow.cve,), "-open")  # type: ignore[arg-type]
    states = by_state(session, visitor, [r.cve for r in found.rows])
    rows = tuple(told(r, states.get(r.cve, {})) for r in found.rows)
    return Listed(rows, found.total, found.wish)


def by_state(session: Session, visitor: Visitor, cves: Iterable[str] | None) -> Mapping[str, dict[HoleState, int]]:
    """How many hosts have each hole in which state; of all holes where none are named."""
    statement = select(TallyRow.cve, TallyRow.state, func.sum(TallyRow.hosts)).group_by(TallyRow.cve, TallyRow.state)
    if cves is not None:
        statement = statement.where(TallyRow.cve.in_(list(cves)))
    statement = visitor.among(statement, TallyRow.group)
    found: dict[str, dict[HoleState, int]] = {}
    for cve, state, hosts in session.execute(statement):
        if hosts:
            found.setdefault(cve, {})[HoleState(state)] = int(hosts)
    return found


def totals(session: Session, visitor: Visitor) -> dict[HoleState, int]:
    """Pairs of a host and a hole by state."""
    statement = select(TallyRow.state, func.sum(TallyRow.hosts)).group_by(TallyRow.state)
    statement = visitor.among(statement, TallyRow.group)
    found = {HoleState(s): int(n) for s, n in session.execute(statement)}
    return {s: found.get(s, 0) for s in HoleState}


def one(session: Session, visitor: Visitor, cve: str) -> FleetHole:
    """Raises `NoSuchThing`."""
    row = session.get(HoleRow, cve)
    if row is None:
        raise NoSuchThing(f"no host has had {cve[:32]}", "suture fleet holes lists them")
    return told(row, by_state(session, visitor, [cve]).get(cve, {}))


def spans(
    session: Session,
    visitor: Visitor,
    cve: str,
    wish: ListWish,
    only: str = "",
    said: dict[Hashable, Any] | None = None,
) -> Listed[HoleSpan]:
    """The hosts that have or had it; `only`: `open`. `said`: what was counted since the last change."""
    statement: Any = select(SpanRow, HostRow.name).join(HostRow, HostRow.id == SpanRow.host).where(SpanRow.cve == cve)
    statement = statement.where(SpanRow.until.is_(None))
    if only == "open":
        statement = statement.where(SpanRow.state.not_in(_CLOSED))

    def count() -> int:
        kept = said if said is not None else {}
        key = ("hosts", cve, only)
        if key not in kept:
            rows = select(func.count()).where(SpanRow.cve == cve, SpanRow.until.is_(None))
            rows = rows.where(SpanRow.state.not_in(_CLOSED)) if only == "open" else rows
            kept[key] = session.scalar(rows) or 0
        return int(kept[key])

    counting = None if visitor.groups else count
    statement = visitor.among(statement, HostRow.group)
    columns: dict[str, Any] = {"name": HostRow.name, "state": SpanRow.state, "since": SpanRow.since}
    # without a word on `until` PostgreSQL sorts all rows of a hole by themselves
    first: Any = (SpanRow.until,)
    found = listed(session, statement, wish, columns, (HostRow.name,), "since", counting, first)  # type: ignore[arg-type]
    return Listed(tuple(span(s, name) for s, name in found.rows), found.total, found.wish)


def facts(row: HoleRow) -> HoleFacts:
    """What rules ask of a hole. One that nobody has dated was public when the first host had it."""
    return HoleFacts(
        row.cve,
        **{name: getattr(row, name) for name in _FACTS},
        impact=Impact(row.impact) if row.impact else None,
        severity=Severity(row.severity) if row.severity else None,
    )


def fill_kev(session: Session, catalogue: KevCatalogue, now: datetime) -> int:
    """Write down what the catalogue says of the holes of this fleet; how many are in it."""
    listed_now, removed = 0, []
    rows = {r.cve: r for r in session.scalars(select(HoleRow))}
    new = [HoleRow(cve=cve, first_seen=now) for cve in catalogue.entries if cve not in rows]
    session.add_all(new)
    for row in (*rows.values(), *new):
        said = catalogue.fill(facts(row))
        if row.in_kev and not said.in_kev:
            row.kev_removed = now.date()
            removed.append(row.cve)
        elif said.in_kev:
            row.kev_removed = None
        row.in_kev, row.kev_added, row.kev_due = said.in_kev, said.kev_added, said.kev_due
        listed_now += bool(said.in_kev)
    if removed:
        audit.note(session, "server", "taken back by CISA", KEV, " ".join(sorted(removed)))
    _note_source(session, catalogue.source(now))
    return listed_now


def fill_epss(session: Session, said: EpssScores, now: datetime) -> int:
    """Write down the scores of the holes of this fleet; how many have one."""
    found = 0
    for row in session.scalars(select(HoleRow)):
        row.epss = said.scores.get(row.cve)
        found += row.epss is not None
    _note_source(session, DataSource(EPSS, said.version, now.isoformat(), len(said.scores)))
    return found


def fill_debian(session: Session, said: Mapping[str, Sequence[str]], now: datetime) -> int:
    """Write down what Debian's tracker says of the holes of this fleet; how many it knows."""
    found = 0
    for row in session.scalars(select(HoleRow)):
        row.debian = list(said[row.cve]) if row.cve in said else None
        found += row.debian is not None
    _note_source(session, DataSource(DEBIAN, now.date().isoformat(), now.isoformat(), len(said)))
    return found


def on_hosts(session: Session) -> list[str]:
    """The holes that some host has or had."""
    return list(session.scalars(select(SpanRow.cve).distinct().order_by(SpanRow.cve)))


def fill_facts(session: Session, said: Iterable[HoleFacts], now: datetime) -> int:
    """Write down what CVE records say of holes; how many there were. One that no host has is kept too."""
    every = list(said)
    for one_said in every:
        row = session.get(HoleRow, one_said.cve)
        if row is None:
            row = HoleRow(cve=one_said.cve, first_seen=now)
            session.add(row)
        for name in ("disclosed", "exploited", "automatable", "cvss"):
            setattr(row, name, getattr(one_said, name))
        row.impact = one_said.impact.value if one_said.impact else None
        row.severity = one_said.severity.value if one_said.severity else None
    _note_source(session, DataSource("CVE records", now.date().isoformat(), now.isoformat(), len(every)))
    return len(every)


def sources(session: Session) -> tuple[DataSource, ...]:
    """What was taken in, and when."""
    rows = session.scalars(select(DataSourceRow).order_by(DataSourceRow.name))
    return tuple(DataSource(r.name, r.version, moment(r.read), r.rows) for r in rows)


def _note_source(session: Session, said: DataSource) -> None:
    session.merge(DataSourceRow(name=said.name, version=said.version, read=datetime.now(UTC), rows=said.rows))


def told(row: HoleRow, hosts: Mapping[HoleState, int]) -> FleetHole:
    """As reports have it."""
    return FleetHole(
        row.cve, moment(row.first_seen), moment(row.disclosed), row.in_kev, row.cvss, row.severity or "", dict(hosts)
    )


def row_of(session: Session, cve: str) -> HoleRow:
    """Raises `NoSuchThing`."""
    row = session.get(HoleRow, cve)
    if row is None:
        raise NoSuchThing(f"no host has had {cve[:32]}", "suture fleet holes lists them")
    return row
