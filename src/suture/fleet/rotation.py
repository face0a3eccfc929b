"""A host gets another key. It says so by the old one, and proves that it has the new one. A request whose answer was
lost comes again and is answered again."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from suture.fleet import audit
from suture.fleet.enrolment import SKEW
from suture.fleet.error import Forged, Malformed, Replayed
from suture.fleet.server_key import ServerKey, is_signed
from suture.fleet.table import HostRow
from suture.report.check_in import ROTATE, RotationRequest, fingerprint, to_prove, to_sign


def rotate(
    session: Session, server: ServerKey, asked: RotationRequest, data: bytes, signature: bytes, now: datetime
) -> HostRow:
    """The host, with its new key. Raises `Forged`, `Malformed`, `Replayed`."""
    try:
        key, proof, sent = bytes.fromhex(asked.key), bytes.fromhex(asked.proof), datetime.fromisoformat(asked.time)
    except ValueError as problem:
        raise Malformed("rotation: its key or its time has no form", "update Suture on the host") from problem
    row = session.get(HostRow, asked.id[:32])
    if row is None or row.withdrawn is not None:
        raise Forged("rotation: no host of this fleet has signed it", "suture agent enrol")
    if len(key) != len(row.key) or not is_signed(key, to_prove(server.name, asked.id, asked.key), proof):
        raise Forged("rotation: nobody has proved to have the new key", "suture agent rotate-key on the host")
    if sent.tzinfo is None or abs(sent - now) > SKEW:
        raise Replayed(f"rotation: it is from {asked.time[:40]}", "set the host's clock")
    if row.key == key:
        return row
    if not is_signed(row.key, to_sign(ROTATE, server.name, data), signature):
        raise Forged("rotation: the host's key of now has not signed it", "suture agent enrol --again")
    if session.scalars(select(HostRow).where(HostRow.key == key)).first() is not None:
        raise Replayed("rotation: another host has this key", "suture agent rotate-key on the host")
    old, row.key = fingerprint(row.key), key
    audit.note(session, f"host {row.id}", "key rotated", row.name, f"from {old} to {fingerprint(key)}")
    return row
