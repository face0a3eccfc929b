"""A fleet as reports name it: its hosts, what is open where, patches and rollouts, who did what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from suture.report.hole import HoleState


@dataclass(frozen=True)
class FleetHost:
    """A host. `exposed`: reached from the internet, none where nobody has said. `away_since`: not heard of since then;
    `clone_since`: since then two machines report with its key; `withdrawn`: its key counts no more; "" for not so."""

    id: str
    name: str
    group: str
    tags: tuple[str, ...]
    classes: tuple[str, ...]
    exposed: bool | None
    kernel: str
    address: str
    enrolled: str
    last_seen: str
    away_since: str
    clone_since: str
    withdrawn: str
    open_holes: int
    problems: int


@dataclass(frozen=True)
class FleetApplicant:
    """A host without a token that waits to be let in. `fingerprint` is that of its key, `asked` when it first asked."""

    fingerprint: str
    name: str
    address: str
    asked: str


@dataclass(frozen=True)
class FleetHole:
    """A CVE in the fleet. `hosts` counts them by state."""

    cve: str
    first_seen: str
    disclosed: str
    in_kev: bool | None
    cvss: float | None
    severity: str
    hosts: Mapping[HoleState, int]


@dataclass(frozen=True)
class HoleSpan:
    """A hole on a host in one state (none: the host no longer runs the code), `until` "" for now."""

    host: str
    name: str
    cve: str
    state: HoleState | None
    since: str
    until: str


@dataclass(frozen=True)
class FleetPatch:
    """A patch that the feed has signed, and on how many hosts it stands how."""

    patch: str
    binary: str
    source: str
    version: str
    cves: tuple[str, ...]
    state: str
    hosts: Mapping[str, int]


class RolloutStatus(Enum):
    """How a rollout stands."""

    DRAFT = "waits for approval"
    RUNNING = "running"
    WAITING = "waiting"  # a gate is not open yet; `why` says which
    STOPPED = "stopped"  # by a person or by a gate, and taken back
    DONE = "done"

    @property
    def is_over(self) -> bool:
        return self in (RolloutStatus.STOPPED, RolloutStatus.DONE)


@dataclass(frozen=True)
class RolloutStageReport:
    """One stage: its hosts, those that have the patch, those where it failed, and those that may take it."""

    name: str
    hosts: int
    chosen: int
    in_force: int
    failed: int


@dataclass(frozen=True)
class FleetRollout:
    """A rollout. `stage` counts from 0; `why` tells what it waits for, or why it was stopped."""

    id: int
    name: str
    patch: str
    binary: str
    cves: tuple[str, ...]
    status: RolloutStatus
    stage: int
    stages: tuple[RolloutStageReport, ...]
    why: str
    created_by: str
    created: str
    ended: str


@dataclass(frozen=True)
class AuditEntry:
    """One thing that was done, and by whom. `digest` is over it and the digest of the entry before."""

    number: int
    time: str
    who: str
    what: str
    subject: str
    detail: str
    digest: str


@dataclass(frozen=True)
class FleetAccount:
    """A person who may log in. No `groups`: he sees all hosts."""

    name: str
    role: str
    groups: tuple[str, ...]
    created: str
    disabled: bool
