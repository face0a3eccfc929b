"""Rollouts in the database: begun, approved, moved on, stopped. Each step is one transaction that reads how things
stand and decides by `gate.py`, so a step that is done twice, or by two servers, does the same as once."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.orm import Session

from suture.fleet import audit, event, gate, plan
from suture.fleet.error import FleetRefusal, NoSuchThing
from suture.fleet.gate import HostFacts, Move, RolloutFacts, RolloutMove
from suture.fleet.host import moment
from suture.fleet.plan import RolloutPlan
from suture.fleet.role import Role, Visitor
from suture.fleet.rollout_order import HostTurn
from suture.fleet.state import PatchStanding
from suture.fleet.table import HostPatchRow, HostRow, PatchRow, RolloutEventRow, RolloutHostRow, RolloutRow
from suture.report.feed import OfferState
from suture.report.fleet import FleetPatch, FleetRollout, RolloutStageReport, RolloutStatus

_OVER = (RolloutStatus.STOPPED.value, RolloutStatus.DONE.value)
_FAILED = tuple(s.value for s in gate.FAILED)
_MOST_TOLD = 10
KEEPER = "server"


def begin(session: Session, visitor: Visitor, patch: str, wanted: RolloutPlan, name: str, now: datetime) -> int:
    """A new rollout to all hosts that a visitor sees and on which the patch waits or stands; its number. Raises
    `FleetRefusal`."""
    visitor.need(Role.APPROVER if wanted.emergency else Role.OPERATOR)
    row = session.get(PatchRow, patch)
    if row is None:
        raise NoSuchThing(f"no host has told of a patch {patch[:32]}", "the page of rollouts lists them")
    if row.state != OfferState.OFFERED.value:
        raise FleetRefusal("the feed has withdrawn this patch", "choose its successor")
    busy = session.scalars(select(RolloutRow).where(RolloutRow.patch == patch, RolloutRow.status.not_in(_OVER))).first()
    if busy is not None:
        raise FleetRefusal(f"rollout {busy.id} of this patch is not over", "stop it first")
    statement = (
        select(HostRow.id, HostRow.tags)
        .join(HostPatchRow, HostPatchRow.host == HostRow.id)
        .where(HostPatchRow.patch == patch, HostRow.withdrawn.is_(None))
    )
    statement = visitor.among(statement, HostRow.group)
    hosts = {host: frozenset(tags) for host, tags in session.execute(statement)}
    if not hosts:
        raise FleetRefusal("this patch waits on no host", "look at its hosts")
    needs = wanted.approval and not wanted.emergency
    rollout = RolloutRow(
        name=name[:255] or patch, patch=patch, plan={**plan.plain(wanted), "groups": list(visitor.groups)}, stage=-1,
        stage_since=now, approved=[], why="",
        status=(RolloutStatus.DRAFT if needs else RolloutStatus.RUNNING).value, created_by=visitor.name, created=now,
    )  # fmt: skip
    session.add(rollout)
    session.flush()
    session.add_all(
        RolloutHostRow(rollout=rollout.id, host=h, stage=s, state=HostTurn.LATER.value, since=now)
        for h, s in plan.assigned(wanted, hosts).items()
    )
    kind = "emergency rollout" if wanted.emergency else "rollout"
    _tell(session, rollout, visitor.name, f"{kind} asked for: {len(hosts)} hosts, {len(wanted.stages)} stages", now)
    step(session, rollout.id, now)
    return rollout.id


def approve(session: Session, visitor: Visitor, number: int, now: datetime) -> None:
    """Raises `FleetRefusal` for who began it, or for one that is over."""
    visitor.need(Role.APPROVER)
    row = row_of(session, visitor, number)
    if row.created_by == visitor.name:
        raise FleetRefusal("who asks for a rollout does not approve it", "ask another approver")
    if row.status in _OVER:
        raise FleetRefusal("this rollout is over", "begin another one")
    row.approved = [*row.approved, visitor.name]
    row.status = RolloutStatus.RUNNING.value
    _tell(session, row, visitor.name, "approved", now)
    step(session, number, now)


def stop(session: Session, visitor: Visitor, number: int, why: str, now: datetime) -> None:
    """Stop it, and take the patch back wherever it let it in. Raises `FleetRefusal`."""
    visitor.need(Role.OPERATOR)
    row = row_of(session, visitor, number)
    if row.status == RolloutStatus.STOPPED.value:
        return
    _stop(session, row, visitor.name, why or "stopped by a person", now)


def stop_all(session: Session, visitor: Visitor, now: datetime) -> int:
    """Stop every rollout that is not over; how many."""
    visitor.need(Role.OPERATOR)
    visitor.need_all_hosts()
    rows = session.scalars(select(RolloutRow).where(RolloutRow.status.not_in(_OVER))).all()
    for row in rows:
        _stop(session, row, visitor.name, "everything was stopped", now)
    return len(rows)


def step(session: Session, number: int, now: datetime) -> RolloutMove | None:
    """Do what is to be done now; None where it is over."""
    row = session.get(RolloutRow, number, with_for_update=True)
    if row is None or row.status in _OVER:
        return None
    found = gate.decide(facts(session, row), now)
    if found.move is Move.STOP:
        _tell_failed(session, row, now)
        _stop(session, row, KEEPER, found.why, now)
    elif found.move is Move.DONE:
        row.status, row.why, row.ended = RolloutStatus.DONE.value, "", now
        _tell(session, row, KEEPER, "done", now)
    elif found.move is Move.BEGIN:
        row.stage, row.stage_since, row.why, row.status = found.stage, now, "", RolloutStatus.RUNNING.value
        _turn(session, row, HostTurn.CHOSEN, now, RolloutHostRow.stage == found.stage)
        _tell(session, row, KEEPER, f"stage {row.plan['stages'][found.stage]['name']} begins", now)
    else:
        draft = row.status == RolloutStatus.DRAFT.value
        row.status = row.status if draft else RolloutStatus.WAITING.value
        row.why = found.why
    return found


def due(session: Session, now: datetime) -> list[int]:
    """Those of which a step would change something now. Nothing is written."""
    rows = session.scalars(select(RolloutRow).where(RolloutRow.status.not_in(_OVER)).order_by(RolloutRow.id)).all()
    return [r.id for r in rows if gate.decide(facts(session, r), now) != RolloutMove(Move.WAIT, r.stage, r.why)]


def facts(session: Session, row: RolloutRow) -> RolloutFacts:
    """How a rollout stands."""
    patch = session.get_one(PatchRow, row.patch)
    away = HostRow.away_since.is_not(None)
    statement = (
        select(RolloutHostRow.stage, HostPatchRow.state, away, func.count())
        .join(HostRow, HostRow.id == RolloutHostRow.host)
        .outerjoin(HostPatchRow, (HostPatchRow.host == RolloutHostRow.host) & (HostPatchRow.patch == row.patch))
        .where(RolloutHostRow.rollout == row.id, HostRow.withdrawn.is_(None))
        .group_by(RolloutHostRow.stage, HostPatchRow.state, away)
    )
    hosts = {
        HostFacts(stage, PatchStanding(state) if state else None, bool(is_away)): int(count)
        for stage, state, is_away, count in session.execute(statement)
    }
    return RolloutFacts(
        plan.parse(row.plan), row.stage, row.stage_since, bool(row.approved),
        patch.state != OfferState.OFFERED.value, hosts,
    )  # fmt: skip


def _tell_failed(session: Session, row: RolloutRow, now: datetime) -> None:
    """On which hosts it failed, and why."""
    failed = session.execute(
        select(HostRow.name, HostPatchRow.why)
        .join(RolloutHostRow, RolloutHostRow.host == HostRow.id)
        .join(HostPatchRow, (HostPatchRow.host == HostRow.id) & (HostPatchRow.patch == row.patch))
        .where(RolloutHostRow.rollout == row.id, RolloutHostRow.stage <= row.stage)
        .where(HostPatchRow.state.in_(_FAILED), HostRow.withdrawn.is_(None))
        .order_by(HostRow.name)
        .limit(_MOST_TOLD)
    )
    for name, why in failed:
        _tell(session, row, KEEPER, f"it failed on {name}: {why}", now)


def _stop(session: Session, row: RolloutRow, who: str, why: str, now: datetime) -> None:
    row.status, row.why, row.ended = RolloutStatus.STOPPED.value, why[:2000], now
    _turn(session, row, HostTurn.TAKEN_BACK, now, RolloutHostRow.state == HostTurn.CHOSEN.value)
    _turn(session, row, HostTurn.LEFT, now, RolloutHostRow.state == HostTurn.LATER.value)
    subject = f"rollout {row.id} {row.name} was stopped"
    event.note(session, event.NoticeKind.ROLLOUT_STOPPED, subject, f"{who}: {why}", f"{row.id}", now)
    _tell(session, row, who, f"stopped, and taken back where it was let in: {why}", now)


def _turn(session: Session, row: RolloutRow, turn: HostTurn, now: datetime, which: ColumnElement[bool]) -> None:
    session.execute(
        update(RolloutHostRow)
        .where(RolloutHostRow.rollout == row.id, which)
        .values(state=turn.value, since=now)
        .execution_options(synchronize_session=False)
    )


def _tell(session: Session, row: RolloutRow, who: str, text: str, now: datetime) -> None:
    session.add(RolloutEventRow(rollout=row.id, time=now, text=f"{who}: {text}"[:2000]))
    audit.note(session, who, "rollout", f"{row.id} {row.name}", text)


def row_of(session: Session, visitor: Visitor, number: int) -> RolloutRow:
    """Raises `NoSuchThing`, also for one with hosts that this visitor does not see."""
    row = session.get(RolloutRow, number)
    if row is None or not _sees(session, visitor, number):
        raise NoSuchThing(f"no rollout {number}", "the page of rollouts lists them")
    return row


def _sees(session: Session, visitor: Visitor, number: int) -> bool:
    if not visitor.groups:
        return True
    others = (
        select(func.count())
        .select_from(RolloutHostRow)
        .join(HostRow, HostRow.id == RolloutHostRow.host)
        .where(RolloutHostRow.rollout == number, HostRow.group.not_in(visitor.groups))
    )
    return not session.scalar(others)


def told(session: Session, row: RolloutRow) -> FleetRollout:
    """As reports have it."""
    patch = session.get_one(PatchRow, row.patch)
    counts = session.execute(
        select(RolloutHostRow.stage, RolloutHostRow.state, HostPatchRow.state, func.count())
        .outerjoin(HostPatchRow, (HostPatchRow.host == RolloutHostRow.host) & (HostPatchRow.patch == row.patch))
        .where(RolloutHostRow.rollout == row.id)
        .group_by(RolloutHostRow.stage, RolloutHostRow.state, HostPatchRow.state)
    ).all()
    stages = tuple(
        RolloutStageReport(
            str(stage["name"]),
            sum(n for s, _, _, n in counts if s == number),
            sum(n for s, turn, _, n in counts if s == number and turn == HostTurn.CHOSEN.value),
            sum(n for s, _, state, n in counts if s == number and state == PatchStanding.IN_FORCE.value),
            sum(n for s, _, state, n in counts if s == number and state in _FAILED),
        )
        for number, stage in enumerate(row.plan["stages"])
    )
    return FleetRollout(
        row.id, row.name, row.patch, str(patch.offer["binary"]), tuple(patch.offer["cves"]), RolloutStatus(row.status),
        row.stage, stages, row.why, row.created_by, moment(row.created), moment(row.ended),
    )  # fmt: skip


def running(session: Session, visitor: Visitor) -> tuple[FleetRollout, ...]:
    """Those that are not over and that a visitor sees, the newest first."""
    return _seen(session, visitor, select(RolloutRow).where(RolloutRow.status.not_in(_OVER)))


def latest(session: Session, visitor: Visitor, most: int = 100) -> tuple[FleetRollout, ...]:
    """The last ones that a visitor sees, the newest first."""
    return _seen(session, visitor, select(RolloutRow).limit(most))


def _seen(session: Session, visitor: Visitor, wanted: Select[RolloutRow]) -> tuple[FleetRollout, ...]:
    rows = session.scalars(wanted.order_by(RolloutRow.id.desc()))
    return tuple(told(session, r) for r in rows if _sees(session, visitor, r.id))


def events(session: Session, number: int) -> list[RolloutEventRow]:
    """What happened in it, oldest first."""
    return list(
        session.scalars(
            select(RolloutEventRow).where(RolloutEventRow.rollout == number).order_by(RolloutEventRow.id).limit(1000)
        )
    )


def patches(session: Session, visitor: Visitor) -> tuple[FleetPatch, ...]:
    """Patches that agents have told of, those that wait on most hosts first."""
    statement = (
        select(HostPatchRow.patch, HostPatchRow.state, func.count())
        .join(HostRow, HostRow.id == HostPatchRow.host)
        .where(HostRow.withdrawn.is_(None))
        .group_by(HostPatchRow.patch, HostPatchRow.state)
    )
    statement = visitor.among(statement, HostRow.group)
    counts: dict[str, dict[str, int]] = {}
    for patch, state, hosts in session.execute(statement):
        counts.setdefault(patch, {})[state] = int(hosts)
    rows = session.scalars(select(PatchRow).where(PatchRow.id.in_(counts)))
    found = tuple(
        FleetPatch(
            r.id, str(r.offer["binary"]), str(r.offer["source"]), str(r.offer["version"]), tuple(r.offer["cves"]),
            r.state, counts[r.id],
        )
        for r in rows
    )  # fmt: skip
    return tuple(sorted(found, key=lambda p: (-p.hosts.get(PatchStanding.WAITING.value, 0), p.patch)))
