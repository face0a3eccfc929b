"""Who did what, as a chain: each row's digest is over its contents and the digest of the row before, so that a row
which was changed, taken out or put in shows. Whoever holds the last digest elsewhere (it is in every bundle of
evidence) also sees a chain that was made anew."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from suture.fleet.table import AuditRow
from suture.visible import visible

HOST_DESCRIBED, HOST_WITHDRAWN = "host described", "host withdrawn"
_FIRST = "0" * 64
_MOST = {"who": 80, "what": 64, "subject": 255, "detail": 4000}


def note(session: Session, who: str, what: str, subject: str = "", detail: str = "") -> None:
    """Add a row. Texts are made harmless and cut."""
    last = session.scalars(select(AuditRow).order_by(AuditRow.number.desc()).limit(1)).first()
    row = AuditRow(
        number=last.number + 1 if last else 1,
        time=datetime.now(UTC).replace(microsecond=0),
        **{name: visible(value, _MOST[name]) for name, value in _fields(who, what, subject, detail).items()},
    )
    row.digest = digest_of(row, last.digest if last else _FIRST)
    session.add(row)
    session.flush()


def digest_of(row: AuditRow, before: str) -> str:
    """What the row's digest has to be."""
    said = [before, row.number, row.time.astimezone(UTC).isoformat(), row.who, row.what, row.subject, row.detail]
    return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()


def first_wrong(session: Session) -> int | None:
    """The number of the first row that does not fit its digest or its place; None where all do."""
    before, expected = _FIRST, 1
    for row in session.scalars(select(AuditRow).order_by(AuditRow.number)).yield_per(1000):
        if row.number != expected or row.digest != digest_of(row, before):
            return expected
        before, expected = row.digest, expected + 1
    return None


def head(session: Session) -> tuple[int, str]:
    """The number and digest of the last row."""
    last = session.scalars(select(AuditRow).order_by(AuditRow.number.desc()).limit(1)).first()
    return (last.number, last.digest) if last else (0, _FIRST)


def _fields(who: str, what: str, subject: str, detail: str) -> dict[str, str]:
    return {"who": who, "what": what, "subject": subject, "detail": detail}
