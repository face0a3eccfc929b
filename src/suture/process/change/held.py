"""A process held while it is changed: what an earlier applier has left is settled, what is prepared carried out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from suture.error import Unsupported
from suture.patch.main_loop import remedy_for
from suture.patch.record import Record
from suture.process.change.old_frame import old_frames
from suture.process.change.prepared import Prepared, is_for
from suture.process.change.replacement import earlier
from suture.process.change.result import GroupResult, Result
from suture.process.change.switch import Outcome, carry_out
from suture.process.change.transition import settlement
from suture.process.error import Busy, naming_its_end
from suture.process.lock import locked
from suture.process.memory.image import images
from suture.process.memory.maps import Maps, read_maps
from suture.process.memory.placed import (
    State,
    find_placed,
    group_state,
    reader,
    routes,
)
from suture.process.stop.borrow import OnStep
from suture.process.stop.detach import release_lingering
from suture.process.stop.obstacle import naming_obstacles
from suture.process.stop.unsettled import naming_unsettled
from suture.process.tracee import Sharers, Tracee
from suture.process.urgency import hurry
from suture.report.reason import Cause, Reason


@contextmanager
def to_be_changed(pid: int, timeout: float, population: Sharers | None, kept: Iterable[int] = ()) -> Iterator[Tracee]:
    """A process that nobody else changes meanwhile; what stands in the way of its threads, and its end, are named in
    what is raised. `kept` are threads that the caller has stopped (Tracee)."""
    with (
        hurry(),
        Tracee(pid, population, writes=True, kept=kept) as tracee,
        naming_obstacles(tracee),
        naming_its_end(tracee),
        naming_unsettled(tracee),
        locked(tracee, timeout),
    ):
        yield tracee


def settle(tracee: Tracee, maps: Maps, timeout: float, on_step: OnStep) -> None:
    """Make final what an applier that died has left half-way. Raises Busy."""
    placed, _ = find_placed(tracee.via, maps)
    if not placed:
        return
    for image in images(tracee.via, maps):
        here = [p for p in placed if is_for(p.record, image)]
        rest = settlement(routes(here, reader(tracee.via)), [p.record for p in here]) if here else None
        if rest is None:
            continue
        known = suspends_of([p.record for p in here])
        outcome = carry_out(tracee, [rest], [], timeout=timeout, on_step=on_step, suspends=known)
        if outcome.waiting:
            raise still_busy(tracee, outcome)


def still_busy(tracee: Tracee, outcome: Outcome, remedy: str = "") -> Busy | Unsupported:
    """The error for an outcome of which nothing was done."""
    cause = outcome.waiting[0][1]
    reasons = "; ".join(dict.fromkeys(c.text for _, c in outcome.waiting))
    kind = Unsupported if cause.reason is Reason.STACKS_UNSEARCHABLE else Busy
    remedy = remedy or cause.remedy or "try again, or give more time: --timeout SECONDS"
    return kind(f"pid {tracee.pid}: {reasons}", remedy, reason=cause.reason)


def suspends_of(records: Sequence[Record]) -> list[range]:
    return [range(s.old, s.old + s.size) for r in records for s in r.suspends]


def switched(
    tracee: Tracee,
    prepared: Prepared,
    timeout: float,
    on_step: OnStep,
    started: float,
    changed: bool,
    pauses_before: tuple[float, ...] = (),
) -> Result:
    """Carry out what is prepared for one image. Raises Busy when none of its groups could be switched."""
    record = prepared.aim.record
    try:
        outcome = carry_out(
            tracee,
            prepared.transitions,
            prepared.bodies,
            timeout=timeout,
            on_step=on_step,
            suspends=suspends_of([record]),
        )
    finally:
        release_lingering(0.5)
    why = {name: cause for t, cause in outcome.waiting for name in t.groups}
    result = result_of(tracee, prepared, outcome, why, started, changed or bool(outcome.done), pauses_before)
    if outcome.waiting and not outcome.done and not any(g.state is result.wanted for g in result.groups):
        endless = [f.name for g in record.groups for f in g.functions if f.endless and g.name in why]
        raise still_busy(tracee, outcome, remedy_for(endless, record.notes) if endless else "")
    return result


def result_of(
    tracee: Tracee,
    prepared: Prepared,
    outcome: Outcome,
    why: Mapping[str, Cause],
    started: float,
    changed: bool,
    pauses_before: tuple[float, ...],
) -> Result:
    """How one image stands afterwards; `why` tells of groups (by name) what was in their way."""
    record, aim = prepared.aim.record, prepared.aim
    wanted = State.APPLIED if aim.applies else State.REVERTED
    here = [p for p in find_placed(tracee.via, read_maps(tracee.via))[0] if p.record.bias == record.bias]
    read = reader(tracee.via)
    now = routes(here, read)
    groups = []
    never = 0
    for group in record.groups:
        known = all(f.old in now for f in group.functions)
        state = group_state(record.id, group, now, read)[0] if known else State.REVERTED
        never += state is State.NEVER_APPLIED
        if not aim.applies and state in (State.REPLACED, State.NEVER_APPLIED):
            state = State.REVERTED  # of this patch nothing is in force
        cause = why.get(group.name)
        functions = tuple(f.name for f in group.functions)
        groups.append(
            GroupResult(
                group.name, state, functions, cause.text if cause else "", reason=cause.reason if cause else None
            )
        )
    tracee.check_same()  # else these are another program's
    in_force = record.relaxed and any(g.state is State.APPLIED for g in groups)
    return Result(
        tracee.pid,
        record.id,
        record.name,
        wanted,
        tuple(groups),
        tuple(r.id for r in aim.superseded if r.id != record.id),
        changed,
        (*pauses_before, *outcome.pauses_us),
        outcome.threads,
        outcome.foreign_stacks,
        outcome.suspended_stacks,
        time.monotonic() - started,
        old_frames(tracee, record) if in_force else None,
        prepared.lost,
        () if aim.applies else earlier(record, here, now),
        never == len(record.groups),
    )
