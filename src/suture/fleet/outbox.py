"""Events on their way to people. What is to be sent stands in the database until the other side has taken it, so that
a server which is killed loses none; then another tries. An event may so come twice, and says by its number that it is
the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from suture.fleet.channel import Channel, Sending
from suture.fleet.database import Database
from suture.fleet.table import DeliveryRow, EventRow, SettingRow

_LEASE = timedelta(minutes=2)
_FIRST_PAUSE, _MOST_PAUSE = timedelta(seconds=10), timedelta(hours=1)
MOST_TRIES = 60  # about two days


def enqueue(session: Session, channels: Sequence[Channel]) -> int:
    """New events for each channel that wants them; how many. A channel that is new is told what happens from now on."""
    last = session.scalar(select(func.max(EventRow.id))) or 0
    found = 0
    for channel in channels:
        row = session.get(SettingRow, f"channel {channel.name}")
        if row is None:
            row = SettingRow(name=f"channel {channel.name}", value=str(last))
            session.add(row)
        rows = session.scalars(select(EventRow).where(EventRow.id > int(row.value)).order_by(EventRow.id))
        wanted = [e for e in rows if e.kind in channel.kinds]
        session.add_all(DeliveryRow(event=e.id, channel=channel.name, next_try=e.time) for e in wanted)
        row.value = str(last)
        found += len(wanted)
    return found


def claim(session: Session, channels: Sequence[Channel], now: datetime) -> tuple[Channel, Sending] | None:
    """The next to be sent, which is this server's for two minutes."""
    by_name = {c.name: c for c in channels}
    found = session.execute(
        select(DeliveryRow, EventRow)
        .join(EventRow, EventRow.id == DeliveryRow.event)
        .where(DeliveryRow.next_try <= now, DeliveryRow.channel.in_(by_name))
        .order_by(DeliveryRow.next_try)
        .limit(1)
    ).first()
    if found is None:
        return None
    row, event = found
    row.tries, row.next_try = row.tries + 1, now + _LEASE
    return by_name[row.channel], Sending(event.id, event.time, event.kind, event.subject, event.text)


def settle(session: Session, channel: str, event: int, why: str, now: datetime) -> None:
    """What came of it; "" for taken."""
    row = session.get_one(DeliveryRow, (event, channel))
    row.why = why
    if not why:
        row.sent, row.next_try = now, None
    elif row.tries >= MOST_TRIES:
        row.next_try = None
    else:
        row.next_try = now + min(_FIRST_PAUSE * 2 ** min(row.tries - 1, 20), _MOST_PAUSE)


def work(database: Database, channels: Sequence[Channel], clock: Callable[[], datetime], most: int = 20) -> int:
    """Send what is due, at most so many; how many were taken."""
    if not channels:
        return 0
    with database.reading() as session:
        is_new = any(
            (row := session.get(SettingRow, f"channel {c.name}")) is None
            or int(row.value) < (session.scalar(select(func.max(EventRow.id))) or 0)
            for c in channels
        )
    if is_new:
        with database.writing() as session:
            enqueue(session, channels)
    taken = 0
    for _ in range(most):
        with database.reading() as session:
            names, due = [c.name for c in channels], DeliveryRow.next_try <= clock()
            if not session.scalars(select(DeliveryRow.event).where(due, DeliveryRow.channel.in_(names))).first():
                break
        with database.writing() as session:
            mine = claim(session, channels, clock())
        if mine is None:
            break
        channel, sending = mine
        why = channel.send(sending)
        with database.writing() as session:
            settle(session, channel.name, sending.id, why, clock())
        taken += not why
    return taken


def unsent(session: Session) -> tuple[int, str]:
    """How many events a channel did not take at the last try, and why the newest was not taken."""
    rows = session.scalars(
        select(DeliveryRow).where(DeliveryRow.sent.is_(None), DeliveryRow.why != "").order_by(DeliveryRow.event.desc())
    ).all()
    return len(rows), f"{rows[0].channel}: {rows[0].why}" if rows else ""
