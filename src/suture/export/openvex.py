"""The holes of a host as OpenVEX, version 0.2.0 (https://github.com/openvex/spec): one statement for each CVE.

The product is the host as it runs. What lies on its disk is told in the notes: a VEX statement has one status.
"""

from __future__ import annotations

import uuid
from typing import Any

from suture.export.picture import HolePlace, NothingToState, Picture, PicturedHole, in_words
from suture.report.document import ScanReport
from suture.report.hole import HoleState
from suture.visible import visible

CONTEXT = "https://openvex.dev/ns/v0.2.0"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, CONTEXT)

STATUS = {
    HoleState.OPEN: "affected",
    HoleState.FIXED_ON_DISK: "affected",
    HoleState.UNKNOWN: "under_investigation",
    HoleState.MITIGATED: "not_affected",
    HoleState.LOST_AT_NEXT_START: "fixed",
    HoleState.FIXED_IN_MEMORY: "fixed",
}
_LOST = "The file on disk is not fixed: install the fixed package before the next start."


def openvex(picture: Picture, tool: str) -> dict[str, Any]:
    """The document, for `json.dumps`; `tool` is our name and version. Raises `NothingToState`."""
    holes, scan = picture.holes, picture.scan
    if not holes:
        raise NothingToState
    return {
        "@context": CONTEXT,
        "@id": f"urn:uuid:{uuid.uuid5(_NAMESPACE, f'{scan.host.id} {scan.host.boot_id} {scan.time}')}",
        "author": visible(f"Suture on {scan.host.name}"),
        "timestamp": scan.time,
        "version": 1,
        "tooling": tool,
        "statements": [_statement(hole, scan, picture.mitigations.get(hole.cve, "")) for hole in holes],
    }


def _statement(hole: PicturedHole, scan: ScanReport, mitigated: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "vulnerability": {"name": hole.cve},
        "products": [_product(hole, scan)],
        "status": STATUS[hole.state],
        "status_notes": _notes(hole) + (f" Declared mitigated: {visible(mitigated)}" if mitigated else ""),
    }
    if row["status"] == "not_affected":
        row["justification"] = "inline_mitigations_already_exist"
    if row["status"] == "affected":
        row["action_statement"] = _action(hole)
    return row


def _product(hole: PicturedHole, scan: ScanReport) -> dict[str, Any]:
    parts = [_component(place) for place in hole.places]
    unique = [part for n, part in enumerate(parts) if part not in parts[:n]]
    return {"@id": f"urn:suture:host:{scan.host.id or uuid.uuid5(_NAMESPACE, scan.host.name)}", "subcomponents": unique}


def _component(place: HolePlace) -> dict[str, Any]:
    if place.purl:
        return {"@id": place.purl, "identifiers": {"purl": place.purl}}
    return {"@id": f"urn:suture:build-id:{place.build_id}"}


def _notes(hole: PicturedHole) -> str:
    files = sorted({visible(p.file) for p in hole.places})
    where = f" ({', '.join(files)})" if files else ""
    lost = f" {_LOST}" if HoleState.LOST_AT_NEXT_START in hole.processes else ""
    return f"In what runs: {in_words(hole.processes)}{where}.{lost}"


def _action(hole: PicturedHole) -> str:
    if hole.state is HoleState.FIXED_ON_DISK:
        return "Restart these processes, or apply the live patch: the file on disk is fixed."
    names = ", ".join(hole.patches)
    return f"Apply the live patch {names}, or install the fixed package and restart." if names else (
        "Install the fixed package and restart."
    )  # fmt: skip
