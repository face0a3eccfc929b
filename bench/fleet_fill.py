"""A fleet's database as it stands after a month: hosts with keys that can be made again, holes, and what came and went.

Each host has had ten holes in the month. Five are open, five were open for three days and are closed in memory since
then; one of the open ones is on every host. Each host has sent a state with twenty binaries.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from suture.fleet.database import Database

HOLES, PER_HOST, CLOSED = 1000, 10, 5
EVERYWHERE = "CVE-2026-10000"
_GROUPS = ("web", "db", "app", "edge")
_BINARIES = 20
_AT_A_TIME = 20_000
_MONTH = timedelta(days=30)


def key_of(number: int) -> Ed25519PrivateKey:
    """The private key of a host."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"host {number}".encode()).digest())


def id_of(number: int) -> str:
    """What the server calls a host."""
    return hashlib.sha256(f"id {number}".encode()).hexdigest()[:32]


def digest_of(number: int) -> str:
    """The digest of the state that a host has sent last."""
    return hashlib.sha256(f"state {number}".encode()).hexdigest()


def fill(database: Database, hosts: int, now: datetime) -> None:
    """Put so many hosts into a database that has its schema and nothing else."""
    begin = now - _MONTH
    put = _Put(database)
    cves = [EVERYWHERE, *(f"CVE-2026-{10000 + n}" for n in range(1, HOLES))]
    disclosed = _moment(begin - timedelta(days=2))
    holes = ((cve, _moment(begin), disclosed, n % 20 == 0, 4.0 + n % 60 / 10) for n, cve in enumerate(cves))
    put.rows("hole", ("cve", "first_seen", "disclosed", "in_kev", "cvss"), holes)
    put.rows("host", _HOST, (_host(n, key_of(n).public_key().public_bytes_raw(), begin, now) for n in range(hosts)))
    state = json.dumps(_state())
    put.rows("host_state", ("host", "agent"), ((id_of(n), state) for n in range(hosts)))
    tally: Counter[tuple[str, str, str]] = Counter()
    put.rows("span", ("host", "cve", "state", "seen", "since", "until"), _spans(hosts, cves, begin, tally))
    put.rows("tally", ("cve", "group", "state", "hosts"), ((*key, n) for key, n in tally.items()))
    put.analyse()


_HOST = (
    "id", "name", "group", "tags", "exposed", "classes", "key", "machine", "boot_id", "old_boots", "address", "kernel",
    "enrolled", "last_seen", "sequence", "digest", "open_holes", "problems",
)  # fmt: skip


def _host(number: int, key: bytes, begin: datetime, now: datetime) -> tuple[object, ...]:
    exposed = (True, False, None)[number % 3]
    return (
        id_of(number), f"host-{number:06}", _group(number), "[]", exposed, "[]", key, f"machine {number}",
        f"boot {number}", "[]", "10.0.0.1", "6.1.0-30-amd64", _moment(begin), _moment(now), 1, digest_of(number),
        PER_HOST - CLOSED, 0,
    )  # fmt: skip


def _group(number: int) -> str:
    return _GROUPS[number % len(_GROUPS)]


def _spans(
    hosts: int, cves: Sequence[str], begin: datetime, tally: Counter[tuple[str, str, str]]
) -> Iterator[tuple[object, ...]]:
    for number in range(hosts):
        host, group = id_of(number), _group(number)
        own = [cves[0], *(cves[1 + (number * 7 + 101 * n) % (HOLES - 1)] for n in range(1, PER_HOST))]
        for n, cve in enumerate(own):
            seen = begin + timedelta(seconds=(number * 37 + n * 8641) % (25 * 86400))
            if n < PER_HOST - CLOSED:
                yield host, cve, "open", _moment(seen), _moment(seen), None
                tally[(cve, group, "open")] += 1
                continue
            closed = seen + timedelta(days=3)
            yield host, cve, "open", _moment(seen), _moment(seen), _moment(closed)
            yield host, cve, "lost at the next start", _moment(seen), _moment(closed), None
            tally[(cve, group, "lost at the next start")] += 1


def _state() -> dict[str, object]:
    rows = [
        {"build_id": hashlib.sha1(str(n).encode()).hexdigest(), "path": f"/usr/lib/x86_64-linux-gnu/lib{n}.so.3",
         "processes": 3, "package": f"lib{n}", "version": f"1.{n}-2+deb12u1"}
        for n in range(_BINARIES)
    ]  # fmt: skip
    return {"format": 1, "kind": "agent", "binaries": rows, "in_force": [], "waiting": [], "problems": []}


def _moment(value: datetime) -> str:
    """As SQLite keeps it and PostgreSQL reads it."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


class _Put:
    """Many rows at a time, past the ORM."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self, table: str, columns: Sequence[str], rows: Iterable[tuple[object, ...]]) -> None:
        connection = self._database.engine.raw_connection()
        names = ", ".join(f'"{c}"' for c in columns)
        cursor = connection.cursor()
        try:
            if self._database.is_sqlite:
                cursor.execute("BEGIN IMMEDIATE")
                statement = f'INSERT INTO "{table}" ({names}) VALUES ({", ".join("?" * len(columns))})'
                left = iter(rows)
                while part := list(islice(left, _AT_A_TIME)):
                    cursor.executemany(statement, part)
            else:
                with cursor.copy(f'COPY "{table}" ({names}) FROM STDIN') as copy:
                    for row in rows:
                        copy.write_row(row)
            connection.commit()
        finally:
            connection.close()

    def analyse(self) -> None:
        with self._database.engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE")
            connection.commit()
