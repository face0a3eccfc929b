"""Reports in all their forms, and what an auditor makes of them."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import jsonschema
import pytest

from suture.agent.ed25519 import is_signed
from suture.comply.bundle import BadBundle, open_sealed
from suture.report.schema import schema
from tests.fleet.conftest import FIXED, FakeFleet, Person, report

DAYS = "begin=2020-01-01&end=2099-12-31"


def taken(person: Person, kind: str, status: int = 200) -> bytes:
    found = person.client.get(f"/reports/show?{DAYS}&kind={kind}")
    assert found.status_code == status, found.text
    return bytes(found.content)


def test_a_report_counts_what_was_closed_and_what_was_not(fleet: FakeFleet) -> None:
    fleet.host("open")
    fleet.host("closed").check_in(FIXED)
    ann = fleet.person()
    text = ann.get(f"/reports/show?{DAYS}")
    assert "2 hosts had a hole" in text and "100.0%" in text
    read: Any = json.loads(taken(ann, "json"))
    jsonschema.validate(read, schema(strict=True))
    plain_rule = next(f for f in read["figures"] if f["rule"] == "thirty-days")
    assert plain_rule["counts"] == {"running": 1, "closed in time": 1} and plain_rule["kept"] == 1.0
    assert {d["cve"] for d in read["deadlines"]} == {"CVE-2026-1"} and len(read["exposures"]) == 2
    assert sorted(read["names"].values()) == ["closed", "open"]


def test_evidence_opens_with_the_servers_key_alone(fleet: FakeFleet) -> None:
    fleet.host()
    sealed = taken(fleet.person(), "evidence.json")
    found = open_sealed(sealed, fleet.server.key.public, is_signed)
    assert sorted(found.files) == ["deadlines.csv", "exposure.csv", "report.html", "report.json"]
    assert b"CVE-2026-1" in found.files["deadlines.csv"]
    with pytest.raises(BadBundle):
        open_sealed(sealed.replace(b"CVE-2026-1", b"CVE-2026-2"), fleet.server.key.public, is_signed)


def test_a_table_holds_no_formula_and_a_pdf_is_one(fleet: FakeFleet) -> None:
    name = "=cmd|' /C calc'!A0"
    fleet.host(name, state=report(name)).check_in(FIXED)
    ann = fleet.person()
    rows = list(csv.DictReader(io.StringIO(taken(ann, "exposure.csv").decode())))
    assert [r["name"] for r in rows] == [f"'{name}"]
    assert taken(ann, "pdf").startswith(b"%PDF-")


def test_a_wrong_period_or_kind_is_told(fleet: FakeFleet) -> None:
    ann = fleet.person()
    taken(ann, "exe", 422)
    for days in ("begin=2027-01-01&end=2026-01-01", "begin=x&end=y", "end=2026-01-01"):
        assert ann.client.get(f"/reports/show?{days}").status_code == 422


def test_a_report_is_of_the_groups_that_a_person_sees(fleet: FakeFleet) -> None:
    fleet.host("mine", "web")
    fleet.host("other", "db")
    text = taken(fleet.person("wes", groups=["web"]), "json").decode()
    assert '"mine"' in text and '"other"' not in text
