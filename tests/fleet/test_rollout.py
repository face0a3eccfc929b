"""Rollouts, whatever happens meanwhile: hosts fail, vanish or report twice, clocks jump, a patch is withdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import StaticPool

from suture.fleet import plan, rollout, rollout_order
from suture.fleet.error import FleetRefusal, NotPermitted
from suture.fleet.plan import PlannedStage, RolloutPlan
from suture.fleet.role import Role, Visitor
from suture.fleet.rollout_order import HostTurn
from suture.fleet.state import PatchStanding
from suture.fleet.table import Base, HostPatchRow, HostRow, PatchRow, RolloutHostRow, RolloutRow
from suture.report.encoding import plain
from suture.report.fleet import RolloutStatus
from suture.report.reason import Cause, Reason
from tests.fleet.conftest import IN_FORCE, OFFER, FakeFleet, report

T = datetime(2026, 7, 1, 12, tzinfo=UTC)
ANN, BOB = Visitor("ann", Role.OPERATOR), Visitor("bob", Role.APPROVER)
PLAN = RolloutPlan(
    (
        PlannedStage("canaries", ("canary",), count=2, soak=timedelta(hours=1)),
        PlannedStage("half", percent=50, soak=timedelta(hours=2)),
        PlannedStage("all", soak=timedelta()),
    ),
    quorum=60,
    most_failed=1,
)
HOSTS = [f"host{n}" for n in range(10)]


def sessions() -> sessionmaker[Session]:
    engine = sqlalchemy.create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    found = sessionmaker(engine, expire_on_commit=False)
    with found.begin() as session:
        session.add(PatchRow(id=OFFER.patch, offer=plain(OFFER), state="offered", first_seen=T))
        for number, host in enumerate(HOSTS):
            tags = ["canary"] if number < 4 else []
            session.add(
                HostRow(
                    id=host, name=host, group="", tags=tags, classes=[], key=b"", old_boots=[], enrolled=T, last_seen=T
                )
            )
        session.flush()
        session.add_all(HostPatchRow(host=h, patch=OFFER.patch, state="waiting", why="") for h in HOSTS)
    return found


@pytest.fixture
def base() -> Iterator[Session]:
    with sessions().begin() as session:
        yield session


def step_all(session: Session, now: datetime) -> None:
    """As the server does."""
    for number in rollout.due(session, now):
        rollout.step(session, number, now)


def chosen(session: Session) -> set[str]:
    return {h for h in HOSTS if OFFER.patch in rollout_order.for_host(session, session.get_one(HostRow, h)).chosen}


def stand(session: Session, host: str, state: PatchStanding) -> None:
    session.get_one(HostPatchRow, (host, OFFER.patch)).state = state.value


def status(session: Session, number: int) -> tuple[RolloutStatus, str]:
    row = session.get_one(RolloutRow, number)
    return RolloutStatus(row.status), row.why


def test_a_rollout_goes_from_stage_to_stage_and_then_is_for_who_comes_later(base: Session) -> None:
    number = rollout.begin(base, ANN, OFFER.patch, PLAN, "x", T)
    assert status(base, number) == (RolloutStatus.DRAFT, "nobody else has approved it yet") and chosen(base) == set()
    rollout.approve(base, BOB, number, T)
    assert chosen(base) == {"host0", "host1"}
    for host in ("host0", "host1"):
        stand(base, host, PatchStanding.IN_FORCE)
    rollout.step(base, number, T + timedelta(minutes=59))
    assert "it soaks until 2026-07-01 13:00 UTC" in status(base, number)[1] and len(chosen(base)) == 2
    rollout.step(base, number, T + timedelta(hours=1))
    assert len(chosen(base)) == 5
    for host in HOSTS[:4]:
        stand(base, host, PatchStanding.IN_FORCE)
    rollout.step(base, number, T + timedelta(hours=3))
    assert len(chosen(base)) == 10
    for host in HOSTS:
        stand(base, host, PatchStanding.IN_FORCE)
    rollout.step(base, number, T + timedelta(hours=4))
    assert status(base, number)[0] is RolloutStatus.DONE
    later = HostRow(
        id="later", name="later", group="", tags=[], classes=[], key=b"", old_boots=[], enrolled=T, last_seen=T
    )
    base.add(later)
    assert rollout_order.for_host(base, later).chosen == (OFFER.patch,)


def test_a_failure_in_the_canaries_stops_it_and_takes_it_back(base: Session) -> None:
    number = rollout.begin(base, ANN, OFFER.patch, PLAN, "x", T)
    rollout.approve(base, BOB, number, T)
    for host in ("host0", "host1"):
        stand(base, host, PatchStanding.FAILED)
    rollout.step(base, number, T)
    assert status(base, number) == (RolloutStatus.STOPPED, "it failed on 2 hosts; 1 may fail")
    back = {h for h in HOSTS if rollout_order.for_host(base, base.get_one(HostRow, h)).taken_back}
    assert chosen(base) == set() and back == {"host0", "host1"}


def test_who_begins_it_does_not_approve_it_and_an_operator_begins_no_emergency(base: Session) -> None:
    number = rollout.begin(base, BOB, OFFER.patch, PLAN, "x", T)
    with pytest.raises(FleetRefusal, match="does not approve"):
        rollout.approve(base, BOB, number, T)
    with pytest.raises(NotPermitted):
        rollout.approve(base, ANN, number, T)
    with pytest.raises(FleetRefusal, match="is not over"):
        rollout.begin(base, ANN, OFFER.patch, PLAN, "y", T)
    rollout.stop(base, ANN, number, "", T)
    urgent = RolloutPlan(PLAN.stages, emergency=True, hours=(0, 1))
    with pytest.raises(NotPermitted):
        rollout.begin(base, ANN, OFFER.patch, urgent, "z", T)
    rollout.begin(base, BOB, OFFER.patch, urgent, "z", T)
    assert chosen(base) == {"host0", "host1"}


def test_hours_hold_a_stage_back(base: Session) -> None:
    night = RolloutPlan(PLAN.stages, approval=False, hours=(22, 4))
    number = rollout.begin(base, ANN, OFFER.patch, night, "x", T)
    assert "from 22 to 4 h" in status(base, number)[1] and chosen(base) == set()
    rollout.step(base, number, T.replace(hour=3))
    assert chosen(base) == {"host0", "host1"}


def test_a_plan_is_the_same_after_it_was_written_down() -> None:
    assert plan.parse(plan.plain(PLAN)) == PLAN and plan.parse(plan.plain(plan.USUAL)) == plan.USUAL
    nothing: dict[str, Any] = {}
    none: dict[str, Any] = {"stages": []}
    for wrong in (nothing, none, {"stages": [{"name": "x", "percent": 0}]}, {"stages": [{"name": "x", "count": 1}]}):
        with pytest.raises(FleetRefusal):
            plan.parse(wrong)


def test_the_pages_take_a_rollout_from_its_form_to_its_end(fleet: FakeFleet) -> None:
    host = fleet.host()
    ann, bob = fleet.person("ann", Role.OPERATOR), fleet.person("bob", Role.APPROVER)
    fields: Any = {
        "name": "openssl", "patch": OFFER.patch, "tags": "", "canaries": "1", "soak_1": "0", "percent": "25",
        "soak_2": "0", "quorum": "90", "most_failed": "0", "first_hour": "8", "last_hour": "17", "approval": "1",
    }  # fmt: skip
    assert "nobody else has approved" in ann.post("/rollouts", **fields)
    ann.post("/rollouts/1/approve", 403)
    fleet.person("vic", Role.VIEWER).post("/rollouts/1/stop", 403)
    assert host.check_in()["chosen"] == []
    assert "stage canaries begins" in bob.post("/rollouts/1/approve")
    assert host.check_in()["chosen"] == [OFFER.patch]
    assert "taken back" in ann.post("/rollouts/1/stop", why="<b>it smokes</b>")
    assert host.check_in()["taken_back"] == [OFFER.patch] and "&lt;b&gt;it smokes" in ann.get("/rollouts/1")
    assert "event: over" in ann.get("/rollouts/1/live")


@pytest.mark.parametrize("held", [False, True])
def test_a_process_that_died_after_it_was_patched_stops_the_rollout(fleet: FakeFleet, held: bool) -> None:
    host = fleet.host()
    with fleet.server.database.writing() as session:
        one = RolloutPlan((PlannedStage("all", soak=timedelta(hours=1)),), approval=False)
        rollout.begin(session, ANN, OFFER.patch, one, "x", datetime.now(UTC))
    died = Cause(Reason.AGENT_CRASHED, "pid 7 died of SIGSEGV, 1.0 s after patching", "")
    host.check_in(report(in_force=[replace(IN_FORCE, held=held, why=died)]))
    with fleet.server.database.writing() as session:
        rollout.step(session, 1, datetime.now(UTC))
        assert status(session, 1) == (RolloutStatus.STOPPED, "it failed on 1 host; none may fail")
        told = [e.text for e in rollout.events(session, 1)]
        name = session.scalars(sqlalchemy.select(HostRow.name)).one()
        assert f"server: it failed on {name}: pid 7 died of SIGSEGV, 1.0 s after patching" in told
    fleet.server.check_ins.forget()
    assert host.check_in()["taken_back"] == [OFFER.patch]


class Rollouts(RuleBasedStateMachine):
    """A rollout in a world that does what it likes."""

    @initialize()
    def start(self) -> None:
        self.base = sessions()
        self.now = T
        self.withdrawn = self.stopped = False
        with self.base.begin() as session:
            self.number = rollout.begin(session, ANN, OFFER.patch, PLAN, "x", T)

    @rule()
    def approve(self) -> None:
        with self.base.begin() as session:
            if not status(session, self.number)[0].is_over:
                rollout.approve(session, BOB, self.number, self.now)

    @rule(host=st.sampled_from(HOSTS), state=st.sampled_from([PatchStanding.IN_FORCE] * 6 + list(PatchStanding)))
    def report(self, host: str, state: PatchStanding) -> None:
        with self.base.begin() as session:
            stand(session, host, state)

    @rule()
    def all_that_may_take_it(self) -> None:
        with self.base.begin() as session:
            for host in chosen(session):
                stand(session, host, PatchStanding.IN_FORCE)

    @rule(host=st.sampled_from(HOSTS), away=st.booleans())
    def vanish(self, host: str, away: bool) -> None:
        with self.base.begin() as session:
            session.get_one(HostRow, host).away_since = self.now if away else None

    @rule(minutes=st.integers(-120, 240))
    def time(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(times=st.integers(1, 3))
    def step(self, times: int) -> None:
        for _ in range(times):
            with self.base.begin() as session:
                step_all(session, self.now)

    @precondition(lambda self: not self.withdrawn)
    @rule()
    def withdraw(self) -> None:
        self.withdrawn = True
        with self.base.begin() as session:
            session.get_one(PatchRow, OFFER.patch).state = "revert"

    @rule(chance=st.integers(0, 9))
    def stop(self, chance: int) -> None:
        if chance == 0:
            with self.base.begin() as session:
                rollout.stop(session, ANN, self.number, "enough", self.now)

    @invariant()
    def no_more_hosts_than_the_stages_that_have_begun(self) -> None:
        with self.base.begin() as session:
            row = session.get_one(RolloutRow, self.number)
            stages = {r.host: r.stage for r in session.query(RolloutHostRow)}
            assert len(stages) == len(HOSTS)
            begun = {h for h, s in stages.items() if s <= row.stage}
            assert len(begun) <= {-1: 0, 0: 2, 1: 5, 2: 10}[row.stage]
            assert chosen(session) <= begun
            if not row.approved:
                assert row.stage == -1

    @invariant()
    def never_a_withdrawn_patch_and_nobody_after_a_stop(self) -> None:
        with self.base.begin() as session:
            state, _ = status(session, self.number)
            if self.withdrawn or state is RolloutStatus.STOPPED:
                assert chosen(session) == set()
            if state is RolloutStatus.STOPPED:
                turns = {r.state for r in session.query(RolloutHostRow)}
                assert turns <= {HostTurn.TAKEN_BACK.value, HostTurn.LEFT.value}

    @invariant()
    def never_stuck_without_a_reason(self) -> None:
        with self.base.begin() as session:
            step_all(session, self.now)
            state, why = status(session, self.number)
            failed = session.query(HostPatchRow).filter(HostPatchRow.state.in_(["failed", "held"])).all()
            row = session.get_one(RolloutRow, self.number)
            stages = {r.host: r.stage for r in session.query(RolloutHostRow)}
            if state in (RolloutStatus.WAITING, RolloutStatus.DRAFT, RolloutStatus.STOPPED):
                assert why
            if not state.is_over:
                assert not self.withdrawn
                assert sum(stages[f.host] <= row.stage for f in failed) <= PLAN.most_failed


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(
    max_examples=10, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
