"""How the agent of this host stands, from what its two parts keep. Nothing is asked of them, so it is told as well when
they do not run."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from suture.agent import guard, register
from suture.agent import kept as kept_values
from suture.agent.health import HEALTH
from suture.agent.loop import read_inventory, read_state
from suture.agent.policy import Policy
from suture.error import ExitCode
from suture.host.facts import this_host
from suture.patch.statement import moment
from suture.report.agent import AgentVerdict, HealthSeen
from suture.report.document import AgentReport
from suture.report.mitigation import declared
from suture.report.moment import now
from suture.report.reason import Cause, Reason

_MISSED_LOOKS = 4


def standing(own: Policy, state: Path, kept: Path, at: datetime) -> AgentReport:
    """`state` and `kept` are the folders of the unprivileged and the privileged part. The exit code is PARTIAL where
    something needs an administrator."""
    seen, rows = read_state(state), register.read(kept).in_force
    problems = [*seen.problems, *_stalled(seen.looked, own, at), *_old(seen.expires, at)]
    failed = [r for r in rows if r.held or r.why is not None]
    asked = [w for w in seen.waiting if w.verdict is AgentVerdict.WAIT and w.why.reason is Reason.POLICY_ASK]
    return AgentReport(
        now(), int(ExitCode.PARTIAL if problems or failed or asked else ExitCode.OK), this_host(), own.url, own.channel,
        seen.version, seen.fetched, seen.expires, seen.looked, read_inventory(state).rows, rows, seen.waiting,
        tuple(problems), seen.events, declared(own.mitigations, at.date()),
        guard.read(kept), kept_values.read_value(kept / HEALTH, HealthSeen),
    )  # fmt: skip


def _stalled(looked: str, own: Policy, at: datetime) -> list[Cause]:
    if looked and at - moment(looked) <= own.look_every * _MISSED_LOOKS + timedelta(minutes=1):
        return []
    what = f"the agent has not looked since {looked}" if looked else "the agent has not looked yet"
    return [Cause(Reason.AGENT_DOWN, what, "systemctl status suture-agent suture-agent-apply")]


def _old(expires: str, at: datetime) -> list[Cause]:
    if not expires or at < moment(expires):
        return []
    what = f"what the feed said last has expired on {expires}; patches in force stay"
    return [Cause(Reason.FEED_EXPIRED, what, "look at the network, the feed's address and this host's clock")]
