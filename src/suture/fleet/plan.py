"""The plan of a rollout, as a person gives it: stages and what has to hold before the next one begins. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from suture.fleet.error import Malformed

_MOST_STAGES = 20


@dataclass(frozen=True)
class PlannedStage:
    """Hosts with one of `tags`, or all where there is none; of these, `count` in all stages up to this one, or
    `percent` of the rollout's hosts, 0 for no bound. `soak`: how long all has to be well before the next stage."""

    name: str
    tags: tuple[str, ...] = ()
    count: int = 0
    percent: int = 100
    soak: timedelta = timedelta(hours=1)


@dataclass(frozen=True)
class RolloutPlan:
    """`quorum`: the share (percent) of a stage's hosts that have to have the patch. `most_failed`: hosts on which it
    may fail before the rollout is stopped and taken back. `hours`: (first, last) of the day (UTC) in which a stage
    may begin, none for all. `approval`: somebody else than who began it has to approve. An `emergency` needs no
    approval, has no hours, and soaks for no longer than `EMERGENCY_SOAK`."""

    stages: tuple[PlannedStage, ...]
    quorum: int = 90
    most_failed: int = 0
    hours: tuple[int, int] | None = None
    approval: bool = True
    emergency: bool = False

    def is_open(self, now: datetime) -> bool:
        """Whether a stage may begin at this hour."""
        if self.emergency or self.hours is None:
            return True
        first, last = self.hours
        return first <= now.hour < last if first <= last else now.hour >= first or now.hour < last

    def soak(self, stage: int) -> timedelta:
        found = self.stages[stage].soak
        return min(found, EMERGENCY_SOAK) if self.emergency else found


EMERGENCY_SOAK = timedelta(minutes=10)
USUAL = RolloutPlan(
    (
        PlannedStage("canaries", ("canary",), soak=timedelta(hours=1)),
        PlannedStage("a quarter", percent=25, soak=timedelta(hours=4)),
        PlannedStage("all"),
    )
)


def parse(raw: Mapping[str, Any]) -> RolloutPlan:
    """A plan from JSON, as `plain` writes it. Raises `Malformed`."""
    try:
        stages = tuple(
            PlannedStage(
                str(s["name"])[:64],
                tuple(str(t)[:64] for t in s.get("tags", [])),
                _number(s.get("count", 0), 0, 1_000_000),
                _number(s.get("percent", 100), 1, 100),
                timedelta(minutes=_number(s.get("soak_minutes", 60), 0, 60 * 24 * 30)),
            )
            for s in raw["stages"]
        )
        hours = raw.get("hours")
        plan = RolloutPlan(
            stages,
            _number(raw.get("quorum", 90), 1, 100),
            _number(raw.get("most_failed", 0), 0, 1_000_000),
            (_number(hours[0], 0, 23), _number(hours[1], 0, 24)) if hours else None,
            bool(raw.get("approval", True)),
            bool(raw.get("emergency", False)),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as problem:
        raise Malformed(f"the plan of a rollout: {problem!r}", "docs/how-to/fleet.md has an example") from problem
    if not 0 < len(plan.stages) <= _MOST_STAGES:
        raise Malformed(f"a plan has 1 to {_MOST_STAGES} stages", "docs/how-to/fleet.md has an example")
    last = plan.stages[-1]
    if last.tags or last.count or last.percent != 100:
        raise Malformed("the last stage leaves hosts out", "let it have all hosts: no tags, no count, 100 percent")
    return plan


def plain(plan: RolloutPlan) -> dict[str, Any]:
    """As JSON."""
    return {
        "stages": [
            {
                "name": s.name, "tags": list(s.tags), "count": s.count, "percent": s.percent,
                "soak_minutes": int(s.soak / timedelta(minutes=1)),
            }
            for s in plan.stages
        ],
        "quorum": plan.quorum,
        "most_failed": plan.most_failed,
        "hours": list(plan.hours) if plan.hours else None,
        "approval": plan.approval,
        "emergency": plan.emergency,
    }  # fmt: skip


def assigned(plan: RolloutPlan, hosts: Mapping[str, frozenset[str]]) -> dict[str, int]:
    """The stage of each host, from their tags. Each is in one stage: the first that takes it. Hosts are taken in the
    order of their ids, which are random."""
    found: dict[str, int] = {}
    for number, stage in enumerate(plan.stages):
        fit = [h for h in sorted(hosts) if h not in found and (not stage.tags or hosts[h] & set(stage.tags))]
        room = len(fit)
        if stage.count:
            room = min(room, stage.count)
        if stage.percent < 100:
            room = min(room, max(-(-len(hosts) * stage.percent // 100) - len(found), 0))
        found |= dict.fromkeys(fit[:room], number)
    return found


def _number(value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{value!r} is no number from {least} to {most}")
    return int(value)
