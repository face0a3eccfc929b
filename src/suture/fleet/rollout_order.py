"""What a host is told of rollouts: the patches that it may take now, and those that are taken back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from suture.fleet import audit
from suture.fleet.table import AuditRow, HostRow, PatchRow, RolloutHostRow, RolloutRow
from suture.report.feed import OfferState
from suture.report.fleet import RolloutStatus


class HostTurn(Enum):
    """Where a host stands in a rollout."""

    LATER = "later"  # its stage has not come
    CHOSEN = "chosen"  # it may take the patch
    TAKEN_BACK = "taken back"  # the patch is to come out again
    LEFT = "left"  # the rollout has ended before its turn


@dataclass(frozen=True)
class HostOrder:
    """Ids of patches."""

    chosen: tuple[str, ...] = ()
    taken_back: tuple[str, ...] = ()


@dataclass(frozen=True)
class OrderVersion:
    """What all hosts are told depends on this: how the rollouts and their patches stand, and the last thing that a
    person has said of a host."""

    rollouts: tuple[tuple[int, str, int, str], ...] = ()
    described: int = 0


def version(session: Session) -> OrderVersion:
    """As it is now. While it stays the same, so does what `for_host` says."""
    rows = session.execute(
        select(RolloutRow.id, RolloutRow.status, RolloutRow.stage, PatchRow.state)
        .join(PatchRow, PatchRow.id == RolloutRow.patch)
        .order_by(RolloutRow.id)
    )
    described = session.scalar(select(func.max(AuditRow.number)).where(AuditRow.what == audit.HOST_DESCRIBED))
    turns = tuple((int(n), _turn(status), int(stage), str(state)) for n, status, stage, state in rows)
    return OrderVersion(turns, described or 0)


def _turn(status: str) -> str:
    """Waiting or running, a rollout tells hosts the same."""
    return RolloutStatus.RUNNING.value if status == RolloutStatus.WAITING.value else status


def for_host(session: Session, host: HostRow) -> HostOrder:
    """What a host is told now. The last rollout of a patch counts. Where it is done, the patch is for every host of the
    groups that it was for, those that came later too. A patch that the feed has withdrawn is never among the chosen."""
    return Orders(session, host.id).of(host.id, host.group)


class Orders:
    """What hosts are told, read for all of them at once; `only` for one."""

    def __init__(self, session: Session, only: str = "") -> None:
        self._rollouts: Sequence[Any] = session.execute(
            select(RolloutRow.id, RolloutRow.patch, RolloutRow.status, RolloutRow.plan, PatchRow.state)
            .join(PatchRow, PatchRow.id == RolloutRow.patch)
            .order_by(RolloutRow.id)
        ).all()
        turns = select(RolloutHostRow.host, RolloutHostRow.rollout, RolloutHostRow.state)
        if only:
            turns = turns.where(RolloutHostRow.host == only)
        self._turns: dict[str, dict[int, str]] = {}
        for host, rollout, turn in session.execute(turns):
            self._turns.setdefault(host, {})[rollout] = sys.intern(turn)

    def of(self, host: str, group: str) -> HostOrder:
        chosen: set[str] = set()
        back: set[str] = set()
        turns = self._turns.get(host, {})
        for number, patch, status, plan, state in self._rollouts:
            turn = turns.get(number)
            groups = plan.get("groups") or [group]
            is_for_all = status == RolloutStatus.DONE.value and group in groups
            if turn is None and not is_for_all:
                continue
            chosen.discard(patch)
            back.discard(patch)
            if turn == HostTurn.TAKEN_BACK.value:
                back.add(patch)
            elif (turn == HostTurn.CHOSEN.value or is_for_all) and state == OfferState.OFFERED.value:
                chosen.add(patch)
        return HostOrder(tuple(sorted(chosen)), tuple(sorted(back)))
