"""Numbers for Prometheus, in its text format."""

from __future__ import annotations

from sqlalchemy.orm import Session

from suture.fleet import hole, host, rollout
from suture.fleet.role import Visitor
from suture.report.exposition import family


def text(session: Session, visitor: Visitor) -> str:
    """What a visitor sees, as gauges."""
    counts, states = host.counts(session, visitor), hole.totals(session, visitor)
    runs = len(rollout.running(session, visitor))
    lines = (
        *family("suture_fleet_hosts", "Hosts whose key counts.", [({}, counts.hosts)]),
        *family("suture_fleet_hosts_away", "Hosts that are not heard of.", [({}, counts.away)]),
        *family("suture_fleet_hosts_cloned", "Hosts whose key two machines have.", [({}, counts.cloned)]),
        *family("suture_fleet_hosts_open", "Hosts on which a hole is open or unknown.", [({}, counts.open)]),
        *family(
            "suture_fleet_holes",
            "Pairs of a host and a hole, by state.",
            [({"state": state.value}, number) for state, number in states.items()],
        ),
        *family("suture_fleet_rollouts_running", "Rollouts that are not over.", [({}, runs)]),
    )
    return "".join(f"{line}\n" for line in lines)
