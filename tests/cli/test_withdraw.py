"""`suture feed withdraw` of one part of a fix: the other parts go no further either."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from suture.cli.main import main
from suture.feed.change import AddedPatch, stage_patch
from suture.patch.statement import Statement
from suture.report.feed import Offer, OfferState
from tests.feed.conftest import Keeper, Visitor, build_id, keeper, made, variant, visitor

__all__ = ["keeper", "made", "visitor"]
FIX, OTHER = ("x.patch",), ("y.patch",)


def withdraw(capsys: Any, keeper: Keeper, n: int, *how: str) -> dict[str, OfferState]:
    """What the command says that it withdraws."""
    words = [
        "feed",
        "withdraw",
        keeper.offers[n].patch,
        "--feed",
        str(keeper.feed.folder),
        *how,
        "--reason",
        "it fails",
    ]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    return {o["patch"]: OfferState(o["state"]) for o in found["withdrawn"]}


def offers(keeper: Keeper, host: Visitor) -> dict[int, Offer]:
    said: tuple[Statement, ...] = host.look(keeper.feed.public, *keeper.offers)
    rows = {o.patch: o for s in said for o in s.offers}
    return {n: rows[o.patch] for n, o in keeper.offers.items() if o.patch in rows}


def states(keeper: Keeper, host: Visitor) -> list[OfferState]:
    return [o.state for o in offers(keeper, host).values()]


def test_the_other_parts_of_its_fix_are_held_and_offered_again_with_it(
    keeper: Keeper, visitor: Visitor, capsys: Any
) -> None:
    offered, hold = OfferState.OFFERED, OfferState.HOLD
    for n, fixes in enumerate((FIX, (*FIX, *OTHER), OTHER, ("apart.patch",))):
        keeper.add(n, fixes=fixes)
    keeper.publish()
    for how, state in (("--revert", OfferState.REVERT), ("--hold", hold)):
        told = withdraw(capsys, keeper, 0, how)
        assert told == {keeper.offers[0].patch: state, keeper.offers[1].patch: hold, keeper.offers[2].patch: hold}
        keeper.publish()
        assert states(keeper, visitor) == [state, hold, hold, offered]
        held = offers(keeper, visitor)[1]
        assert keeper.offers[0].patch in held.reason and held.held_with == keeper.offers[0].patch
        assert len(withdraw(capsys, keeper, 0, "--again")) == 3
        keeper.publish()
        assert states(keeper, visitor) == [offered] * 4 and not offers(keeper, visitor)[1].held_with


def test_parts_that_were_withdrawn_for_themselves_stay_so_and_hold_the_others(
    keeper: Keeper, visitor: Visitor, capsys: Any
) -> None:
    for n in range(3):
        keeper.add(n, fixes=FIX)
    keeper.publish()
    withdraw(capsys, keeper, 1, "--revert")
    withdraw(capsys, keeper, 0, "--hold")
    keeper.publish()
    assert states(keeper, visitor) == [OfferState.HOLD, OfferState.REVERT, OfferState.HOLD]
    withdraw(capsys, keeper, 1, "--again")
    keeper.publish()
    assert states(keeper, visitor) == [OfferState.HOLD, OfferState.HOLD, OfferState.HOLD]
    withdraw(capsys, keeper, 0, "--again")
    keeper.publish()
    assert states(keeper, visitor) == [OfferState.OFFERED] * 3


def test_nothing_is_held_where_another_patch_of_the_binary_has_the_part(
    keeper: Keeper, visitor: Visitor, capsys: Any
) -> None:
    keeper.add(0, fixes=FIX)
    keeper.add(1, fixes=FIX)
    keeper.publish()
    first = keeper.offers[0]
    newer = replace(first, patch="f" * 16, fixes=(*FIX, *OTHER))
    stage_patch(keeper.feed, AddedPatch(newer, "delayed"), variant(keeper.made, build_id(0)))
    keeper.publish()
    assert withdraw(capsys, keeper, 0, "--revert") == {first.patch: OfferState.REVERT}
    keeper.publish()
    said = {o.patch: o.state for s in visitor.look(keeper.feed.public, 0, 1) for o in s.offers}
    assert said == {
        first.patch: OfferState.REVERT,
        newer.patch: OfferState.OFFERED,
        keeper.offers[1].patch: OfferState.OFFERED,
    }
    assert {s.build_id for s in visitor.look(keeper.feed.public, 0, 1)} == {build_id(0), build_id(1)}


def test_a_part_that_is_staged_is_held_before_a_host_sees_it(keeper: Keeper, visitor: Visitor, capsys: Any) -> None:
    keeper.add(0, fixes=FIX)
    keeper.publish()
    keeper.add(1, fixes=FIX)
    assert keeper.offers[1].patch in withdraw(capsys, keeper, 0, "--hold")
    keeper.publish()
    assert states(keeper, visitor) == [OfferState.HOLD, OfferState.HOLD]
