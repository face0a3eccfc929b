"""Holes that an administrator has declared mitigated: they stand open, and something other than a fix keeps them from
being used. Pure.

A declaration covers the whole host until its last day. It closes what is open or unknown, never more: what is fixed
stays fixed, and what is declared never counts as fixed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TypeVar

from suture.report.hole import Hole, HoleState, HostHole
from suture.report.reason import Cause, Reason
from suture.report.scan import ScannedBinary, ScannedKernel, ScannedProcess, state_of

_Of = TypeVar("_Of", Hole, HostHole)


@dataclass(frozen=True)
class Mitigation:
    """The hole `cve` cannot be used on this host, by what `reason` says, up to the day `until` and on it."""

    cve: str
    reason: str
    until: date

    def holds(self, today: date) -> bool:
        return today <= self.until


@dataclass(frozen=True)
class DeclaredMitigation:
    """What an administrator has declared of the hole `cve`: why it cannot be used, and the last day on which that
    counts (YYYY-MM-DD). `in_force`: that day is not over."""

    cve: str
    reason: str
    until: str
    in_force: bool


def declared(rows: Iterable[Mitigation], today: date) -> tuple[DeclaredMitigation, ...]:
    """The declarations for a report."""
    return tuple(DeclaredMitigation(m.cve, m.reason, m.until.isoformat(), m.holds(today)) for m in rows)


def in_process(process: ScannedProcess, rows: Sequence[DeclaredMitigation]) -> ScannedProcess:
    """A process with what was declared."""
    holes = _mitigated(process.holes, _cves(rows))
    return replace(
        process, holes=holes, state=state_of(holes), binaries=tuple(_in_binary(b, rows) for b in process.binaries)
    )


def in_kernel(kernel: ScannedKernel, rows: Sequence[DeclaredMitigation]) -> ScannedKernel:
    """The kernel with what was declared."""
    holes = _mitigated(kernel.holes, _cves(rows))
    return replace(kernel, holes=holes, state=state_of(holes), causes=(*kernel.causes, *_causes(kernel.holes, rows)))


def on_host(found: Sequence[HostHole], rows: Sequence[DeclaredMitigation]) -> tuple[HostHole, ...]:
    """The holes of a host with what was declared: it covers the processes that could not be looked at too."""
    return _mitigated(found, _cves(rows))


def _in_binary(binary: ScannedBinary, rows: Sequence[DeclaredMitigation]) -> ScannedBinary:
    return replace(
        binary,
        holes=_mitigated(binary.holes, _cves(rows)),
        causes=(*binary.causes, *_causes(binary.holes, rows)),
    )


def _cves(rows: Sequence[DeclaredMitigation]) -> frozenset[str]:
    return frozenset(m.cve for m in rows if m.in_force)


def _mitigated(found: Sequence[_Of], cves: Collection[str]) -> tuple[_Of, ...]:
    return tuple(replace(h, state=HoleState.MITIGATED) if h.cve in cves and not h.state.is_closed else h for h in found)


def _causes(found: Sequence[Hole], rows: Sequence[DeclaredMitigation]) -> list[Cause]:
    left = {h.cve for h in found if not h.state.is_closed}
    return [_cause(m) for m in rows if m.cve in left]


def _cause(one: DeclaredMitigation) -> Cause:
    if one.in_force:
        return Cause(Reason.MITIGATED, f"{one.cve} is declared mitigated until {one.until}: {one.reason}")
    return Cause(
        Reason.MITIGATION_ENDED,
        f"{one.cve} was declared mitigated until {one.until}, which is over: {one.reason}",
        "close the hole with its patch, or declare a later day",
    )
