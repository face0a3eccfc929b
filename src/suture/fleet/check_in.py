"""A host checks in: most say that nothing has changed, which is answered from memory and written down with many
others at once; a state that is new is taken into the database.

A check-in counts once (its sequence rises), for a few minutes (its time), for one host (its key) and one server (what
is signed names it)."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from suture.fleet import audit
from suture.fleet.database import Database
from suture.fleet.enrolment import SKEW
from suture.fleet.error import Forged, Malformed, Replayed
from suture.fleet.limit import RateLimit
from suture.fleet.presence import Presence, Presences
from suture.fleet.record import record
from suture.fleet.server_key import ServerKey, is_signed
from suture.fleet.state import Condensed, condensed
from suture.fleet.table import HostRow, HostStateRow
from suture.patch import strict_json
from suture.report.check_in import CHECK_IN, MOST_BYTES, MOST_VALUES, CheckIn, CheckInAnswer, digest_of, to_sign
from suture.report.document import AgentReport, ScanReport
from suture.report.encoding import NoDocument, decode, of_type

_REMEDY = "update Suture on the host"
_MOST_OLD_BOOTS = 8
_MOST_SEQUENCE = 1 << 62
_HOLE, _PATCH = re.compile(r"[A-Za-z0-9._-]{1,32}"), re.compile(r"[0-9a-f]{16}")
_MOST_SHORT = 4096  # bytes of a check-in without a state
_MOST_AWAY = 100  # at a time, as nobody else can write meanwhile
_MOST_STATES, _STATES_WITHIN = 8 * MOST_BYTES, timedelta(minutes=10)  # bytes of states of one host
_NAME = re.compile(rb'\s*\{\s*"id"\s*:\s*"([0-9a-f]{32})?"')  # agents have always written it first


class CheckIns:
    """The hosts that check in at this server."""

    def __init__(self, database: Database, key: ServerKey, every_seconds: int) -> None:
        self._database, self._key, self._every = database, key, every_seconds
        self._known = Presences(database)
        self._states = RateLimit(_MOST_STATES, _STATES_WITHIN, "host")
        self._seen: dict[str, tuple[int, datetime]] = {}
        self._lock = threading.Lock()

    def at_once(self, data: bytes, signature: bytes, now: datetime) -> CheckInAnswer | None:
        """The answer to a check-in that says nothing new; None where the database has to be asked (`take`). Raises
        `Malformed`, `Replayed`."""
        if len(data) > _MOST_SHORT:
            return None
        said = _parsed(data)
        known = self._known.at_hand(said.id, now)
        if known is None or said.state is not None or (said.digest, said.boot_id) != (known.digest, known.boot_id):
            return None
        if not is_signed(known.key, to_sign(CHECK_IN, self._key.name, data), signature):
            return None
        self._count(said, known, now)
        return self._answer(said, known, False, now)

    def take(self, data: bytes, signature: bytes, address: str, now: datetime) -> CheckInAnswer:
        """Nothing but the host's name is read before its signature is checked. Raises `Forged`, `Malformed`,
        `Replayed`, `TooMany`."""
        host, message = _named(data), to_sign(CHECK_IN, self._key.name, data)
        known = self._known.of(host, now)
        if known is not None and not is_signed(known.key, message, signature):
            self.forget(host)  # another server may have its new key
            known = self._known.of(host, now)
        if known is None or not is_signed(known.key, message, signature):
            raise Forged("check-in: no host of this fleet has signed it", "suture agent enrol")
        if len(data) > _MOST_SHORT:
            self._states.use(host, len(data))
        said = _parsed(data)
        if said.id != host:
            raise Malformed("check-in: it names two hosts", _REMEDY)
        if said.state is None and (said.digest, said.boot_id) != (known.digest, known.boot_id):
            self.forget(said.id)  # another server may have had what is new
            known = self._known.of(said.id, now) or known
        self._count(said, known, now)
        wants = said.state is None and said.digest != known.digest
        if said.state is not None:
            with self._database.writing() as session:
                self._store(session, said, address, now)
            self.forget(said.id)
        if said.boot_id != known.boot_id:
            with self._database.writing() as session:
                self._boot(session, said, address, now)
            self.forget(said.id)
        return self._answer(said, self._known.of(said.id, now) or known, wants, now)

    def _count(self, said: CheckIn, known: Presence, now: datetime) -> None:
        """It counts, once. Raises `Malformed`, `Replayed`."""
        _check_time(said, now)
        with self._lock:
            if said.sequence <= known.sequence:
                raise Replayed(f"check-in: its number {said.sequence} has been", "check in again")
            known.sequence = said.sequence

    def _answer(self, said: CheckIn, known: Presence, wants: bool, now: datetime) -> CheckInAnswer:
        """The host was heard of."""
        with self._lock:
            self._seen[said.id] = (said.sequence, now)
        return CheckInAnswer(said.sequence, wants, known.order.chosen, known.order.taken_back, self._every)

    def flush(self) -> int:
        """Write down who was heard of; how many."""
        with self._lock:
            seen, self._seen = self._seen, {}
        if seen:
            statement = (
                update(HostRow.__table__)  # type: ignore[arg-type]
                .where(HostRow.__table__.c.id == bindparam("host"), HostRow.__table__.c.sequence < bindparam("number"))
                .values(last_seen=bindparam("moment"), sequence=bindparam("number"))
            )
            rows = [{"host": h, "number": n, "moment": m} for h, (n, m) in sorted(seen.items())]
            with self._database.writing() as session:
                session.connection().execute(statement, rows)
        return len(seen)

    def forget(self, host: str | None = None) -> None:
        """What is kept of a host, or of all, is read again."""
        self._known.forget(host)

    def read_all(self) -> None:
        """Read what is to be known of all hosts, when it is time. A chore."""
        self._known.read_all(datetime.now(UTC))

    def look(self) -> None:
        """Notice what other servers and people have written."""
        self._known.look()

    def _store(self, session: Session, said: CheckIn, address: str, now: datetime) -> None:
        row = session.get(HostRow, said.id, with_for_update=True)
        if row is None or row.withdrawn is not None:
            raise Forged("check-in: the host is not in the fleet any more", "suture agent enrol")
        if said.sequence <= row.sequence:  # another server of this fleet has had it
            raise Replayed(f"check-in: its number {said.sequence} has been", "check in again")
        row.sequence = said.sequence
        report, scan = _documents(said)
        if said.state is None or digest_of(said.state, said.scan) != said.digest:
            raise Malformed("check-in: the state is not that of its digest", _REMEDY)
        kept = session.get(HostStateRow, said.id)
        if kept is None:
            kept = HostStateRow(host=said.id, agent={}, scan=None)
            session.add(kept)
        kept.agent, kept.scan = dict(said.state), dict(said.scan) if said.scan else None
        row.name, row.machine = report.host.name, report.host.id
        row.kernel, row.problems = report.host.kernel.line(), len(report.problems)
        row.digest, row.state_time, row.address, row.last_seen = said.digest, now, address, now
        row.away_since = None
        record(session, row, _condensed(report, scan), now)

    def _boot(self, session: Session, said: CheckIn, address: str, now: datetime) -> None:
        """A host that was started again has a new number for it. One that comes back to an old number is two."""
        row = session.get(HostRow, said.id, with_for_update=True)
        if row is None:
            return
        if said.boot_id in row.old_boots:
            if row.clone_since is None:
                row.clone_since = now
                where = f"at {row.address} and {address}" if row.address != address else f"both at {address}"
                audit.note(session, f"host {row.id}", "cloned", row.name, f"two machines report with its key, {where}")
        else:
            row.old_boots = [*row.old_boots, row.boot_id][-_MOST_OLD_BOOTS:] if row.boot_id else row.old_boots
        if row.clone_since is None or said.boot_id not in row.old_boots:
            row.boot_id = said.boot_id[:64]


def _named(data: bytes) -> str:
    """The host that a check-in says it is from. Raises `Forged`, `Malformed`."""
    found = _NAME.match(data[:128])
    if found is None:
        raise Malformed("check-in: it does not begin with the host's id", _REMEDY)
    if not found[1]:
        raise Forged("check-in: it names no host", _REMEDY)  # who waits to be let in has no id yet
    return found[1].decode()


def _parsed(data: bytes) -> CheckIn:
    try:
        read = strict_json.loads(data, MOST_BYTES, MOST_VALUES)
        said = of_type(CheckIn, read, "check-in")
        if not 0 < said.sequence < _MOST_SEQUENCE:
            raise ValueError("its number is out of bounds")
        return said
    except (NoDocument, ValueError, UnicodeDecodeError) as problem:
        raise Malformed(f"check-in: {str(problem)[:200]}", _REMEDY) from problem


def _check_time(said: CheckIn, now: datetime) -> None:
    try:
        sent = datetime.fromisoformat(said.time)
    except ValueError as problem:
        raise Malformed("check-in: its time has no form", _REMEDY) from problem
    if sent.tzinfo is None or abs(sent - now) > SKEW:
        raise Replayed(f"check-in: it is from {said.time[:40]}", "set the host's clock")


def _documents(said: CheckIn) -> tuple[AgentReport, ScanReport | None]:
    try:
        report = decode(_plain(said.state))
        scan = decode(_plain(said.scan)) if said.scan is not None else None
    except NoDocument as problem:
        raise Malformed(f"check-in: {str(problem)[:200]}", _REMEDY) from problem
    if not isinstance(report, AgentReport) or not (scan is None or isinstance(scan, ScanReport)):
        raise Malformed("check-in: the state is of another kind", _REMEDY)
    return report, scan


def _condensed(report: AgentReport, scan: ScanReport | None) -> Condensed:
    """Raises `Malformed` for names that no patch and no hole has."""
    found = condensed(report, scan)
    strange = [c for c in found.holes if not _HOLE.fullmatch(c)]
    strange += [p.offer.patch for p in found.patches if not _PATCH.fullmatch(p.offer.patch)]
    if strange:
        raise Malformed(f"check-in: {strange[0][:64]!r} names no hole and no patch", _REMEDY)
    return found


def _plain(value: Mapping[str, Any] | None) -> Any:
    return dict(value) if value is not None else None


def hosts_away(session: Session, now: datetime, after: timedelta) -> list[HostRow]:
    """Hosts that were not heard of for that long and are not yet said to be away."""
    return list(
        session.scalars(
            select(HostRow)
            .where(HostRow.last_seen < now - after, HostRow.away_since.is_(None), HostRow.withdrawn.is_(None))
            .limit(_MOST_AWAY)
        )
    )
