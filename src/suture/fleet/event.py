"""What people are told of, written down in the transaction in which it happens, each once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from sqlalchemy import select
from sqlalchemy.orm import Session

from suture.comply.rule import DeadlineRule
from suture.fleet import deadline
from suture.fleet.open_kind import OpenCount
from suture.fleet.role import Role, Visitor
from suture.fleet.table import EventRow, HostRow
from suture.report.deadline import DeadlineState

_MOST_READ, _MOST_SHOWN = 500, 50
_ALL = Visitor("server", Role.VIEWER)


class NoticeKind(Enum):
    """What a channel can be told of."""

    DEADLINE_NEAR = "deadline-near"
    DEADLINE_MISSED = "deadline-missed"
    ROLLOUT_STOPPED = "rollout-stopped"
    HOST_AWAY = "host-away"
    ATTEMPT_SEEN = "attempt-seen"


@dataclass(frozen=True)
class SeenAttempt:
    """What a host has told of: `count` as it was told, `host` by its name."""

    time: datetime
    host: str
    count: str
    text: str


def note(session: Session, kind: NoticeKind, subject: str, text: str, same: str, now: datetime) -> bool:
    """Tell it, unless what is the `same` of this kind was told already; whether it is new."""
    key = hashlib.sha256(f"{kind.value} {same}".encode(errors="replace")).hexdigest()
    if session.scalars(select(EventRow.id).where(EventRow.key == key)).first() is not None:
        return False
    session.add(EventRow(key=key, time=now, kind=kind.value, subject=subject, text=text))
    session.flush()
    return True


def attempts(session: Session, visitor: Visitor, cve: str) -> tuple[SeenAttempt, ...]:
    """The last attempts to use a hole that hosts have told of, the newest first; on hosts that a visitor sees."""
    statement = (
        select(EventRow)
        .where(EventRow.kind == NoticeKind.ATTEMPT_SEEN.value, EventRow.subject.contains(cve, autoescape=True))
        .order_by(EventRow.id.desc())
        .limit(_MOST_READ)
    )
    found = []
    for row in session.scalars(statement):
        cves, _, rest = row.subject.partition(":")
        count, _, name = rest.strip().partition(" attempts on ")
        if cve in cves.split(", "):
            found.append(SeenAttempt(row.time, name, count, row.text))
    if visitor.groups:
        names = {a.host for a in found}
        seen = select(HostRow.name).where(HostRow.name.in_(names), HostRow.group.in_(visitor.groups))
        others = select(HostRow.name).where(HostRow.name.in_(names), HostRow.group.not_in(visitor.groups))
        visible = set(session.scalars(seen)) - set(session.scalars(others))  # a name that two hosts have names neither
        found = [a for a in found if a.host in visible]
    return tuple(found[:_MOST_SHOWN])


def note_deadlines(
    session: Session, rule: DeadlineRule, near: timedelta, now: datetime, count: OpenCount | None = None
) -> int:
    """Tell of deadlines that run out within `near`, and of those that have; how many are new. `count`: what is open,
    where it was counted before."""
    found = 0
    for row in deadline.running(session, _ALL, rule, now, count=count):
        if not row.due or row.state not in (DeadlineState.RUNNING, DeadlineState.OVERDUE):
            continue
        missed = row.state is DeadlineState.OVERDUE
        if not missed and datetime.fromisoformat(row.due) - now > near:
            continue
        kind = NoticeKind.DEADLINE_MISSED if missed else NoticeKind.DEADLINE_NEAR
        subject = f"{row.cve}: the deadline {'was' if missed else 'is'} {row.due}"
        text = f"{row.hosts} hosts have not closed it, by {rule.title}, {row.clause}."
        found += note(session, kind, subject, text, f"{rule.id} {row.cve} {row.exposed} {row.due}", now)
    return found
