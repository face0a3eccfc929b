"""What came of an update: per fix and per CVE. Facts alone, ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from suture.trial.result import TrialOutcome


class ConvertOutcome(Enum):
    """What came of one fix."""

    LIVE = "live"  # all of it is in the patches
    NO_CODE = "no code"  # it changes no code of any shipped binary: the packages on disk are all that it needs
    DISK = "on disk only"  # it changes code, and some of that cannot be patched live
    UNTRIED = "untried"  # the package could not be made ready


class Closing(Enum):
    """What came of one CVE."""

    LIVE = "closed live"  # every fix for it is live
    DISK = "closed on disk only"
    NO_CODE = "needs no live patch"  # its fixes change no code that a process runs from a shipped binary
    UNTRIED = "not tried"  # the package could not be made ready, so nothing of its fixes was tried
    UNKNOWN = "unknown"  # the changelog names it, and nothing tells which change is for it


@dataclass(frozen=True)
class FixResult:
    """One fix. `functions` by binary for what is live; `reasons` why it is not; `review` what a person should look at
    in what is live."""

    name: str
    cves: tuple[str, ...]
    outcome: ConvertOutcome
    functions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    review: tuple[str, ...] = ()

    @classmethod
    def read(cls, row: Mapping[str, Any]) -> FixResult:
        """One that was written down as plain values."""
        lists = {name: tuple(row[name]) for name in ("cves", "reasons", "review")}
        functions = {binary: tuple(names) for binary, names in row["functions"].items()}
        return cls(**{**row, **lists, "functions": functions, "outcome": ConvertOutcome(row["outcome"])})


@dataclass(frozen=True)
class CveResult:
    """One CVE. `fixes` are the names of those that are for it, `reasons` why it is not closed live."""

    cve: str
    closing: Closing
    fixes: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class PatchResult:
    """One patch file of the update. `trial` is what its trial came to (`suture.trial`), `tried` the commands that ran
    it, `detail` what the trial says of one that did not pass. `effective` is the version that the kernel has reached
    with it, "" where some of that version is left out; `calls` how often the trial's commands call each function that
    the patch replaces; `looks` what a person should look at in what they showed. `tripwires` is how many it has;
    `noisy` are those that were left out (FILE:LINE), each with the command that reached it; `unwired` tells why it has
    none though it should."""

    id: str
    file: str
    path: str
    binary: str
    build_id: str
    functions: int
    grade: str = ""
    trial: str = ""
    tried: tuple[str, ...] = ()
    detail: str = ""
    effective: str = ""
    calls: Mapping[str, int] = field(default_factory=dict)
    looks: tuple[str, ...] = ()
    tripwires: int = 0
    noisy: Mapping[str, str] = field(default_factory=dict)
    unwired: str = ""


@dataclass(frozen=True)
class Conversion:
    """One update of a source package. `seconds` by step; `problem` why nothing was tried, "" otherwise; `flavour` is
    the kernel's."""

    source: str
    release: str
    old: str
    new: str
    way: str
    fixes: tuple[FixResult, ...]
    cves: tuple[CveResult, ...]
    patches: tuple[PatchResult, ...]
    seconds: Mapping[str, float]
    problem: str = ""
    flavour: str = ""


def close(
    cves: Sequence[str], candidates: Mapping[str, Sequence[str]], fixes: Sequence[FixResult]
) -> tuple[CveResult, ...]:
    """What came of each CVE. One that no fix claims is closed where all that may be for it are: `candidates` has their
    names."""
    found = []
    for cve in sorted({*cves, *(c for f in fixes for c in f.cves)}):
        own = [f for f in fixes if cve in f.cves] or [f for f in fixes if f.name in candidates.get(cve, ())]
        if not own:
            why = "the changelog names it, and no patch or change of the update says that it is for it"
            found.append(CveResult(cve, Closing.UNKNOWN, (), (why,)))
            continue
        outcomes = {f.outcome for f in own}
        reasons = tuple(
            dict.fromkeys(
                r for f in own for r in f.reasons if f.outcome in (ConvertOutcome.DISK, ConvertOutcome.UNTRIED)
            )
        )
        if outcomes <= {ConvertOutcome.NO_CODE}:
            closing = Closing.NO_CODE
        elif outcomes <= {ConvertOutcome.LIVE, ConvertOutcome.NO_CODE}:
            closing = Closing.LIVE
        elif ConvertOutcome.DISK in outcomes:
            closing = Closing.DISK
        else:
            closing = Closing.UNTRIED
        found.append(CveResult(cve, closing, tuple(f.name for f in own), reasons))
    return tuple(found)


def after_trial(fix: FixResult, patches: Sequence[PatchResult]) -> FixResult:
    """A fix once its patches were tried: it is not live where a trial failed, and a person looks at what could not be
    tried."""
    own = [p for p in patches if p.binary in fix.functions]
    failed = [f"the trial of {p.binary} failed: {p.detail}" for p in own if p.trial == TrialOutcome.FAILED.value]
    if failed and fix.outcome is ConvertOutcome.LIVE:
        return replace(fix, outcome=ConvertOutcome.DISK, reasons=tuple(failed))
    untried = [f"{p.binary} was not tried: {p.detail}" for p in own if p.trial == TrialOutcome.NOT_RUN.value]
    looks = [f"{p.binary}: {look}" for p in own for look in p.looks]
    return replace(fix, review=(*fix.review, *untried, *looks))
