"""How a host stands in one line and a status, as Nagios and its like want it of a plugin
(https://nagios-plugins.org/doc/guidelines.html).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import IntEnum

from suture.export.picture import Picture
from suture.report.hole import HoleState
from suture.visible import visible

_MOST_CVES = 5


class PluginStatus(IntEnum):
    """What a plugin ends with."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True)
class PluginLine:
    """What a plugin says."""

    status: PluginStatus
    text: str


def line(picture: Picture) -> PluginLine:
    """CRITICAL: a hole is open in what runs. WARNING: a hole of which that is not known or that is lost at the next
    start, a process that could not be looked at, a patch that is held or waits for a word, a problem of the agent.
    UNKNOWN: no patch is known, so nothing can be said."""
    if picture.agent is None and not picture.scan.patches:
        return failed("no patch is known here, so holes cannot be told; give --patches, or set up the agent")
    holes, scan, agent = picture.holes, picture.scan, picture.agent
    counts = Counter(h.state for h in holes)
    left = [h.cve for h in holes if h.state in (HoleState.OPEN, HoleState.FIXED_ON_DISK)]
    problems = [c.text for c in agent.problems] if agent else []
    problems += ["the agent has fetched nothing yet"] if agent and not agent.version else []
    held = sum(r.held or r.failed > 0 for r in agent.in_force) if agent else 0
    asked = len(agent.waiting) if agent else 0
    said = [
        *([f"{_many(len(left), 'hole')} open: {_some(left)}"] if left else []),
        *([f"{counts[HoleState.UNKNOWN]} not known"] if counts[HoleState.UNKNOWN] else []),
        *([f"{counts[s]} lost at the next start" for s in (HoleState.LOST_AT_NEXT_START,) if counts[s]]),
        *([f"{_many(held, 'patch', 'es')} refused by processes"] if held else []),
        *([f"{_many(asked, 'patch', 'es')} not in yet"] if asked else []),
        *([f"{_many(len(scan.unread), 'process', 'es')} not read"] if scan.unread else []),
        *([f"{_many(len(scan.unreadable_patches), 'patch', 'es')} not readable"] if scan.unreadable_patches else []),
        *problems,
    ]
    status = PluginStatus.CRITICAL if left else PluginStatus.WARNING if said else PluginStatus.OK
    closed = sum(n for s, n in counts.items() if s.is_closed)
    text = "; ".join(visible(s) for s in said) or f"no hole is open; {closed} closed"
    numbers = f"open={len(left)} unknown={counts[HoleState.UNKNOWN]} closed={closed} unread={len(scan.unread)}"
    return PluginLine(status, f"SUTURE {status.name} - {text.replace('|', '/')} | {numbers}")


def failed(what: str) -> PluginLine:
    """Nothing could be found out."""
    return PluginLine(PluginStatus.UNKNOWN, f"SUTURE UNKNOWN - {visible(' '.join(what.split())).replace('|', '/')}")


def _many(n: int, word: str, plural: str = "s") -> str:
    return f"{n} {word}{plural * (n != 1)}"


def _some(cves: list[str]) -> str:
    more = f" and {len(cves) - _MOST_CVES} more" if len(cves) > _MOST_CVES else ""
    return " ".join(cves[:_MOST_CVES]) + more
