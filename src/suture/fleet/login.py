"""Logins: a cookie, of which the server keeps the digest; it ends when it is not used, and after some hours."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from suture.fleet import account, audit
from suture.fleet.role import Role, Visitor
from suture.fleet.table import AccountRow, LoginRow

COOKIE = "suture-login"
IDLE, MOST = timedelta(minutes=30), timedelta(hours=12)
_TOUCH = timedelta(seconds=60)


def begin(session: Session, row: AccountRow, now: datetime) -> str:
    """The secret of a new login."""
    secret = secrets.token_urlsafe(32)
    session.add(LoginRow(digest=account.digest(secret), account=row.id, created=now, used=now))
    audit.note(session, row.name, "logged in")
    return secret


def end(session: Session, digest: str) -> None:
    row = session.get(LoginRow, digest)
    if row is not None:
        session.delete(row)


def visitor(session: Session, secret: str, now: datetime) -> tuple[Visitor, bool] | None:
    """Who has this cookie, and whether its use should be written down; None for nobody any more."""
    row = session.get(LoginRow, account.digest(secret))
    if row is None or now - row.used > IDLE or now - row.created > MOST:
        return None
    person = session.get(AccountRow, row.account)
    if person is None or person.disabled:
        return None
    return Visitor(person.name, Role(person.role), tuple(person.groups), row.digest), now - row.used > _TOUCH


def touch(session: Session, digest: str, now: datetime) -> None:
    row = session.get(LoginRow, digest)
    if row is not None:
        row.used = now


def form_token(secret: str) -> str:
    """What a form of this login carries, so that no other site can send one."""
    return hashlib.sha256(b"form " + secret.encode()).hexdigest()


def is_form_token(secret: str, token: str) -> bool:
    return hmac.compare_digest(form_token(secret), token)
