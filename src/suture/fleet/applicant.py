"""Hosts that ask to come in without a token. They wait, and do nothing else, until a person has compared the
fingerprint of their key with what the host shows. Whoever reaches the server can ask, so only so many wait, and not
for long."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from suture.fleet import audit
from suture.fleet.error import Forged, NoSuchThing, TooMany
from suture.fleet.host import moment
from suture.fleet.role import Role, Visitor
from suture.fleet.table import ApplicantRow
from suture.report.check_in import EnrolmentRequest, fingerprint
from suture.report.fleet import FleetApplicant

MOST = 500
_KEPT, _DECLINED = timedelta(minutes=15), timedelta(days=1)


def ask(session: Session, key: bytes, asked: EnrolmentRequest, address: str, now: datetime) -> None:
    """The host waits from now on, or still. Raises `Forged` where it was turned away, `TooMany` where too many wait."""
    session.execute(delete(ApplicantRow).where(ApplicantRow.declined.is_(None), ApplicantRow.last_asked < now - _KEPT))
    session.execute(delete(ApplicantRow).where(ApplicantRow.declined < now - _DECLINED))
    row = session.get(ApplicantRow, fingerprint(key))
    if row is None:
        if (session.scalar(select(func.count()).select_from(ApplicantRow)) or 0) >= MOST:
            raise TooMany("too many hosts wait to be let in", "enrol it with a token: suture fleet token")
        row = ApplicantRow(id=fingerprint(key), key=key, asked=now)
        session.add(row)
    if row.declined is not None:
        raise Forged("enrolment: this key was turned away", "ask who runs the server; another try makes another key")
    row.name, row.machine, row.boot_id, row.address = asked.name, asked.machine, asked.boot_id, address
    row.last_asked = now


def waiting(session: Session, now: datetime) -> list[ApplicantRow]:
    """Those that still ask, the first first."""
    return list(
        session.scalars(
            select(ApplicantRow)
            .where(ApplicantRow.declined.is_(None), ApplicantRow.last_asked >= now - _KEPT)
            .order_by(ApplicantRow.asked)
        )
    )


def row_of(session: Session, visitor: Visitor, number: str) -> ApplicantRow:
    """Raises `NoSuchThing`, `NotPermitted`."""
    visitor.need(Role.OPERATOR)
    visitor.need_all_hosts()
    row = session.get(ApplicantRow, number[:39])
    if row is None or row.declined is not None:
        raise NoSuchThing("no host with this key waits any more", "look at the page of hosts again")
    return row


def turn_away(session: Session, visitor: Visitor, number: str, now: datetime) -> None:
    """This key does not come in for a day. Raises `NoSuchThing`, `NotPermitted`."""
    row = row_of(session, visitor, number)
    row.declined = now
    audit.note(session, visitor.name, "host turned away", row.name, f"key {row.id}, from {row.address}")


def told(row: ApplicantRow) -> FleetApplicant:
    """As reports have it."""
    return FleetApplicant(row.id, row.name, row.address, moment(row.asked))
