"""A server knows all hosts soon after its start, so that none of them waits for the database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from suture.fleet import rollout
from suture.fleet.plan import PlannedStage, RolloutPlan
from suture.fleet.presence import Presences
from suture.fleet.role import Role, Visitor
from suture.fleet.table import HostRow
from tests.fleet.conftest import FIXED, OFFER, FakeFleet

ANN = Visitor("ann", Role.ADMIN)


def now() -> datetime:
    return datetime.now(UTC)


def test_all_hosts_are_read_at_once_as_each_would_be(fleet: FakeFleet) -> None:
    hosts = [fleet.host(name, group) for name, group in (("a", "web"), ("b", "web"), ("c", "db"))]
    with fleet.server.database.writing() as session:
        plan = RolloutPlan((PlannedStage("first", count=1), PlannedStage("all")), approval=False)
        number = rollout.begin(session, ANN, OFFER.patch, plan, "x", now())
        rollout.step(session, number, now())
        session.get_one(HostRow, hosts[2].id).away_since = now()
    whole, single = Presences(fleet.server.database), Presences(fleet.server.database)
    whole.read_all(now())
    for host in hosts:
        found, alone = whole._known[host.id], single.of(host.id, now())
        assert alone is not None and replace(found, read=alone.read) == alone
    assert {len(whole._known[h.id].order.chosen) for h in hosts} == {0, 1}
    assert whole.at_hand(hosts[0].id, now()) is not None and whole.at_hand(hosts[2].id, now()) is None


def test_what_was_read_meanwhile_or_is_to_be_read_again_stays(fleet: FakeFleet) -> None:
    first, second = fleet.host("a"), fleet.host("b")
    known = Presences(fleet.server.database)
    before = now()
    kept = known.of(first.id, now())
    known.of(second.id, now())
    known.forget(second.id)
    known.read_all(before)
    assert known._known[first.id] is kept
    assert known.at_hand(second.id, now()) is None, "it is read again"


def test_they_are_read_again_when_rollouts_move_on_or_after_a_while(fleet: FakeFleet) -> None:
    host = fleet.host(state=FIXED)
    known = Presences(fleet.server.database)
    known.read_all(now())
    first = known._known[host.id]
    known.read_all(now())
    assert known._known[host.id] is first
    known.read_all(now() + timedelta(minutes=6))
    second = known._known[host.id]
    assert second is not first
    with fleet.server.database.writing() as session:
        rollout.begin(session, ANN, OFFER.patch, RolloutPlan((PlannedStage("all"),), approval=False), "x", now())
    known.forget()
    known.read_all(now() + timedelta(minutes=7))
    assert known._known[host.id].order.chosen == (OFFER.patch,)
