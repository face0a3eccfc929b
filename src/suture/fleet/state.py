"""What a host's report says of its holes and patches. Values only.

A patch closes its holes where it is in force without a failure; where another version is installed than the one it
was made for, the file on disk counts as fixed. Where a scan has looked, its word counts before what is concluded
here. A host whose agent does not look is unknown in all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from suture.report.agent import MappedBinary, PatchInForce
from suture.report.document import AgentReport, ScanReport
from suture.report.feed import Offer
from suture.report.hole import HoleState, worst
from suture.report.reason import Reason


class PatchStanding(Enum):
    """Where a patch stands on a host."""

    IN_FORCE = "in force"
    FAILED = "failed"
    HELD = "held"
    WAITING = "waiting"


@dataclass(frozen=True)
class HostPatch:
    """A patch on a host, and why it is not in force."""

    offer: Offer
    standing: PatchStanding
    why: str


@dataclass(frozen=True)
class Condensed:
    """What the server keeps of a state."""

    holes: Mapping[str, HoleState]
    patches: tuple[HostPatch, ...]


def condensed(report: AgentReport, scan: ScanReport | None) -> Condensed:
    """The holes and patches of a host."""
    mapped = {b.build_id: b for b in report.binaries}
    found: dict[str, list[HoleState]] = {}
    for offer, state in _stated(report, mapped):
        for cve in offer.cves:
            found.setdefault(cve, []).append(state)
    holes = {cve: worst(states) for cve, states in found.items()}
    if scan is not None:
        holes |= {h.cve: h.state for h in scan.holes}
    mitigated = {m.cve for m in report.mitigations if m.in_force}
    holes |= {c: HoleState.MITIGATED for c, s in holes.items() if c in mitigated and not s.is_closed}
    if any(p.reason is Reason.AGENT_DOWN for p in report.problems):
        holes = dict.fromkeys(holes, HoleState.UNKNOWN)
    return Condensed(holes, _patches(report))


def _stated(report: AgentReport, mapped: Mapping[str, MappedBinary]) -> list[tuple[Offer, HoleState]]:
    rows = [(r.offer, _in_force(r, mapped)) for r in report.in_force if r.offer.build_id in mapped]
    return rows + [(w.offer, _open(w.offer, mapped)) for w in report.waiting if w.offer.build_id in mapped]


def _in_force(row: PatchInForce, mapped: Mapping[str, MappedBinary]) -> HoleState:
    if row.failed or row.held:
        return _open(row.offer, mapped)
    return HoleState.FIXED_IN_MEMORY if _is_replaced(row.offer, mapped) else HoleState.LOST_AT_NEXT_START


def _open(offer: Offer, mapped: Mapping[str, MappedBinary]) -> HoleState:
    return HoleState.FIXED_ON_DISK if _is_replaced(offer, mapped) else HoleState.OPEN


def _is_replaced(offer: Offer, mapped: Mapping[str, MappedBinary]) -> bool:
    """Whether dpkg has another version than the one that the patch is for; a rebuild (+b1) of it is the same."""
    installed = mapped[offer.build_id]
    if not installed.version or not installed.path:
        return False
    return installed.version.partition("+b")[0] != offer.version


def _patches(report: AgentReport) -> tuple[HostPatch, ...]:
    found = []
    for row in report.in_force:
        standing = PatchStanding.IN_FORCE
        if row.held:
            standing = PatchStanding.HELD
        elif row.failed or (row.why is not None and row.why.reason is Reason.AGENT_CRASHED):
            standing = PatchStanding.FAILED
        found.append(HostPatch(row.offer, standing, row.why.text if row.why else ""))
    named = {r.offer.patch for r in report.in_force}
    found += [
        HostPatch(w.offer, PatchStanding.WAITING, w.why.text) for w in report.waiting if w.offer.patch not in named
    ]
    return tuple(found)
