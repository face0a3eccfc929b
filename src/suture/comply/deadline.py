"""How a deadline stands: a rule, a hole on a host with its spans, exceptions, and the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime

from suture.comply.exemption import holding
from suture.comply.exposure import StateSpan, ended, opened
from suture.comply.fact import AssetFacts, HoleFacts
from suture.comply.rule import DeadlineRule
from suture.report.deadline import Deadline, DeadlineState, Exemption, RuleFigures
from suture.report.hole import HoleState

_WITH_DATE = (DeadlineState.OVERDUE, DeadlineState.LATE, DeadlineState.MET)


def judge(
    rule: DeadlineRule,
    facts: HoleFacts,
    asset: AssetFacts,
    spans: Sequence[StateSpan],
    exemptions: Iterable[Exemption],
    now: datetime,
) -> Deadline | None:
    """None where the rule is not about the hole, or the host never had it."""
    seen = min((s.begin for s in spans), default=None)
    if seen is None or opened(spans, facts) is None:
        return None
    found = rule.apply(facts, asset, seen)
    if found is None:
        return None
    until = ended(spans, rule.ends)
    exemption = holding(exemptions, asset.host, facts.cve, now)
    last = max(spans, key=lambda s: s.begin).state
    return Deadline(
        rule.id,
        found.clause.name,
        asset.host,
        facts.cve,
        last or HoleState.FIXED_IN_MEMORY,
        _state(found.due, until, exemption is not None, now),
        found.clock.value,
        found.start.isoformat(),
        found.due.isoformat() if found.due else "",
        until.isoformat() if until else "",
        found.clause.duties or ((found.clause.term.words,) if found.clause.term.words else ()),
        found.assumed,
        exemption.number if exemption else 0,
    )


def _state(due: datetime | None, until: datetime | None, exempt: bool, now: datetime) -> DeadlineState:
    if until is not None:
        return DeadlineState.LATE if due is not None and until > due else DeadlineState.MET
    if exempt:
        return DeadlineState.EXEMPT
    if due is None:
        return DeadlineState.NO_DATE
    return DeadlineState.OVERDUE if now > due else DeadlineState.RUNNING


def figures(rule: DeadlineRule, deadlines: Iterable[Deadline]) -> RuleFigures:
    """Counts of one rule. What runs still counts neither as kept nor as missed."""
    counts = Counter(d.state for d in deadlines if d.rule == rule.id)
    dated = sum(counts[s] for s in _WITH_DATE)
    kept = counts[DeadlineState.MET] / dated if dated else None
    return RuleFigures(rule.id, rule.title, rule.source, dict(counts), kept)
