"""How the holes of the fleet stand, as CSAF VEX: each host in one status, with what the profile asks for beside it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from suture.cli.main import main
from suture.fleet.role import Role, Visitor
from suture.fleet.table import HoleRow, HostRow, SpanRow
from suture.fleet.vex import STATUS, NoHoleInFleet, vex
from suture.report.hole import HoleState
from tests.csaf_validator import is_valid, validated
from tests.fleet.conftest import FIXED, OFFER, WAITS, FakeFleet, report

ANN = Visitor("ann", Role.ADMIN)
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
EVERY = {state: f"{n:032x}" for n, state in enumerate(HoleState)}


def made(fleet: FakeFleet, visitor: Visitor = ANN) -> Any:
    with fleet.server.database.reading() as session:
        return json.loads(json.dumps(vex(session, visitor, NOW, "suture 0", "https://example.org")))


def test_each_state_has_its_status_and_what_the_profile_wants_with_it(fleet: FakeFleet, tmp_path: Path) -> None:
    with fleet.server.database.writing() as session:
        session.add(HoleRow(cve="CVE-2026-1111", first_seen=NOW))
        session.add_all(
            HostRow(id=i, name="h", group="", tags=[], classes=[], key=b"", old_boots=[], enrolled=NOW, last_seen=NOW)
            for i in EVERY.values()
        )
        session.flush()
        session.add_all(
            SpanRow(host=host, cve="CVE-2026-1111", state=state.value, seen=NOW, since=NOW)
            for state, host in EVERY.items()
        )
    document = made(fleet)
    path = tmp_path / "vex.json"
    path.write_text(json.dumps(document))
    said = validated(path)
    assert is_valid(said), said
    assert {p["product_id"] for p in document["product_tree"]["full_product_names"]} == set(EVERY.values())
    (hole,) = document["vulnerabilities"]
    status = hole["product_status"]
    assert {host: name for name, hosts in status.items() for host in hosts} == {h: STATUS[s] for s, h in EVERY.items()}
    acted = [i for r in hole["remediations"] for i in r["product_ids"]]
    assert sorted(acted) == status["known_affected"], "an action for each that is affected"
    assert [f["product_ids"] for f in hole["flags"]] == [status["known_not_affected"]], "and why one is not"
    assert EVERY[HoleState.LOST_AT_NEXT_START] in hole["notes"][1]["text"]


def test_it_names_the_hosts_that_the_visitor_sees_as_they_stand_now(fleet: FakeFleet) -> None:
    first, second = fleet.host("a", "web"), fleet.host("b", "db")
    other = replace(WAITS, offer=replace(OFFER, patch="fedcba9876543210", cves=("CVE-2026-2",)))
    second.check_in(report("b", waiting=[WAITS, other]))
    first.check_in(FIXED)
    holes = {v["cve"]: v["product_status"] for v in made(fleet)["vulnerabilities"]}
    assert holes == {
        "CVE-2026-1": {"fixed": [first.id], "known_affected": [second.id]},
        "CVE-2026-2": {"known_affected": [second.id]},
    }
    document = made(fleet, Visitor("bob", Role.VIEWER, ("web",)))
    assert [p["product_id"] for p in document["product_tree"]["full_product_names"]] == [first.id]
    assert [v["cve"] for v in document["vulnerabilities"]] == ["CVE-2026-1"]
    fleet.person().post(f"/hosts/{second.id}/withdraw")
    assert second.id not in json.dumps(made(fleet))


def test_head_and_revision_are_as_the_standard_has_them(fleet: FakeFleet) -> None:
    fleet.host()
    head = made(fleet)["document"]
    assert (head["category"], head["csaf_version"]) == ("csaf_vex", "2.0")
    tracking = head["tracking"]
    assert tracking["revision_history"][-1]["number"] == tracking["version"] and tracking["status"] == "final"
    assert re.fullmatch(r"[^\s].*[^\s]", tracking["id"]) and tracking["current_release_date"] == NOW.isoformat()


def test_where_nothing_is_to_be_stated_there_is_no_document(fleet: FakeFleet) -> None:
    with pytest.raises(NoHoleInFleet):
        made(fleet)


def test_the_command_and_the_interface_of_programs_give_the_same(
    fleet: FakeFleet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host, url = fleet.host(), fleet.server.database.url
    assert main(["fleet", "api-token", "--name", "x", "--role", "viewer", "--database", url]) == 0
    token = capsys.readouterr().out.split()[-1]
    path = tmp_path / "vex.json"
    assert main(["fleet", "vex", str(path), "--publisher", "https://example.org", "--database", url]) == 0
    assert f"{path}: holes: 1, hosts: 1" in capsys.readouterr().out
    written = json.loads(path.read_text())
    found = fleet.client.get("/api/v1/vex", headers={"Authorization": f"Bearer {token}"})
    assert found.status_code == 200 and found.json()["vulnerabilities"] == written["vulnerabilities"]
    assert written["vulnerabilities"][0]["product_status"] == {"known_affected": [host.id]}
    assert fleet.client.get("/api/v1/vex").status_code in (401, 403)
