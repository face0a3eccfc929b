"""What a server keeps in memory of the hosts that check in, so that a check-in with nothing new asks no database; and
how it notices within seconds what others have written there: other servers, and people at a shell."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from suture.fleet import rollout_order
from suture.fleet.database import Database
from suture.fleet.table import HostRow

LOOK_SECONDS = 2.0
_STALE = timedelta(minutes=10)  # of what no look notices: that another server has heard of another boot
_WHOLE = timedelta(minutes=5)
_AGAIN = datetime.min.replace(tzinfo=UTC)
_AT_A_TIME = 200
_COLUMNS = (
    HostRow.id, HostRow.group, HostRow.key, HostRow.digest, HostRow.boot_id, HostRow.sequence, HostRow.away_since,
)  # fmt: skip


@dataclass(slots=True)
class Presence:
    """What is kept in memory of a host. `version` is that of the rollouts that `order` was read from."""

    key: bytes
    digest: str
    boot_id: str
    sequence: int
    order: rollout_order.HostOrder
    version: rollout_order.OrderVersion
    read: datetime


class Presences:
    """Of all hosts that have checked in here. `odd` hosts, whose key counts no more or who are away, are read from the
    database each time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, Presence] = {}
        self._odd: frozenset[str] = frozenset()
        self._version = rollout_order.OrderVersion()
        self._whole: tuple[rollout_order.OrderVersion, datetime] | None = None
        self._looked = 0.0
        self._lock = threading.Lock()

    def look(self) -> None:
        """Notice what was written in the database since the last look, unless that was a moment ago."""
        with self._lock:
            if time.monotonic() - self._looked < LOOK_SECONDS and self._looked:
                return
            self._looked = time.monotonic()
        with self._database.reading() as session:
            odd = _odd(session)
            version = rollout_order.version(session)
        with self._lock:
            self._odd, self._version = odd, version

    def at_hand(self, host: str, now: datetime) -> Presence | None:
        """What is known without the database; None where that is not enough."""
        known = self._known.get(host)
        if known is None or host in self._odd or known.version != self._version or now - known.read >= _STALE:
            return None
        if time.monotonic() - self._looked >= 2 * LOOK_SECONDS:
            return None
        return known

    def of(self, host: str, now: datetime) -> Presence | None:
        """None for a host that is not in the fleet."""
        self.look()
        return self.at_hand(host, now) or self._read(host, now)

    def forget(self, host: str | None = None) -> None:
        """What is kept of a host is read again; of all: what rollouts tell them."""
        with self._lock:
            if host is None:
                self._looked = 0.0
            elif host in self._known:
                known = self._known[host]
                known.read = _AGAIN

    def read_all(self, now: datetime) -> None:
        """All hosts at once, as one after the other takes a large fleet's database longer than the hosts wait: after
        the start, when rollouts tell hosts something else, and now and then. What was read of a host meanwhile, or is
        to be read again, is newer."""
        self.look()
        version = self._version
        if self._whole is not None and self._whole[0] == version and now - self._whole[1] < _WHOLE:
            return
        with self._database.reading() as session:
            orders = rollout_order.Orders(session)
            rows = session.execute(select(*_COLUMNS).where(HostRow.withdrawn.is_(None))).all()
            for number, (host, group, key, digest, boot, sequence, away) in enumerate(rows):
                if number % _AT_A_TIME == 0:
                    time.sleep(0)  # others have their turn
                order = orders.of(host, group)
                with self._lock:
                    known = self._known.get(host)
                    if known is not None and (known.read >= now or known.read == _AGAIN):
                        continue
                    last = max(known.sequence if known is not None else 0, sequence)
                    self._known[host] = Presence(key, "" if away else digest, boot, last, order, version, now)
        self._whole = version, now

    def _read(self, host: str, now: datetime) -> Presence | None:
        version = self._version
        with self._database.reading() as session:
            row = session.get(HostRow, host)
            if row is None or row.withdrawn is not None:
                with self._lock:
                    self._known.pop(host, None)
                return None
            digest = "" if row.away_since else row.digest  # who was away says all again
            order = rollout_order.for_host(session, row)
        with self._lock:
            last = self._known[host].sequence if host in self._known else 0
            found = Presence(row.key, digest, row.boot_id, max(last, row.sequence), order, version, now)
            self._known[host] = found
        return found


def _odd(session: Session) -> frozenset[str]:
    statement = select(HostRow.id).where(or_(HostRow.withdrawn.is_not(None), HostRow.away_since.is_not(None)))
    return frozenset(session.scalars(statement))
