"""People: their passwords (argon2id) and roles. Wrong passwords lock an account for a time that grows."""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from suture.fleet import audit
from suture.fleet.error import Forged, Malformed, NoSuchThing, TooMany
from suture.fleet.role import Role, Visitor
from suture.fleet.table import AccountRow, ApiTokenRow, LoginRow

LEAST_PASSWORD = 12
_MOST_TOKEN_NAME = 50
_FREE_TRIES = 5
_LOCK = timedelta(minutes=1)
_MOST_LOCK = timedelta(hours=1)
_HASHER = PasswordHasher()
_NOBODY = _HASHER.hash("nobody")  # a name that is not known takes as long as one that is


def add(session: Session, who: str, name: str, password: str, role: Role, groups: list[str]) -> AccountRow:
    """Raises `Malformed`."""
    if not name.strip() or len(name) > 64:
        raise Malformed("the name is empty, or longer than 64 characters", "give another name")
    if session.scalars(select(AccountRow).where(AccountRow.name == name)).first() is not None:
        raise Malformed(f"there is an account {name} already", "give another name")
    row = AccountRow(
        name=name, password=_hash(password), role=role.value, groups=groups, created=datetime.now(UTC), failed=0
    )
    session.add(row)
    audit.note(session, who, "account made", name, f"{role.value}, groups {', '.join(groups) or 'all'}")
    return row


def change(session: Session, who: str, name: str, *, role: Role, groups: list[str], disabled: bool) -> None:
    """Logins of the account end. Raises `NoSuchThing`."""
    row = session.scalars(select(AccountRow).where(AccountRow.name == name)).first()
    if row is None:
        raise NoSuchThing(f"no account {name}", "suture fleet user --list")
    row.role, row.groups, row.disabled = role.value, groups, disabled
    end_logins(session, row)
    told = f"{role.value}, groups {', '.join(groups) or 'all'}{', disabled' if disabled else ''}"
    audit.note(session, who, "account changed", name, told)


def set_password(session: Session, who: str, name: str, password: str) -> None:
    """Raises `NoSuchThing`, `Malformed`."""
    row = session.scalars(select(AccountRow).where(AccountRow.name == name)).first()
    if row is None:
        raise NoSuchThing(f"no account {name}", "suture fleet user --list")
    row.password, row.failed, row.locked_until = _hash(password), 0, None
    end_logins(session, row)
    audit.note(session, who, "password set", name)


def end_logins(session: Session, row: AccountRow) -> None:
    for login in session.scalars(select(LoginRow).where(LoginRow.account == row.id)):
        session.delete(login)


def check(session: Session, name: str, password: str, now: datetime) -> AccountRow | None:
    """The account of a name and a password; None where they do not fit. Raises `TooMany` while it is locked."""
    row = session.scalars(select(AccountRow).where(AccountRow.name == name)).first()
    if row is not None and row.locked_until is not None and row.locked_until > now:
        raise TooMany("too many wrong passwords", f"try again after {row.locked_until:%H:%M:%S} UTC")
    right = _fits(row.password if row else _NOBODY, password)
    if row is None or row.disabled or not right:
        if row is not None:
            row.failed += 1
            if row.failed >= _FREE_TRIES:
                row.locked_until = now + min(_LOCK * 2 ** (row.failed - _FREE_TRIES), _MOST_LOCK)
        audit.note(session, name, "login refused")
        return None
    row.failed, row.locked_until = 0, None
    if _HASHER.check_needs_rehash(row.password):
        row.password = _HASHER.hash(password)
    return row


def new_api_token(session: Session, who: str, name: str, visitor: Visitor, lasts: timedelta, now: datetime) -> str:
    """A token for a program with the rights of `visitor`, which is shown once. Raises `Malformed`."""
    if not 0 < len(name) <= _MOST_TOKEN_NAME:
        raise Malformed(f"the name of a token has 1 to {_MOST_TOKEN_NAME} characters", "give another name")
    secret = secrets.token_urlsafe(32)
    session.add(
        ApiTokenRow(
            digest=digest(secret), name=name, role=visitor.role.value, groups=list(visitor.groups), expires=now + lasts
        )
    )
    audit.note(session, who, "API token made", name, f"{visitor.role.value}, lasts {lasts}")
    return secret


def by_api_token(session: Session, secret: str, now: datetime) -> Visitor:
    """Raises `Forged`."""
    row = session.scalars(select(ApiTokenRow).where(ApiTokenRow.digest == digest(secret))).first()
    if row is None or row.expires <= now:
        raise Forged("no such API token, or it has expired", "suture fleet api-token makes one")
    return Visitor(f"token {row.name}", Role(row.role), tuple(row.groups))


def digest(secret: str) -> str:
    """What is kept of a secret that is random itself."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _hash(password: str) -> str:
    if len(password) < LEAST_PASSWORD or len(password) > 1024:
        raise Malformed(f"a password has {LEAST_PASSWORD} characters and more", "give a longer one")
    return _HASHER.hash(password)


def _fits(known: str, password: str) -> bool:
    try:
        return _HASHER.verify(known, password[:1024])
    except (VerificationError, InvalidHashError):
        return False
