"""What people are told of, written down in the transaction in which it happens, each once."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from enum import Enum

from sqlalchemy import select
from sqlalchemy.orm import Session

from suture.comply.rule import DeadlineRule
from suture.fleet import deadline
from suture.fleet.open_kind import OpenCount
from suture.fleet.role import Role, Visitor
from suture.fleet.table import EventRow
from suture.report.deadline import DeadlineState

_ALL = Visitor("server", Role.VIEWER)


class NoticeKind(Enum):
    """What a channel can be told of."""

    DEADLINE_NEAR = "deadline-near"
    DEADLINE_MISSED = "deadline-missed"
    ROLLOUT_STOPPED = "rollout-stopped"
    HOST_AWAY = "host-away"
    ATTEMPT_SEEN = "attempt-seen"


def note(session: Session, kind: NoticeKind, subject: str, text: str, same: str, now: datetime) -> bool:
    """Tell it, unless what is the `same` of this kind was told already; whether it is new."""
    key = hashlib.sha256(f"{kind.value} {same}".encode(errors="replace")).hexdigest()
    if session.scalars(select(EventRow.id).where(EventRow.key == key)).first() is not None:
        return False
    session.add(EventRow(key=key, time=now, kind=kind.value, subject=subject, text=text))
    session.flush()
    return True


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
