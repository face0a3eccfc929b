"""A policy in sentences, for the administrator who wrote it."""

from __future__ import annotations

from datetime import timedelta

from suture.agent.policy import Chosen, Freeze, Mode, OnFailure, Policy, WeeklyFreeze

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_FAILURE = {
    OnFailure.GO_ON: "If a patch cannot be put into a process, the others get it, and that one is tried again.",
    OnFailure.HOLD: "If a patch cannot be put into a process, no further process gets it.",
    OnFailure.REVERT: "If a patch cannot be put into a process, it is taken out of all processes.",
}
_MODE = {
    Mode.AUTOMATIC: "Patches are applied without asking.",
    Mode.ASK: "Each patch waits until an administrator allows it: suture agent allow ID.",
    Mode.FLEET: "Each patch waits until a rollout of the fleet's server lets it in.",
}
_CRASH = {
    OnFailure.GO_ON: "that is told",
    OnFailure.HOLD: "no further process gets it",
    OnFailure.REVERT: "it is taken out of all processes",
}
_KINDS = {
    "packages": "for the source packages",
    "paths": "in programs at",
    "users": "in processes of the users",
    "units": "in the units",
    "containers": "in the containers",
}


def sentences(policy: Policy) -> tuple[str, ...]:
    """What the agent does by this policy."""
    return (
        f"Patches come from {policy.url}, channel {policy.channel}; trust begins at {policy.root}.",
        f"The feed is asked every {_span(policy.fetch_every)}.",
        f"Processes are looked at every {_span(policy.look_every)}.",
        _MODE[policy.mode],
        _delay(policy),
        f"Grades taken: {', '.join(policy.grades)}; patches that passed no trial are {_taken(policy.untried)}.",
        f"Patches made with --relaxed are {_taken(policy.relaxed)}.",
        _FAILURE[policy.on_failure],
        _health(policy),
        f"A patch may take {policy.timeout:g} s.",
        *([_freeze(f) for f in policy.freezes] or ["There is no maintenance freeze."]),
        *_fleet(policy),
        *_chosen(policy.include, "Only"),
        *_chosen(policy.exclude, "Never"),
        *(f"{m.cve} counts as mitigated until {m.until.isoformat()}: {m.reason}" for m in policy.mitigations),
    )


def _fleet(policy: Policy) -> list[str]:
    if not policy.fleet_server:
        return []
    key = f"The fleet's server with the key {policy.fleet_server}"
    if policy.mode is not Mode.FLEET:
        return [f'{key} counts for nothing, since mode is not "fleet".']
    return [f"{key} may take out again what its rollouts have let in."]


def _health(policy: Policy) -> str:
    watch = policy.health
    when = f"When {watch.crashes} patched process{'es crash' if watch.crashes > 1 else ' crashes'}"
    loops = f", or a service ends with an error {watch.exits} times,"
    return f"{when}{loops} within {_span(watch.window)} after the patch went in, {_CRASH[watch.on_crash]}."


def _taken(flag: bool) -> str:
    return "taken" if flag else "not taken"


def _delay(policy: Policy) -> str:
    if not policy.delay:
        return "A patch is due as soon as the channel has it."
    return f"A patch is due {_span(policy.delay)} after the channel has it."


def _freeze(one: WeeklyFreeze | Freeze) -> str:
    if isinstance(one, Freeze):
        return f"Nothing is applied from {one.begin.isoformat()} until {one.end.isoformat()}."
    days = "every day" if len(one.days) == len(_DAYS) else ", ".join(_DAYS[d] for d in sorted(one.days))
    next_day = " of the next day" if one.end < one.start else ""
    return f"Nothing is applied from {one.start:%H:%M} until {one.end:%H:%M}{next_day}: {days}."


def _chosen(one: Chosen, word: str) -> list[str]:
    return [f"{word} {text} {', '.join(getattr(one, kind))}." for kind, text in _KINDS.items() if getattr(one, kind)]


def _span(time: timedelta) -> str:
    seconds = time.total_seconds()
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
