"""Exceptions in the fleet: asked for by one person, approved by another, kept for good."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from suture.comply import exemption as pure
from suture.fleet import audit
from suture.fleet.error import NoSuchThing
from suture.fleet.host import moment
from suture.fleet.role import Role, Visitor
from suture.fleet.table import ExemptionRow
from suture.report.deadline import Exemption


def ask(
    session: Session, visitor: Visitor, cve: str, host: str, reason: str, control: str, expires: datetime, now: datetime
) -> None:
    """Raises `BadExemption`."""
    visitor.need(Role.OPERATOR)
    visitor.need_all_hosts()
    row = ExemptionRow(
        cve=cve[:32], host=host[:32], reason=reason[:2000], owner=visitor.name, control=control[:2000], created=now,
        expires=expires, approved_by="",
    )  # fmt: skip
    pure.check(told(row, 0))
    session.add(row)
    session.flush()
    audit.note(session, visitor.name, "exception asked for", f"{cve} {host}".strip(), f"until {expires}: {reason}")


def approve(session: Session, visitor: Visitor, number: int) -> None:
    """Raises `BadExemption`, `NoSuchThing`."""
    visitor.need(Role.APPROVER)
    visitor.need_all_hosts()
    row = _row(session, number)
    row.approved_by = visitor.name
    pure.check(told(row))
    audit.note(session, visitor.name, "exception approved", f"{row.cve} {row.host}".strip(), f"number {number}")


def end(session: Session, visitor: Visitor, number: int, now: datetime) -> None:
    """It holds no longer. Raises `NoSuchThing`."""
    visitor.need(Role.OPERATOR)
    row = _row(session, number)
    row.expires = min(row.expires, now)
    audit.note(session, visitor.name, "exception ended", f"{row.cve} {row.host}".strip(), f"number {number}")


def exemptions(session: Session) -> tuple[Exemption, ...]:
    """All that there were, the last to expire first."""
    return tuple(told(r) for r in session.scalars(select(ExemptionRow).order_by(ExemptionRow.expires.desc())))


def _row(session: Session, number: int) -> ExemptionRow:
    row = session.get(ExemptionRow, number)
    if row is None:
        raise NoSuchThing(f"no exception {number}", "the page of deadlines lists them")
    return row


def told(row: ExemptionRow, number: int | None = None) -> Exemption:
    """As reports have it."""
    return Exemption(
        row.id if number is None else number, row.cve, row.host, row.reason, row.owner, row.control,
        moment(row.created), moment(row.expires), row.approved_by,
    )  # fmt: skip
