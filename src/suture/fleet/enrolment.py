"""How a host comes in: with a token that counts its uses and expires, and a key of its own. Whoever has the token can
add a host, and nothing else; a host that is in can only speak for itself."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from suture.fleet import audit
from suture.fleet.error import Forged, Malformed, Replayed
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
) -> HostRow:
    """The new host. Raises `Forged`, `Malformed`, `Replayed`."""
    try:
        key = bytes.fromhex(asked.key)
        sent = datetime.fromisoformat(asked.time)
    except ValueError as problem:
        raise Malformed("enrolment: its key or its time has no form", "update Suture on the host") from problem
    if len(asked.key) != _KEY_DIGITS or not is_signed(key, to_sign(ENROL, "", data), signature):
        raise Forged("enrolment: it is not signed by the key that it brings", "enrol again from the host")
    if sent.tzinfo is None or abs(sent - now) > SKEW:
        raise Replayed(f"enrolment: it is from {asked.time[:40]}", "set the host's clock")
    group = _use(session, asked.token, now)
    if session.scalars(select(HostRow).where(HostRow.key == key)).first() is not None:
        raise Replayed("enrolment: this key is enrolled already", "suture agent enrol --again makes a new key")
    row = HostRow(
        id=secrets.token_hex(16), name=asked.name[:255], group=group, tags=[], classes=[], key=key,
        machine=asked.machine[:64], boot_id=asked.boot_id[:64], old_boots=[], address=address[:64], enrolled=now,
        last_seen=now,
    )  # fmt: skip
    session.add(row)
    twin = session.scalars(select(HostRow).where(HostRow.machine == row.machine, HostRow.id != row.id)).first()
    known = f"; the same machine as {twin.name} ({twin.id})" if twin is not None and row.machine else ""
    audit.note(session, f"host {row.id}", "enrolled", asked.name, f"from {address}{known}")
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
