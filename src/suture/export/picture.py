"""The holes of a host, from what a scan found and what its agent says, as all formats of other tools tell them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from suture.error import ExitCode, SutureError
from suture.report.document import AgentReport, ScanReport
from suture.report.feed import OfferState
from suture.report.hole import HoleState, worst
from suture.report.patch import PatchKind

KERNEL = "linux"


class NothingToState(SutureError):
    """There is no hole to make a document of."""

    exit_code = ExitCode.NOT_FOUND

    def __init__(self) -> None:
        super().__init__(
            "no hole is known here, so there is nothing to state: no given patch is for what runs",
            "give the patches to compare with: --patches DIR",
        )


@dataclass(frozen=True)
class HolePlace:
    """A binary that runs and has the hole: the package and the version that it was built as, "" where no patch for it
    is known; `state` is that of the hole in it, worst in `processes` processes."""

    file: str
    build_id: str
    package: str
    version: str
    state: HoleState
    processes: int

    @property
    def purl(self) -> str:
        """The package that runs, as a package URL; "" where it is not known."""
        if not self.package or not self.version:
            return ""
        return f"pkg:deb/debian/{self.package}@{quote(self.version, safe='.-_~')}?arch=amd64"


@dataclass(frozen=True)
class PicturedHole:
    """A CVE on the host. `processes`: in how many it has which state; the kernel counts as one. `patches` are ids of
    those that close it, or would."""

    cve: str
    processes: Mapping[HoleState, int]
    state: HoleState
    places: tuple[HolePlace, ...]
    patches: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """A scan, and what the agent says, none on a host without one."""

    scan: ScanReport
    agent: AgentReport | None

    @property
    def holes(self) -> tuple[PicturedHole, ...]:
        """By number. A patch that the feed has and that is not in leaves its holes open, whatever the scan found: it
        knows the patches that are here alone."""
        found = _Found()
        for hole in self.scan.holes:
            found.count(hole.cve, hole.processes)
            found.states.setdefault(hole.cve, []).append(hole.state)
        for place, cve, ids in self._scanned():
            found.add(place, cve, ids)
        for place, cve, identity in self._offered():
            if identity not in found.patches.get(cve, {}):
                found.count(cve, {place.state: place.processes})
                found.states.setdefault(cve, []).append(place.state)
                found.add(place, cve, (identity,))
        return found.rows()

    @property
    def mitigations(self) -> Mapping[str, str]:
        """What an administrator has declared, by CVE, as far as it counts now."""
        rows = (*self.scan.mitigations, *(self.agent.mitigations if self.agent else ()))
        return {m.cve: f"{m.reason} (until {m.until})" for m in rows if m.in_force}

    def _scanned(self) -> Iterator[tuple[HolePlace, str, tuple[str, ...]]]:
        versions = {p.build_id: (p.package or KERNEL, p.version) for p in self.scan.patches}
        for process in self.scan.processes:
            for b in process.binaries:
                package, version = versions.get(b.build_id, (b.package, ""))
                for h in b.holes:
                    yield HolePlace(b.file, b.build_id, package, version, h.state, 1), h.cve, h.patches
        kernel = self.scan.kernel
        if kernel is not None:
            for h in kernel.holes:
                yield HolePlace(KERNEL, kernel.build_id, KERNEL, kernel.version, h.state, 1), h.cve, h.patches

    def _offered(self) -> Iterator[tuple[HolePlace, str, str]]:
        if self.agent is None:
            return
        mapped = {b.build_id: b for b in self.agent.binaries}
        for offer in (w.offer for w in self.agent.waiting if w.offer.state is OfferState.OFFERED):
            here = mapped.get(offer.build_id)
            if here is None:
                continue
            package = KERNEL if offer.kind is PatchKind.KERNEL else here.package
            for cve in offer.cves:
                state = HoleState.MITIGATED if cve in self.mitigations else HoleState.OPEN
                of = max(here.processes, 1)
                yield HolePlace(offer.binary, offer.build_id, package, offer.version, state, of), cve, offer.patch


class _Found:
    """Holes while they are gathered."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[HoleState]] = {}
        self.states: dict[str, list[HoleState]] = {}
        self.places: dict[str, Counter[HolePlace]] = {}
        self.patches: dict[str, dict[str, None]] = {}

    def count(self, cve: str, processes: Mapping[HoleState, int]) -> None:
        self.counts.setdefault(cve, Counter()).update(processes)

    def add(self, place: HolePlace, cve: str, ids: tuple[str, ...]) -> None:
        one = HolePlace(place.file, place.build_id, place.package, place.version, place.state, 0)
        self.places.setdefault(cve, Counter())[one] += place.processes
        self.patches.setdefault(cve, {}).update(dict.fromkeys(ids))

    def rows(self) -> tuple[PicturedHole, ...]:
        return tuple(
            PicturedHole(
                cve,
                {s: n for s in HoleState if (n := self.counts[cve][s])},
                worst(self.states[cve]),
                tuple(
                    HolePlace(p.file, p.build_id, p.package, p.version, p.state, n)
                    for p, n in self.places.get(cve, Counter()).items()
                ),
                tuple(self.patches.get(cve, {})),
            )
            for cve in sorted(self.counts)
        )


def in_words(processes: Mapping[HoleState, int]) -> str:
    """`open in 2 processes, fixed in memory in 1 process`."""
    rows = [f"{state.value} in {n} process{'es' * (n != 1)}" for state, n in processes.items()]
    return ", ".join(rows) or "no process could be looked at"
