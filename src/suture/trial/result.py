"""What a trial of one patch showed. Facts alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from suture.patch.tripwire import NOISY
from suture.trial.exported import lost


def reached_by(command: str) -> str:
    """The reason why a place has no tripwire, where a harmless command reaches it."""
    return f"{NOISY}{command} reaches it"


class TrialOutcome(Enum):
    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Case:
    """One command that ran the binary. `detail` tells what went wrong, or why it was not run; `fired` are the tripwires
    (FILE:LINE) that the command reached, which nobody attacked, `calls` how often it calls each function that the patch
    replaces, where that can be counted. `look` is what a person should look at in one that did not fail."""

    command: str
    outcome: TrialOutcome
    detail: str = ""
    look: str = ""
    fired: tuple[str, ...] = ()
    calls: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """All commands of one patch's trial."""

    binary: str
    cases: tuple[Case, ...]

    @property
    def noisy(self) -> dict[str, str]:
        """Tripwires that harmless use reaches, each with the command that did."""
        return {place: case.command for case in reversed(self.cases) for place in case.fired}

    @property
    def outcome(self) -> TrialOutcome:
        """Failed if any command failed; passed if at least one ran, and all that ran passed."""
        found = {c.outcome for c in self.cases}
        if TrialOutcome.FAILED in found:
            return TrialOutcome.FAILED
        return TrialOutcome.PASSED if TrialOutcome.PASSED in found else TrialOutcome.NOT_RUN

    @property
    def calls(self) -> dict[str, int]:
        """The calls of each replaced function by all commands together."""
        found: Counter[str] = Counter()
        for case in self.cases:
            found.update(case.calls)
        return {name: found[name] for name in sorted(found)}

    @property
    def looks(self) -> tuple[str, ...]:
        """What a person should look at."""
        return tuple(c.look for c in self.cases if c.look)

    @property
    def detail(self) -> str:
        """What the first command that did not pass says."""
        worst = [c for c in self.cases if c.outcome is self.outcome]
        return f"{worst[0].command}: {worst[0].detail}" if worst and worst[0].detail else ""


@dataclass(frozen=True)
class Seen:
    """What one run of a command came to: its exit status (None when it did not end in time) and its output."""

    status: int | None
    output: bytes


def judge(command: str, plain: Sequence[Seen], changed: Sequence[tuple[str, Seen | str]]) -> Case:
    """What the runs with a patch show beside plain ones. A changed run is what was done and how it went, or why it
    could not be done.

    Output counts where two plain runs agree in it; a command that ends by a signal or not at all when it is plain shows
    nothing.
    """
    if any(p.status is None or p.status > 128 for p in plain) or len({p.status for p in plain}) != 1:
        return Case(command, TrialOutcome.NOT_RUN, "without the patch it does not end in the same way each time")
    for what, seen in changed:
        if isinstance(seen, str):
            return Case(
                command, TrialOutcome.FAILED if what else TrialOutcome.NOT_RUN, f"{what}: {seen}" if what else seen
            )
        if seen.status != plain[0].status:
            ended = "did not end" if seen.status is None else f"ended with {seen.status}"
            return Case(command, TrialOutcome.FAILED, f"{what}: it {ended}, without the patch with {plain[0].status}")
        if len({p.output for p in plain}) == 1 and seen.output != plain[0].output:
            return Case(command, TrialOutcome.FAILED, f"{what}: its output is another than without the patch")
    return Case(command, TrialOutcome.PASSED)


def judge_calls(command: str, plain: Sequence[Seen], changed: Sequence[tuple[str, Seen | str]]) -> Case:
    """What calls with arguments that nobody meant show (`suture.trial.exported`). `changed` are the run with the patch,
    and the one with it taken back, which has to do what plain ones do."""
    ended = [(what, replace(s, output=b"") if isinstance(s, Seen) else s) for what, s in changed]
    found = judge(command, [replace(p, output=b"") for p in plain], ended)
    if found.outcome is not TrialOutcome.PASSED:
        return found
    outputs = [p.output for p in plain]
    for what, seen in changed:
        names = lost(outputs, seen.output) if isinstance(seen, Seen) else ()
        if names and what != changed[0][0]:
            return replace(found, outcome=TrialOutcome.FAILED, detail=f"{what}: {', '.join(names)} no more returns")
        if names:
            arguments = (
                "called with zeros or zeroed memory, which returned without the patch and ends its process with it"
            )
            found = replace(found, look=f"{', '.join(names)}: {arguments}")
    return found
