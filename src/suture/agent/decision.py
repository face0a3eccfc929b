"""What is to become of a patch that a feed offers: it goes in, it waits, or it is not taken; and why. Values only.

Both parts of the agent decide by it, each for itself: what the unprivileged one asks for is decided again as root.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from suture.agent.policy import Mode, Policy
from suture.patch.statement import moment
from suture.report.agent import AgentVerdict
from suture.report.feed import Offer, OfferState
from suture.report.reason import Cause, Reason

_POLICY = "change the policy (docs/reference/agent-policy.md) if you want it"
_PASSED = "passed"


@dataclass(frozen=True)
class Decision:
    """`why` is none for a patch that goes in."""

    verdict: AgentVerdict
    why: Cause | None = None


def local_now() -> datetime:
    """The time, with the host's time zone."""
    return datetime.now().astimezone()


def decide(offer: Offer, policy: Policy, now: datetime, allowed: Collection[str]) -> Decision:
    """`now` is the time with the host's time zone, `allowed` the patches (ids) that an administrator has allowed."""
    return _taken(offer, policy) or _due(offer, policy, now, allowed) or Decision(AgentVerdict.APPLY)


def _taken(offer: Offer, policy: Policy) -> Decision | None:
    """Whatever the time is."""
    if offer.state is not OfferState.OFFERED:
        return _no(Reason.WITHDRAWN, f"the feed has withdrawn it ({offer.reason})", "nothing is to be done")
    if not policy.takes_package(offer.source):
        return _no(Reason.POLICY, f"the policy takes no patches for {offer.source}", _POLICY)
    if offer.grade not in policy.grades:
        return _no(Reason.NOT_SAFE, f"its grade is {offer.grade or 'unknown'}", f"suture show tells why; {_POLICY}")
    if offer.trial != _PASSED and not policy.untried:
        what = f"its trial is {offer.trial!r}" if offer.trial else "it was not tried"
        return _no(Reason.NOT_SAFE, what, f"set untried = true to take it; {_POLICY}")
    if policy.channel not in offer.channels:
        return _no(Reason.POLICY, f"it is not in the channel {policy.channel}", _POLICY)
    return None


def _due(offer: Offer, policy: Policy, now: datetime, allowed: Collection[str]) -> Decision | None:
    due = moment(offer.channels[policy.channel]) + policy.delay
    if now < due:
        return _later(Reason.POLICY_DELAY, f"not before {due.isoformat(timespec='seconds')}", "nothing is to be done")
    if policy.mode is Mode.ASK and offer.patch not in allowed:
        return _later(Reason.POLICY_ASK, "nobody has allowed it yet", f"suture agent allow {offer.patch}")
    if policy.is_frozen(now):
        return _later(Reason.POLICY_FREEZE, "the policy freezes this host now", "it goes in when the freeze is over")
    return None


def _no(reason: Reason, text: str, remedy: str) -> Decision:
    return Decision(AgentVerdict.REFUSE, Cause(reason, text, remedy))


def _later(reason: Reason, text: str, remedy: str) -> Decision:
    return Decision(AgentVerdict.WAIT, Cause(reason, text, remedy))
