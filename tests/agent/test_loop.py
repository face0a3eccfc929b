"""What the unprivileged part asks for, of what a feed says; whole looks are in test_service.py and test_whole.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from suture.agent.check_in import Fleet
from suture.agent.loop import Loop
from suture.agent.policy import Chosen, Mode, Policy
from suture.agent.request import AgentAnswer, AgentRequest, Work
from suture.patch.statement import Statement
from suture.report.agent import AgentVerdict, PatchInForce
from suture.report.feed import Offer, OfferState, Product
from suture.report.reason import Cause, Reason
from tests.agent.test_decision import NOW, OFFER, POLICY

FIRST = replace(OFFER, patch="1" * 16, build_id="aa", binary="libone.so", fixes=("x.patch",))
SECOND = replace(OFFER, patch="2" * 16, build_id="bb", binary="libtwo.so", fixes=("x.patch",))
APART = replace(OFFER, patch="3" * 16, build_id="cc", binary="libapart.so", fixes=("y.patch",))


def asked(
    folder: Path,
    own: Policy,
    *offers: Offer,
    rows: tuple[PatchInForce, ...] = (),
    allowed: tuple[str, ...] = (),
    failed: tuple[str, ...] = (),
    fleet: Fleet | None = None,
) -> tuple[list[set[str]], dict[str, Cause]]:
    """The patches that are asked for together, and why others wait."""
    requests: list[AgentRequest] = []

    def answer(one: AgentRequest) -> AgentAnswer:
        requests.append(one)
        return AgentAnswer(AgentVerdict.APPLY, None, ())

    loop = Loop(folder / "policy", folder, answer, lambda: frozenset(allowed), lambda: NOW)
    loop._failed = set(failed)
    loop.fleet = fleet
    loop._said = tuple(Statement(Product.LIBRARIES, o.build_id, (o,)) for o in offers)
    loop._each(own, {r.offer.patch: r for r in rows})
    names = [{n.partition(".")[0] for n in (r.name, *r.companions)} for r in requests if r.work is Work.APPLY]
    return names, {w.offer.patch: w.why for w in loop._state.waiting}


def test_parts_of_one_fix_are_asked_for_together(tmp_path: Path) -> None:
    names, why = asked(tmp_path, POLICY, FIRST, SECOND, APART)
    assert names == [{FIRST.patch, SECOND.patch}, {APART.patch}] and why == {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"grade": "review"}, "its grade is review"),
        ({"trial": ""}, "it was not tried"),
        ({"channels": {"stable": "2026-11-28T12:00:00Z"}}, "not before"),
        ({"channels": {"delayed": "2026-11-01T12:00:00Z"}}, "not in the channel"),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_a_part_waits_for_one_that_the_policy_does_not_let_in(
    tmp_path: Path, change: dict[str, object], reason: str, order: int
) -> None:
    other = replace(SECOND, **change)  # type: ignore[arg-type]
    names, why = asked(tmp_path, POLICY, *[FIRST, other, APART][::order])
    assert names == [{APART.patch}] and set(why) == {FIRST.patch, other.patch}
    assert why[FIRST.patch].reason is Reason.APPLIED_TOGETHER
    assert other.patch in why[FIRST.patch].text and reason in why[FIRST.patch].text
    assert why[other.patch].reason is not Reason.APPLIED_TOGETHER


def test_a_rollout_of_one_part_is_one_of_the_fix_and_none_where_the_other_was_taken_back(tmp_path: Path) -> None:
    own = replace(POLICY, mode=Mode.FLEET)
    lets_in = Fleet(tmp_path, tmp_path)
    lets_in.chosen = frozenset({SECOND.patch})
    names, why = asked(tmp_path, own, FIRST, SECOND, APART, fleet=lets_in)
    assert names == [{FIRST.patch, SECOND.patch}] and why[APART.patch].reason is Reason.POLICY_FLEET
    lets_in.taken_back = frozenset({FIRST.patch})
    names, why = asked(tmp_path, own, FIRST, SECOND, fleet=lets_in)
    assert names == [] and why[SECOND.patch].reason is Reason.APPLIED_TOGETHER and FIRST.patch in why[SECOND.patch].text
    assert asked(tmp_path, own, FIRST, SECOND)[0] == []


def test_where_the_policy_asks_both_are_to_be_allowed(tmp_path: Path) -> None:
    own = replace(POLICY, mode=Mode.ASK)
    names, why = asked(tmp_path, own, FIRST, SECOND, allowed=(FIRST.patch,))
    assert names == [] and why[FIRST.patch].remedy == f"suture agent allow {SECOND.patch}"
    assert asked(tmp_path, own, FIRST, SECOND, allowed=(FIRST.patch, SECOND.patch))[0] == [{FIRST.patch, SECOND.patch}]


def test_a_part_waits_for_one_that_is_held(tmp_path: Path) -> None:
    crashed = Cause(Reason.AGENT_CRASHED, "nginx crashed", f"suture agent allow {FIRST.patch}")
    held = PatchInForce(FIRST, "", 1, 1, True, crashed)
    names, why = asked(tmp_path, POLICY, FIRST, SECOND, rows=(held,))
    assert names == [] and "nginx crashed" in why[SECOND.patch].text and why[SECOND.patch].remedy == crashed.remedy


def test_a_part_waits_for_one_that_was_withdrawn(tmp_path: Path) -> None:
    gone = replace(FIRST, state=OfferState.REVERT, reason="it fails")
    names, why = asked(tmp_path, POLICY, gone, SECOND)
    assert names == [] and "it fails" in why[SECOND.patch].text


@pytest.mark.parametrize("order", [1, -1])
def test_a_part_that_is_offered_again_comes_back_with_the_other(tmp_path: Path, order: int) -> None:
    held = PatchInForce(SECOND, "", 1, 0, True, Cause(Reason.WITHDRAWN, "the feed holds it back", ""))
    names, why = asked(tmp_path, POLICY, *[FIRST, SECOND][::order], rows=(held,))
    assert names == [{FIRST.patch, SECOND.patch}] and why == {}
    names, why = asked(tmp_path, POLICY, *[replace(FIRST, grade="review"), SECOND][::order], rows=(held,))
    assert names == [] and why[SECOND.patch].reason is Reason.APPLIED_TOGETHER
    assert asked(tmp_path, POLICY, SECOND, rows=(held,))[0] == [{SECOND.patch}]


def test_the_older_patch_of_a_binary_has_the_part_of_one_that_crashed(tmp_path: Path) -> None:
    newer = replace(FIRST, patch="4" * 16, replaces=(FIRST.patch,))
    rows = (
        PatchInForce(newer, "", 1, 1, True, Cause(Reason.AGENT_CRASHED, "nginx crashed", "")),
        PatchInForce(FIRST, "", 1, 0, False, None),
    )
    assert asked(tmp_path, POLICY, newer, FIRST, SECOND, rows=rows, failed=(newer.patch,))[0] == [{SECOND.patch}]


def test_what_is_in_force_or_was_replaced_or_withdrawn_holds_nothing_up(tmp_path: Path) -> None:
    assert asked(tmp_path, POLICY, FIRST, SECOND, rows=(PatchInForce(FIRST, "", 1, 0, False, None),))[0] == [
        {SECOND.patch}
    ]
    newer = replace(FIRST, patch="4" * 16, replaces=(FIRST.patch,))
    assert asked(tmp_path, POLICY, replace(FIRST, grade="review"), newer, SECOND)[0] == [{newer.patch, SECOND.patch}]
    gone = replace(FIRST, state=OfferState.REVERT)
    assert asked(tmp_path, POLICY, gone, newer, SECOND)[0] == [{newer.patch, SECOND.patch}]
    excluded = replace(POLICY, exclude=Chosen(packages=("other",)))
    assert asked(tmp_path, excluded, FIRST, SECOND)[0] == [{FIRST.patch, SECOND.patch}]
