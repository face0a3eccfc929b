"""How a host comes in: with a token that counts its uses and expires, or by a person who has compared its key. It has a
key of its own. Whoever has the token can add a host, and nothing else; a host that is in can only speak for itself."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from suture.fleet import applicant, audit
from suture.fleet.error import Forged, Malformed, Replayed
from suture.fleet.host import twins_of
from suture.fleet.role import Visitor
from suture.fleet.server_key import is_signed
from suture.fleet.table import HostRow, TokenRow
from suture.report.check_in import ENROL, EnrolmentRequest, to_sign

SKEW = timedelta(minutes=5)
_KEY_DIGITS = 64


def new_token(session: Session, who: str, label: str, group: str, uses: int, now: datetime, lasts: timedelta) -> str:
    """A token for `uses` hosts, which is shown once."""
    secret = secrets.token_urlsafe(24)
    session.add(
        TokenRow(digest=_digest(secret), label=label, group=group, uses_left=uses, created=now, expires=now + lasts)
    )
    audit.note(session, who, "token made", label, f"for {uses} hosts, group {group or '-'}, lasts {lasts}")
    return secret


def enrol(
    session: Session, asked: EnrolmentRequest, data: bytes, signature: bytes, address: str, now: datetime
) -> HostRow | None:
    """The new host; None where it waits to be let in. Raises `Forged`, `Malformed`, `Replayed`, `TooMany`."""
    try:
        key = bytes.fromhex(asked.key)
        sent = datetime.fromisoformat(asked.time)
    except ValueError as problem:
        raise Malformed("enrolment: its key or its time has no form", "update Suture on the host") from problem
    if len(asked.key) != _KEY_DIGITS or not is_signed(key, to_sign(ENROL, "", data), signature):
        raise Forged("enrolment: it is not signed by the key that it brings", "enrol again from the host")
    if sent.tzinfo is None or abs(sent - now) > SKEW:
        raise Replayed(f"enrolment: it is from {asked.time[:40]}", "set the host's clock")
    known = session.scalars(select(HostRow).where(HostRow.key == key)).first()
    if not asked.token and (known is None or known.withdrawn is not None):
        if known is not None:
            raise Forged("enrolment: this key was withdrawn", "suture agent enrol --again makes a new key")
        applicant.ask(session, key, asked, address, now)
        return None
    if not asked.token:
        return known
    group = _use(session, asked.token, now)
    if known is not None:
        raise Replayed("enrolment: this key is enrolled already", "suture agent enrol --again makes a new key")
    row = HostRow(key=key, name=asked.name, machine=asked.machine, boot_id=asked.boot_id, address=address, group=group)
    return _come_in(session, row, "by a token", now)


def admit(session: Session, visitor: Visitor, number: str, group: str, now: datetime) -> HostRow:
    """Let in a host that waits, by the fingerprint of its key. Raises `NoSuchThing`, `NotPermitted`."""
    waits = applicant.row_of(session, visitor, number)
    row = HostRow(
        key=waits.key, name=waits.name, machine=waits.machine, boot_id=waits.boot_id, address=waits.address, group=group
    )
    session.delete(waits)
    audit.note(session, visitor.name, "host let in", waits.name, f"key {waits.id}, group {group or '-'}")
    return _come_in(session, row, f"by {visitor.name}", now)


def _come_in(session: Session, row: HostRow, how: str, now: datetime) -> HostRow:
    row.id, row.enrolled, row.last_seen = secrets.token_hex(16), now, now
    row.tags, row.classes, row.old_boots = [], [], []
    session.add(row)
    twin = session.scalars(twins_of(row)).first()
    known = f"; the same machine as {twin.name} ({twin.id})" if twin is not None else ""
    audit.note(session, f"host {row.id}", "enrolled", row.name, f"{how}, from {row.address}{known}")
    return row


def _use(session: Session, token: str, now: datetime) -> str:
    """Count one use; the group that the token puts hosts into."""
    row = session.scalars(select(TokenRow).where(TokenRow.digest == _digest(token))).first()
    if row is None or row.expires <= now:
        raise Forged("enrolment: no such token, or it has expired", "suture fleet token makes one")
    used = session.execute(
        update(TokenRow).where(TokenRow.id == row.id, TokenRow.uses_left > 0).values(uses_left=TokenRow.uses_left - 1)
    )
    if not used.rowcount:  # type: ignore[attr-defined]
        raise Forged("enrolment: the token has been used up", "suture fleet token makes one")
    return row.group


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
