"""Hosts of the fleet: lists, one of them, and what a person says of one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from suture.fleet import audit, record
from suture.fleet.error import NoSuchThing
from suture.fleet.listing import Listed, ListWish, listed
from suture.fleet.role import Visitor
from suture.fleet.table import HostPatchRow, HostRow, HostStateRow, PatchRow, SpanRow
from suture.report.fleet import FleetHost, HoleSpan
from suture.report.hole import HoleState

_COLUMNS = {
    "name": HostRow.name,
    "group": HostRow.group,
    "seen": HostRow.last_seen,
    "open": HostRow.open_holes,
    "kernel": HostRow.kernel,
    "problems": HostRow.problems,
}


@dataclass(frozen=True)
class HostCounts:
    """Hosts in all, away, cloned, with something open."""

    hosts: int
    away: int
    cloned: int
    open: int


@dataclass(frozen=True)
class PatchOnHost:
    """A patch and where it stands on a host."""

    patch: str
    binary: str
    cves: tuple[str, ...]
    standing: str
    why: str


@dataclass(frozen=True)
class WholeHost:
    """A host with all that is known of it. `state` is the document of the kind `agent` that it has sent last, `twins`
    are other hosts that say they are the same machine."""

    host: FleetHost
    holes: tuple[HoleSpan, ...]
    patches: tuple[PatchOnHost, ...]
    state: dict[str, Any]
    twins: tuple[FleetHost, ...]


def visible_hosts(visitor: Visitor) -> Select[HostRow]:
    """The hosts that a visitor sees."""
    return visitor.among(select(HostRow), HostRow.group)


def hosts(session: Session, visitor: Visitor, wish: ListWish, only: str = "") -> Listed[FleetHost]:
    """`only`: `away`, `open`, `cloned` or `withdrawn`; those whose key counts no more are in the last alone."""
    statement = visible_hosts(visitor)
    statement = statement.where(HostRow.withdrawn.is_not(None) if only == "withdrawn" else HostRow.withdrawn.is_(None))
    if only == "away":
        statement = statement.where(HostRow.away_since.is_not(None))
    elif only == "open":
        statement = statement.where(HostRow.open_holes > 0)
    elif only == "cloned":
        statement = statement.where(HostRow.clone_since.is_not(None))
    searched = (HostRow.name, HostRow.group, HostRow.kernel, HostRow.id)
    found = listed(session, statement, wish, _COLUMNS, searched, "-open")  # type: ignore[arg-type]
    return Listed(tuple(told(r) for r in found.rows), found.total, found.wish)


def counts(session: Session, visitor: Visitor) -> HostCounts:
    statement = select(
        func.count(),
        func.count(HostRow.away_since),
        func.count(HostRow.clone_since),
        func.count().filter(HostRow.open_holes > 0),
    ).where(HostRow.withdrawn.is_(None))
    statement = visitor.among(statement, HostRow.group)
    return HostCounts(*session.execute(statement).one())


def twins_of(row: HostRow) -> Select[HostRow]:
    """Other hosts whose keys count that say they are the same machine (/etc/machine-id): copies of one disk, which were
    enrolled each by itself, or one host that was enrolled anew."""
    same = (HostRow.machine == row.machine, HostRow.machine != "", HostRow.id != row.id, HostRow.withdrawn.is_(None))
    return select(HostRow).where(*same).order_by(HostRow.enrolled.desc()).limit(20)


def row_of(session: Session, visitor: Visitor, host: str) -> HostRow:
    """Raises `NoSuchThing`."""
    row = session.get(HostRow, host)
    if row is None:
        raise NoSuchThing("no such host", "suture fleet hosts lists them")
    visitor.see(row.group)
    return row


def whole(session: Session, visitor: Visitor, host: str) -> WholeHost:
    """Raises `NoSuchThing`."""
    row = row_of(session, visitor, host)
    spans = session.scalars(
        select(SpanRow)
        .where(SpanRow.host == host)
        .order_by(SpanRow.until.is_not(None), SpanRow.since.desc())
        .limit(500)
    )
    patches = session.execute(
        select(HostPatchRow, PatchRow)
        .join(PatchRow, PatchRow.id == HostPatchRow.patch)
        .where(HostPatchRow.host == host)
    ).all()
    kept = session.get(HostStateRow, host)
    return WholeHost(
        told(row),
        tuple(span(s, row.name) for s in spans),
        tuple(PatchOnHost(p.patch, str(o.offer["binary"]), tuple(o.offer["cves"]), p.state, p.why) for p, o in patches),
        kept.agent if kept else {},
        tuple(told(t) for t in session.scalars(visitor.among(twins_of(row), HostRow.group))),
    )


def describe(
    session: Session,
    visitor: Visitor,
    row: HostRow,
    *,
    group: str,
    tags: list[str],
    classes: list[str],
    exposed: bool | None,
) -> None:
    """What a person says of a host."""
    before = f"group {row.group or '-'}, exposed {row.exposed}"
    if group != row.group:
        visitor.see(group)
        record.move(session, row, group)
    row.tags, row.classes, row.exposed = tags, classes, exposed
    audit.note(
        session, visitor.name, audit.HOST_DESCRIBED, row.name, f"{before}; now group {group or '-'}, exposed {exposed}"
    )


def withdraw(session: Session, visitor: Visitor, row: HostRow) -> None:
    """Its key counts no more; what it had is no more counted."""
    record.forget(session, row)
    now = datetime.now(UTC)
    for one in session.scalars(select(SpanRow).where(SpanRow.host == row.id, SpanRow.until.is_(None))):
        one.until = now
    row.withdrawn, row.open_holes = now, 0
    audit.note(session, visitor.name, audit.HOST_WITHDRAWN, row.name, row.id)


def told(row: HostRow) -> FleetHost:
    """As reports have it."""
    return FleetHost(
        row.id, row.name, row.group, tuple(row.tags), tuple(row.classes), row.exposed, row.kernel, row.address,
        moment(row.enrolled), moment(row.last_seen), moment(row.away_since), moment(row.clone_since),
        moment(row.withdrawn), row.open_holes, row.problems,
    )  # fmt: skip


def span(row: SpanRow, name: str) -> HoleSpan:
    """As reports have it."""
    state = HoleState(row.state) if row.state else None
    return HoleSpan(row.host, name, row.cve, state, moment(row.since), moment(row.until))


def moment(value: datetime | None) -> str:
    """A moment as reports write it, "" for none."""
    return value.isoformat(timespec="seconds").replace("+00:00", "Z") if value else ""
