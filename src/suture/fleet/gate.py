"""What becomes of a rollout now: it begins its next stage, waits and says for what, is done, or is stopped. Values
only, so that the same facts always give the same answer, whichever server asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from suture.fleet.plan import RolloutPlan
from suture.fleet.state import PatchStanding

FAILED = (PatchStanding.FAILED, PatchStanding.HELD)


class Move(Enum):
    """What is to be done."""

    BEGIN = "begin"  # the stage `stage` may take the patch
    WAIT = "wait"
    DONE = "done"
    STOP = "stop"  # and take back


@dataclass(frozen=True)
class HostFacts:
    """A host of a rollout: its stage, where the patch stands on it (none: it does not say), and whether it is away."""

    stage: int
    standing: PatchStanding | None
    away: bool = False


@dataclass(frozen=True)
class RolloutFacts:
    """A rollout as it stands. `stage` is the one that has begun last, -1 for none yet; `since` when. `withdrawn`: the
    feed has taken the patch back. `hosts` counts those that stand alike."""

    plan: RolloutPlan
    stage: int
    since: datetime
    approved: bool
    withdrawn: bool
    hosts: Mapping[HostFacts, int]


@dataclass(frozen=True)
class RolloutMove:
    """`why` is never empty for WAIT and STOP."""

    move: Move
    stage: int
    why: str


def decide(facts: RolloutFacts, now: datetime) -> RolloutMove:
    """What is to be done now."""
    plan, stage = facts.plan, facts.stage
    if facts.withdrawn:
        return RolloutMove(Move.STOP, stage, "the feed has withdrawn the patch")
    failed = sum(n for f, n in facts.hosts.items() if f.stage <= stage and f.standing in FAILED)
    if failed > plan.most_failed:
        on = "1 host" if failed == 1 else f"{failed} hosts"
        return RolloutMove(Move.STOP, stage, f"it failed on {on}; {plan.most_failed or 'none'} may fail")
    if plan.approval and not plan.emergency and not facts.approved:
        return RolloutMove(Move.WAIT, stage, "nobody else has approved it yet")
    if stage >= 0:
        gate = _gate(facts, now)
        if gate:
            return RolloutMove(Move.WAIT, stage, gate)
    following = next((n for n in range(stage + 1, len(plan.stages)) if _count(facts, n)), None)
    if following is None:
        return RolloutMove(Move.DONE, stage, "")
    if not plan.is_open(now):
        assert plan.hours is not None
        return RolloutMove(
            Move.WAIT, stage, f"the next stage may begin from {plan.hours[0]} to {plan.hours[1]} h (UTC)"
        )
    return RolloutMove(Move.BEGIN, following, "")


def _gate(facts: RolloutFacts, now: datetime) -> str:
    """What the stage that has begun still lacks, "" for nothing."""
    plan, stage = facts.plan, facts.stage
    mine = {f: n for f, n in facts.hosts.items() if f.stage == stage}
    hosts = sum(mine.values())
    done = sum(n for f, n in mine.items() if f.standing is PatchStanding.IN_FORCE)
    needed = -(-hosts * plan.quorum // 100)
    name = plan.stages[stage].name
    if done < needed:
        away = sum(n for f, n in mine.items() if f.away)
        more = f"; {away} are away" if away else ""
        return f"stage {name}: {done} of {hosts} hosts have the patch, {needed} are needed{more}"
    if now < facts.since:
        return f"stage {name}: the clock was set back; it began at {facts.since:%Y-%m-%d %H:%M} UTC"
    left = facts.since + plan.soak(stage) - now
    if left.total_seconds() > 0:
        return f"stage {name}: all is well; it soaks until {facts.since + plan.soak(stage):%Y-%m-%d %H:%M} UTC"
    return ""


def _count(facts: RolloutFacts, stage: int) -> int:
    return sum(n for f, n in facts.hosts.items() if f.stage == stage)
