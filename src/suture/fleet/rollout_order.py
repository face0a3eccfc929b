"""What a host is told of rollouts: the patches that it may take now, and those that are taken back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from suture.fleet.table import HostRow, PatchRow, RolloutHostRow, RolloutRow
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


def for_host(session: Session, host: HostRow) -> HostOrder:
    """What a host is told now. The last rollout of a patch counts. Where it is done, the patch is for every host of the
    groups that it was for, those that came later too. A patch that the feed has withdrawn is never among the chosen."""
    rows: Sequence[Any] = session.execute(
        select(RolloutRow.patch, RolloutRow.status, RolloutRow.plan, RolloutHostRow.state, PatchRow.state)
        .join(PatchRow, PatchRow.id == RolloutRow.patch)
        .outerjoin(RolloutHostRow, (RolloutHostRow.rollout == RolloutRow.id) & (RolloutHostRow.host == host.id))
        .order_by(RolloutRow.id)
    ).all()
    chosen: set[str] = set()
    back: set[str] = set()
    for patch, status, plan, turn, state in rows:
        groups = plan.get("groups") or [host.group]
        is_for_all = status == RolloutStatus.DONE.value and host.group in groups
        if turn is None and not is_for_all:
            continue
        chosen.discard(patch)
        back.discard(patch)
        if turn == HostTurn.TAKEN_BACK.value:
            back.add(patch)
        elif (turn == HostTurn.CHOSEN.value or is_for_all) and state == OfferState.OFFERED.value:
            chosen.add(patch)
    return HostOrder(tuple(sorted(chosen)), tuple(sorted(back)))
