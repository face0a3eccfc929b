"""How the holes of the fleet stand, as CSAF 2.0, profile VEX
(https://docs.oasis-open.org/csaf/csaf/v2.0/csaf-v2.0.html, section 4.5). Each host is a product."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from suture.error import ExitCode, SutureError
from suture.fleet.role import Visitor
from suture.fleet.table import HostRow, SpanRow
from suture.report.hole import HoleState

STATUS = {
    HoleState.OPEN: "known_affected",
    HoleState.FIXED_ON_DISK: "known_affected",
    HoleState.UNKNOWN: "under_investigation",
    HoleState.MITIGATED: "known_not_affected",
    HoleState.LOST_AT_NEXT_START: "fixed",
    HoleState.FIXED_IN_MEMORY: "fixed",
}
_ACTION = {
    HoleState.OPEN: ("vendor_fix", "Apply the live patch, or install the fixed package and restart what uses it."),
    HoleState.FIXED_ON_DISK: ("vendor_fix", "Restart what uses it, or apply the live patch: the file is fixed."),
}
_LOST = "On these hosts the file on disk is not fixed; install the fixed package before the next start:"
_NOTE = "What processes and kernels of the hosts run, as their agents have told the fleet's server."


class NoHoleInFleet(SutureError):
    """No host has a hole, and the profile has no document without one."""

    exit_code = ExitCode.NOT_FOUND


def vex(session: Session, visitor: Visitor, now: datetime, tool: str, publisher: str) -> Mapping[str, Any]:
    """The document, of the hosts that a visitor sees. `tool` is our name and version, `publisher` a URI of who keeps
    the fleet. Raises `NoHoleInFleet`."""
    statement = (
        select(SpanRow.cve, SpanRow.state, SpanRow.host, HostRow.name)
        .join(HostRow, HostRow.id == SpanRow.host)
        .where(SpanRow.until.is_(None), SpanRow.state.is_not(None), HostRow.withdrawn.is_(None))
        .order_by(SpanRow.cve, SpanRow.host)
    )
    rows = session.execute(visitor.among(statement, HostRow.group)).all()
    if not rows:
        raise NoHoleInFleet("no host has a hole that could be stated", "suture fleet holes lists them")
    hosts = dict(sorted({host: name for _, _, host, name in rows}.items()))
    time = now.isoformat(timespec="seconds")
    return {
        "document": {
            "category": "csaf_vex",
            "csaf_version": "2.0",
            "lang": "en",
            "publisher": {"category": "user", "name": "keeper of the fleet", "namespace": publisher},
            "title": f"How {len({cve for cve, *_ in rows})} holes stand on {len(hosts)} hosts",
            "tracking": {
                "id": f"suture-fleet-{now:%Y%m%dT%H%M%SZ}",
                "status": "final",
                "version": "1",
                "initial_release_date": time,
                "current_release_date": time,
                "revision_history": [{"number": "1", "date": time, "summary": "made from what hosts have told"}],
                "generator": {"engine": {"name": tool}},
            },
        },
        "product_tree": {
            "full_product_names": [{"name": f"host {name}", "product_id": host} for host, name in hosts.items()]
        },
        "vulnerabilities": [
            _vulnerability(cve, ((HoleState(state), host) for _, state, host, _ in same))
            for cve, same in groupby(rows, key=lambda r: r[0])
        ],
    }


def _vulnerability(cve: str, stands: Iterable[tuple[HoleState, str]]) -> Mapping[str, Any]:
    hosts: dict[HoleState, list[str]] = {}
    for state, host in stands:
        hosts.setdefault(state, []).append(host)
    statuses: dict[str, list[str]] = {}
    for state, ids in hosts.items():
        statuses.setdefault(STATUS[state], []).extend(ids)
    found: dict[str, Any] = {
        "cve": cve,
        "notes": [{"category": "description", "text": _NOTE}],
        "product_status": {status: sorted(ids) for status, ids in sorted(statuses.items())},
    }
    remediations = [
        {"category": category, "details": details, "product_ids": hosts[state]}
        for state, (category, details) in _ACTION.items()
        if state in hosts
    ]
    if remediations:
        found["remediations"] = remediations
    if HoleState.MITIGATED in hosts:
        found["flags"] = [{"label": "inline_mitigations_already_exist", "product_ids": hosts[HoleState.MITIGATED]}]
    if HoleState.LOST_AT_NEXT_START in hosts:
        text = f"{_LOST} {', '.join(hosts[HoleState.LOST_AT_NEXT_START])}"
        found["notes"].append({"category": "details", "text": text})
    return found
