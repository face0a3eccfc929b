"""Hosts check in: what counts, and what does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from suture.fleet.check_in import CheckIns
from suture.fleet.hole import by_state
from suture.fleet.keeper import sweep
from suture.fleet.role import Role, Visitor
from suture.fleet.table import AuditRow, HostRow, SpanRow
from suture.report.check_in import CHECK_IN_PATH, MOST_BYTES, digest_of, state_document
from suture.report.hole import HoleState
from tests.fleet.conftest import FIXED, OPEN, FakeFleet, FakeHost

ALL = Visitor("test", Role.ADMIN)


def states(fleet: FakeFleet, host: str) -> list[str | None]:
    """The states of its one hole, in the order of time."""
    with fleet.server.database.reading() as session:
        rows = session.scalars(select(SpanRow).where(SpanRow.host == host).order_by(SpanRow.id))
        return [r.state for r in rows]


def counted(fleet: FakeFleet) -> dict[str, dict[HoleState, int]]:
    with fleet.server.database.reading() as session:
        return dict(by_state(session, ALL, None))


def test_a_state_is_sent_when_it_is_new_and_not_again(fleet: FakeFleet) -> None:
    host = fleet.host()
    assert host.check_in()["wants_state"] is False
    assert states(fleet, host.id) == ["open"] and counted(fleet) == {"CVE-2026-1": {HoleState.OPEN: 1}}
    host.check_in(FIXED)
    assert states(fleet, host.id) == ["open", "lost at the next start"]
    assert counted(fleet) == {"CVE-2026-1": {HoleState.LOST_AT_NEXT_START: 1}}


def test_a_host_that_no_longer_runs_the_code_has_the_hole_no_more(fleet: FakeFleet) -> None:
    host = fleet.host()
    host.check_in(replace(OPEN, binaries=()))
    assert states(fleet, host.id) == ["open", None] and counted(fleet) == {}


def test_a_host_that_is_away_is_unknown_since_then_and_says_all_again(fleet: FakeFleet) -> None:
    host = fleet.host()
    database, now = fleet.server.database, fleet.server.now()
    fleet.server.check_ins.flush()
    assert sweep(database, now + timedelta(minutes=14), timedelta(minutes=15)) == 0
    assert sweep(database, now + timedelta(minutes=16), timedelta(minutes=15)) == 1
    assert states(fleet, host.id) == ["open", "unknown"]
    with database.reading() as session:
        row = session.get(HostRow, host.id)
        assert row is not None and row.away_since == row.last_seen
    fleet.server.check_ins.forget()
    host.check_in()
    assert states(fleet, host.id) == ["open", "unknown", "open"]


def test_a_check_in_counts_once(fleet: FakeFleet) -> None:
    host = fleet.host()
    data = host.message(state=False)
    assert host.send(data).status_code == 200
    assert host.send(data).status_code == 409
    assert host.send(host.message(state=False, sequence=1)).status_code == 409
    host.clock = timedelta(minutes=-6)
    assert host.send(host.message(state=False)).status_code == 409


def test_a_replay_is_refused_by_a_server_that_was_started_again(fleet: FakeFleet) -> None:
    host = fleet.host()
    data = host.message(state=False)
    assert host.send(data).status_code == 200
    fleet.server.check_ins.flush()
    fleet.server.check_ins = CheckIns(fleet.server.database, fleet.server.key, 60)
    assert host.send(data).status_code == 409


def test_nobody_speaks_for_another_host(fleet: FakeFleet) -> None:
    one, other = fleet.host("a"), fleet.host("b")
    forged = one.message(state=False, id=other.id)
    assert one.send(forged).status_code == 401
    stranger = FakeHost(fleet, "c", id=one.id)
    assert stranger.send(stranger.message(state=True)).status_code == 401
    assert fleet.post(CHECK_IN_PATH, one.message(state=False), b"").status_code == 401
    changed = one.message(state=False)
    assert fleet.post(CHECK_IN_PATH, changed.replace(b"boot 1", b"boot 9"), one.sign(changed)).status_code == 401


def test_a_state_that_is_not_of_its_digest_or_kind_changes_nothing(fleet: FakeFleet) -> None:
    host = fleet.host()
    state = state_document(FIXED)
    assert (
        host.send(
            host.message(state=True, state_=None) if False else host.message(state=True, digest="0" * 64)
        ).status_code
        == 422
    )
    other = {**state, "kind": "show"}
    assert host.send(host.message(state=True, digest=digest_of(other, None))).status_code == 422
    assert host.send(b"[" * 1000).status_code == 422
    assert states(fleet, host.id) == ["open"]


@pytest.mark.parametrize("size", [MOST_BYTES + 1, 10 << 20])
def test_a_body_of_many_megabytes_is_refused(fleet: FakeFleet, size: int) -> None:
    assert fleet.post(CHECK_IN_PATH, b"x" * size, b"").status_code == 413


def test_a_cloned_host_is_noticed_and_a_restart_is_not(fleet: FakeFleet) -> None:
    host = fleet.host()
    for boot in ("boot 2", "boot 3"):
        host.boot = boot
        host.check_in()
    with fleet.server.database.reading() as session:
        row = session.get(HostRow, host.id)
        assert row is not None and row.clone_since is None
    host.boot = "boot 2"
    host.check_in()
    with fleet.server.database.reading() as session:
        row = session.get(HostRow, host.id)
        assert row is not None and row.clone_since is not None
        noted = session.scalars(select(AuditRow).where(AuditRow.what == "cloned")).one()
        assert "two machines" in noted.detail


def test_a_withdrawn_key_counts_no_more(fleet: FakeFleet) -> None:
    host = fleet.host()
    person = fleet.person()
    person.post(f"/hosts/{host.id}/withdraw")
    assert host.send(host.message(state=False)).status_code == 401
    assert counted(fleet) == {}
