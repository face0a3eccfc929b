"""What the server does by itself, again and again: who was heard of is written down, who is away becomes unknown,
rollouts move on. Each is a transaction that looks at how things stand, so a server may end at any moment, and several
do the same as one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from suture.fleet import audit, event, outbox, rollout
from suture.fleet.check_in import CheckIns, hosts_away
from suture.fleet.database import Database
from suture.fleet.record import lose
from suture.fleet.server import Server

_LOG = logging.getLogger("suture.fleet")


def sweep(database: Database, now: datetime, after: timedelta) -> int:
    """Hosts that were not heard of for `after` are away since they were last; how many."""
    with database.writing() as session:
        rows = hosts_away(session, now, after)
        for row in rows:
            row.away_since = row.last_seen
            lose(session, row, row.last_seen)
            heard = f"last heard of {row.last_seen.isoformat()}"
            audit.note(session, f"host {row.id}", "away", row.name, heard)
            same = f"{row.id} {row.last_seen.isoformat()}"
            event.note(session, event.NoticeKind.HOST_AWAY, f"host {row.name} is away", f"{row.id}, {heard}", same, now)
    return len(rows)


class Keeper:
    """A thread that does it until it is ended."""

    def __init__(self, check_ins: CheckIns, chores: tuple[Callable[[], object], ...], every: float = 1.0) -> None:
        self._check_ins, self._chores, self._every = check_ins, chores, every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join()
        self._check_ins.flush()

    def _work(self) -> None:
        while not self._end.wait(self._every):
            for chore in (self._check_ins.flush, self._check_ins.look, *self._chores):
                try:
                    chore()
                except Exception:  # a database that is away comes back; nothing that was not done is lost
                    _LOG.exception("a chore of the server failed; it is done again")


def stepping(database: Database, check_ins: CheckIns) -> Callable[[], object]:
    """Rollouts move on, as a chore."""

    def step() -> None:
        with database.reading() as session:
            due = rollout.due(session, datetime.now(UTC))
        for number in due:
            with database.writing() as session:
                rollout.step(session, number, datetime.now(UTC))
        if due:
            check_ins.forget()

    return step


def telling(server: Server) -> Callable[[], object]:
    """Deadlines that come near are noted each minute, and what people are to be told of is sent, as a chore."""
    looked = datetime.min.replace(tzinfo=UTC)
    settings = server.settings

    def tell() -> None:
        nonlocal looked
        now = server.now()
        if settings.channels and settings.rules and now - looked >= timedelta(minutes=1):
            looked = now
            count = server.open_counts.now()
            with server.database.writing() as session:
                event.note_deadlines(session, settings.rules[0], settings.near, now, count)
        outbox.work(server.database, settings.channels, server.now)

    return tell


def sweeping(database: Database, after: timedelta, grace: timedelta = timedelta()) -> Callable[[], object]:
    """The sweep as a chore; not before `grace` is over, in which hosts can report to a server that was itself away."""
    begin = time.monotonic() + grace.total_seconds()
    return lambda: sweep(database, datetime.now(UTC), after) if time.monotonic() >= begin else None
