"""What becomes of an offer, by policy and time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from suture.agent.decision import decide
from suture.agent.policy import Chosen, Freeze, Mode, Policy
from suture.report.agent import AgentVerdict
from suture.report.feed import Offer, OfferState, Product
from suture.report.patch import PatchKind
from suture.report.reason import Reason

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
POLICY = Policy("https://f/", Path("/r"))
OFFER = Offer(
    "0123456789abcdef", "n", PatchKind.PROCESS, Product.LIBRARIES, "ab" * 20, "libz.so.1", "zlib", "1", (), (), "safe",
    "passed", (), "0" * 64, 10, (), {"stable": "2026-11-27T12:00:00Z"}, OfferState.OFFERED, "", "",
)  # fmt: skip


@pytest.mark.parametrize(
    ("offer", "policy", "now", "verdict", "reason"),
    [
        (OFFER, POLICY, NOW, AgentVerdict.APPLY, None),
        (OFFER, POLICY, NOW - timedelta(seconds=1), AgentVerdict.WAIT, Reason.POLICY_DELAY),
        (OFFER, replace(POLICY, delay=timedelta(hours=1)), NOW, AgentVerdict.WAIT, Reason.POLICY_DELAY),
        (OFFER, replace(POLICY, mode=Mode.ASK), NOW, AgentVerdict.WAIT, Reason.POLICY_ASK),
        (
            OFFER,
            replace(POLICY, freezes=(Freeze(NOW, NOW + timedelta(1)),)),
            NOW,
            AgentVerdict.WAIT,
            Reason.POLICY_FREEZE,
        ),
        (OFFER, replace(POLICY, channel="early"), NOW, AgentVerdict.REFUSE, Reason.POLICY),
        (OFFER, replace(POLICY, exclude=Chosen(packages=("z*",))), NOW, AgentVerdict.REFUSE, Reason.POLICY),
        (replace(OFFER, grade="review"), POLICY, NOW, AgentVerdict.REFUSE, Reason.NOT_SAFE),
        (replace(OFFER, grade="review"), replace(POLICY, grades=("review",)), NOW, AgentVerdict.APPLY, None),
        (replace(OFFER, trial=""), POLICY, NOW, AgentVerdict.REFUSE, Reason.NOT_SAFE),
        (replace(OFFER, trial=""), replace(POLICY, untried=True), NOW, AgentVerdict.APPLY, None),
        (replace(OFFER, state=OfferState.HOLD), POLICY, NOW, AgentVerdict.REFUSE, Reason.WITHDRAWN),
    ],
)
def test_the_policy_decides(
    offer: Offer, policy: Policy, now: datetime, verdict: AgentVerdict, reason: Reason | None
) -> None:
    found = decide(offer, policy, now, ())
    assert (found.verdict, found.why.reason if found.why else None) == (verdict, reason)


def test_what_an_administrator_has_allowed_goes_in() -> None:
    asks = replace(POLICY, mode=Mode.ASK)
    assert decide(OFFER, asks, NOW, ("ffffffffffffffff",)).verdict is AgentVerdict.WAIT
    assert decide(OFFER, asks, NOW, (OFFER.patch,)).verdict is AgentVerdict.APPLY
