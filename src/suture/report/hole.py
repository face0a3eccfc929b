"""A hole (a CVE) and how it stands: in one binary of a process, in the process, on the host. Pure.

What stands for several is the worst of them. A hole is closed now in three states (`HoleState.is_closed`); the others
are open to an attacker, or not known not to be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from suture.report.standing import Disk, Judgement, Known, Standing


class HoleState(Enum):
    """How a hole stands. The order is from the worst to the best."""

    OPEN = "open"
    FIXED_ON_DISK = "fixed on disk"  # and open in memory: a restart closes it
    UNKNOWN = "unknown"
    MITIGATED = "mitigated"  # open, and declared to be kept from use by other means than a fix
    LOST_AT_NEXT_START = "lost at the next start"  # fixed in memory, and the file on disk is not
    FIXED_IN_MEMORY = "fixed in memory"

    @property
    def is_closed(self) -> bool:
        return self in (HoleState.FIXED_IN_MEMORY, HoleState.LOST_AT_NEXT_START, HoleState.MITIGATED)


_ORDER = tuple(HoleState)


@dataclass(frozen=True)
class Hole:
    """One CVE. `patches`: ids of the patches that close it, or would. `elsewhere`: binaries that have a part of the fix
    of their own."""

    cve: str
    state: HoleState
    patches: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostHole:
    """One CVE on a host: the worst state, and in how many processes it has which. The kernel counts as one."""

    cve: str
    state: HoleState
    processes: Mapping[HoleState, int]


def worst(states: Iterable[HoleState]) -> HoleState:
    """The worst of them; UNKNOWN for none."""
    return min(states, key=_ORDER.index, default=HoleState.UNKNOWN)


def holes(verdict: Judgement, standing: Standing, known: Sequence[Known]) -> tuple[Hole, ...]:
    """The holes that the patches for a binary are about, by number."""
    found: list[Hole] = []
    closed, left_open = _closed(standing), _open(standing)
    whole = {k.id for k in verdict.closed}
    for k in known:
        closes = dict(k.closes) if k.id in whole else {}
        found += [Hole(c, closed if c in closes else left_open, (k.id,), closes.get(c, ())) for c in _named(k)]
    found += [Hole(c, HoleState.UNKNOWN, (one.id,)) for one in verdict.claimed for c in one.cves]
    return merged(found)


def exposed(cves: Iterable[str], patch: str, standing: Standing) -> tuple[Hole, ...]:
    """Holes in code that no known patch reaches, which one is about."""
    return tuple(Hole(c, _open(standing), (patch,)) for c in sorted(set(cves)))


def merged(rows: Iterable[Hole]) -> tuple[Hole, ...]:
    """One for each CVE, in the worst of its states."""
    by_cve: dict[str, list[Hole]] = {}
    for row in rows:
        by_cve.setdefault(row.cve, []).append(row)
    return tuple(
        Hole(
            cve,
            worst(h.state for h in same),
            tuple(dict.fromkeys(p for h in same for p in h.patches)),
            tuple(sorted({e for h in same for e in h.elsewhere})),
        )
        for cve, same in sorted(by_cve.items())
    )


def in_process(rows: Sequence[tuple[str, Sequence[Hole]]], loaded: Iterable[str]) -> tuple[Hole, ...]:
    """The holes of a process from those of its binaries, (file name, holes), where `loaded` are the names of all files
    that it has mapped.

    Where a binary with a part of the fix is loaded and no row tells of it, it is not known whether the hole is closed.
    """
    told = {(name, h.cve) for name, found in rows for h in found}
    here = set(loaded)
    found: list[Hole] = []
    for h in (h for _, row in rows for h in row):
        untold = [e for e in h.elsewhere if e in here and (e, h.cve) not in told]
        found.append(Hole(h.cve, HoleState.UNKNOWN, h.patches, h.elsewhere) if untold and h.state.is_closed else h)
    return merged(found)


def until_exec(found: Iterable[Hole]) -> tuple[Hole, ...]:
    """The holes of a process that executes itself anew from a file that is not fixed: what is closed does not stay
    so."""
    return tuple(replace(h, state=HoleState.OPEN) if h.state.is_closed else h for h in found)


def reopened(found: Iterable[Hole], cves: Collection[str], standing: Standing) -> tuple[Hole, ...]:
    """These holes, but those of `cves` that seemed to be closed are open."""
    return tuple(replace(h, state=_open(standing)) if h.cve in cves and h.state.is_closed else h for h in found)


def on_host(of_each: Iterable[Sequence[Hole]], unread: int = 0) -> tuple[HostHole, ...]:
    """The holes of a host from those of its processes and its kernel. `unread` processes could not be looked at: where
    all others are closed, it is not known whether the host is."""
    counts: dict[str, Counter[HoleState]] = {}
    for found in of_each:
        for h in found:
            counts.setdefault(h.cve, Counter())[h.state] += 1
    unknown = [HoleState.UNKNOWN] if unread else []
    return tuple(HostHole(cve, worst([*states, *unknown]), dict(states)) for cve, states in sorted(counts.items()))


def shown(found: Sequence[Hole]) -> tuple[str, ...]:
    """The numbers for a table: those that are not closed; when all are, all of them."""
    left = tuple(h.cve for h in found if not h.state.is_closed)
    return left or tuple(h.cve for h in found)


def _closed(standing: Standing) -> HoleState:
    return HoleState.LOST_AT_NEXT_START if standing.disk in (Disk.OPEN, Disk.SAME) else HoleState.FIXED_IN_MEMORY


def _open(standing: Standing) -> HoleState:
    return HoleState.FIXED_ON_DISK if standing.disk is Disk.REPLACED else HoleState.OPEN


def _named(known: Known) -> list[str]:
    return sorted({*known.cves, *(c for c, _ in known.closes)})
