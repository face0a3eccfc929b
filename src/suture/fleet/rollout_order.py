"""What a host is told of rollouts: the patches that it may take now, and those that are taken back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from sqlalchemy import select
from sqlalchemy.orm import Session

from suture.fleet.table import PatchRow, RolloutHostRow, RolloutRow
from suture.report.feed import OfferState


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


def for_host(session: Session, host: str) -> HostOrder:
    """What a host is told now. A patch that the feed has withdrawn is never among the chosen; what is taken back in one
    rollout is not let in by another."""
    rows = session.execute(
        select(RolloutRow.patch, RolloutHostRow.state, PatchRow.state)
        .join(RolloutRow, RolloutRow.id == RolloutHostRow.rollout)
        .join(PatchRow, PatchRow.id == RolloutRow.patch)
        .where(RolloutHostRow.host == host)
    ).all()
    back = {patch for patch, turn, _ in rows if turn == HostTurn.TAKEN_BACK.value}
    chosen = {p for p, t, s in rows if t == HostTurn.CHOSEN.value and s == OfferState.OFFERED.value} - back
    return HostOrder(tuple(sorted(chosen)), tuple(sorted(back)))
