"""Numbers for Prometheus, in its text format."""

from __future__ import annotations

from sqlalchemy.orm import Session

from suture.fleet import hole, host, rollout
from suture.fleet.role import Visitor


def text(session: Session, visitor: Visitor) -> str:
    """What a visitor sees, as gauges."""
    counts = host.counts(session, visitor)
    lines = [
        *_head("suture_fleet_hosts", "Hosts whose key counts."),
        f"suture_fleet_hosts {counts.hosts}",
        *_head("suture_fleet_hosts_away", "Hosts that are not heard of."),
        f"suture_fleet_hosts_away {counts.away}",
        *_head("suture_fleet_hosts_cloned", "Hosts whose key two machines have."),
        f"suture_fleet_hosts_cloned {counts.cloned}",
        *_head("suture_fleet_hosts_open", "Hosts on which a hole is open or unknown."),
        f"suture_fleet_hosts_open {counts.open}",
        *_head("suture_fleet_holes", "Pairs of a host and a hole, by state."),
    ]
    states = hole.totals(session, visitor).items()
    lines += [f'suture_fleet_holes{{state="{state.value}"}} {number}' for state, number in states]
    lines += _head("suture_fleet_rollouts_running", "Rollouts that are not over.")
    lines.append(f"suture_fleet_rollouts_running {len(rollout.running(session, visitor))}")
    return "\n".join(lines) + "\n"


def _head(name: str, what: str) -> list[str]:
    return [f"# HELP {name} {what}", f"# TYPE {name} gauge"]
