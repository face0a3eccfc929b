"""What servers do by themselves: two of them on one PostgreSQL, killed at whatever moment."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import select

from suture.fleet import audit, rollout, rollout_order
from suture.fleet.database import Database, open_database
from suture.fleet.keeper import sweeping
from suture.fleet.plan import PlannedStage, RolloutPlan
from suture.fleet.role import Role, Visitor
from suture.fleet.table import HostPatchRow, HostRow, PatchRow, RolloutEventRow, RolloutHostRow, RolloutRow
from suture.report.encoding import plain
from tests.fleet.conftest import OFFER, FakeFleet
from tests.fleet.postgresql import Postgresql

pytestmark = pytest.mark.archive

_HOSTS = 20
_STAGES = [f"stage {n}" for n in range(5)]
_PLAN = RolloutPlan(
    tuple(PlannedStage(name, percent=20 * (n + 1), soak=timedelta()) for n, name in enumerate(_STAGES)),
    quorum=100,
    approval=False,
)
_KEEPER = """
import sys, time
from datetime import timedelta
from suture.fleet.check_in import CheckIns
from suture.fleet.database import open_database
from suture.fleet.keeper import Keeper, stepping, sweeping
from suture.fleet.server_key import server_key
database = open_database(sys.argv[1])
with database.writing() as session:
    key = server_key(session)
check_ins = CheckIns(database, key, 60)
Keeper(check_ins, (stepping(database, check_ins), sweeping(database, timedelta(days=1))), 0.01).start()
time.sleep(600)
"""


@pytest.fixture
def database(postgresql: Postgresql) -> Iterator[Database]:
    """A fleet on which the patch waits, and a rollout whose first stage has begun."""
    found, now = open_database(postgresql.new()), datetime.now(UTC)
    with found.writing() as session:
        session.add(PatchRow(id=OFFER.patch, offer=plain(OFFER), state="offered", first_seen=now))
        names = [f"host{n:02}" for n in range(_HOSTS)]
        session.add_all(
            HostRow(id=h, name=h, group="", tags=[], classes=[], key=b"", old_boots=[], enrolled=now, last_seen=now)
            for h in names
        )
        session.flush()
        session.add_all(HostPatchRow(host=h, patch=OFFER.patch, state="waiting", why="") for h in names)
        session.flush()
        rollout.begin(session, Visitor("ann", Role.OPERATOR), OFFER.patch, _PLAN, "x", now)
    yield found
    found.engine.dispose()


def take(database: Database) -> set[str]:
    """Every host that may have the patch has it from now on; all that may."""
    with database.writing() as session:
        chosen = {r.id for r in session.scalars(select(HostRow)) if rollout_order.for_host(session, r).chosen}
        for host in chosen:
            session.get_one(HostPatchRow, (host, OFFER.patch)).state = "in force"
    return chosen


def begun(database: Database) -> Counter[str]:
    """How often each stage has begun."""
    with database.reading() as session:
        texts = session.scalars(select(RolloutEventRow.text).order_by(RolloutEventRow.id))
        return Counter(t.removeprefix("server: stage ").removesuffix(" begins") for t in texts if t.endswith(" begins"))


def stage_of(database: Database) -> int:
    with database.reading() as session:
        return session.get_one(RolloutRow, 1).stage


def wait_until(holds: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


@contextmanager
def served(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """`suture fleet serve`, which answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["fleet", "serve", "--plain", "--insecure-cookies", f"--listen=127.0.0.1:{port}", f"--database={url}"]
    server = subprocess.Popen([sys.executable, "-m", "suture.cli", *words], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        yield server
    finally:
        server.kill()
        server.wait()


def test_a_server_killed_in_the_midst_of_a_step_has_done_none_of_it_and_the_other_does_it_once(
    database: Database,
) -> None:
    with psycopg.connect(database.url) as holder, served(database.url) as one:
        holder.execute("LOCK TABLE rollout_event IN EXCLUSIVE MODE")  # a step has written all else by then
        take(database)
        waits = b"SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'rollout_event'::regclass"
        wait_until(lambda: holder.execute(waits).fetchone() == (1,))
        os.kill(one.pid, signal.SIGKILL)
        assert stage_of(database) == 0 and begun(database) == {"stage 0": 1}
        with served(database.url):
            holder.rollback()
            wait_until(lambda: stage_of(database) == 1)
            time.sleep(1.5)
    assert begun(database) == {"stage 0": 1, "stage 1": 1} and len(take(database)) == 8


@pytest.mark.slow
def test_of_two_servers_that_are_killed_again_and_again_each_step_is_done_once(database: Database) -> None:
    chance = random.Random(7)
    start = [sys.executable, "-c", _KEEPER, database.url]
    servers = [subprocess.Popen(start) for _ in range(2)]
    try:
        for number in range(len(_STAGES) - 1):
            for _ in range(3):
                time.sleep(chance.uniform(0, 2))
                which = chance.randrange(2)
                os.kill(servers[which].pid, signal.SIGKILL)
                servers[which].wait()
                servers[which] = subprocess.Popen(start)
                assert len(take(database)) <= 4 * (stage_of(database) + 1)
            wait_until(lambda: stage_of(database) > number)  # noqa: B023
        take(database)
        with database.reading() as session:
            wait_until(lambda: _is_over(database))
    finally:
        for server in servers:
            server.kill()
            server.wait()
    assert begun(database) == dict.fromkeys(_STAGES, 1)
    with database.reading() as session:
        assert audit.first_wrong(session) is None
        assert {r.state for r in session.scalars(select(RolloutHostRow))} == {"chosen"}


def _is_over(database: Database) -> bool:
    with database.reading() as session:
        return session.get_one(RolloutRow, 1).status == "done"


def test_a_server_that_was_itself_away_gives_hosts_time_to_report(fleet: FakeFleet) -> None:
    host, base = fleet.host(), fleet.server.database
    with base.writing() as session:
        session.get_one(HostRow, host.id).last_seen = datetime.now(UTC) - timedelta(hours=1)

    def is_away() -> bool:
        with base.reading() as session:
            return session.get_one(HostRow, host.id).away_since is not None

    sweeping(base, timedelta(minutes=15), timedelta(minutes=3))()
    assert not is_away()
    sweeping(base, timedelta(minutes=15))()
    assert is_away()
