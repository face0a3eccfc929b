"""OpenVEX: by its rules, and saying what the report says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from suture.export.openvex import STATUS, openvex
from suture.export.picture import NothingToState, Picture
from suture.report.hole import HoleState
from tests.export.conftest import FIXED, HOST, RESTART, scan_of

RULES = jsonschema.Draft202012Validator(json.loads(Path(__file__).with_name("openvex_rules.json").read_text()))


def statements(picture: Picture) -> dict[str, dict[str, Any]]:
    found = openvex(picture, "suture 0")
    RULES.validate(found)
    return {s["vulnerability"]["name"]: s for s in found["statements"]}


def test_every_state_has_its_status(every: Picture) -> None:
    found = statements(every)
    assert {n: s["status"] for n, s in found.items()} == {
        "CVE-2099-0001": "affected",
        "CVE-2099-0002": "affected",
        "CVE-2099-0003": "fixed",
        "CVE-2099-0004": "under_investigation",
        "CVE-2099-0005": "not_affected",
        "CVE-2099-0009": "affected",
    }
    assert set(STATUS) == set(HoleState)


def test_a_statement_says_where_and_what_to_do(every: Picture) -> None:
    found = statements(every)
    first = found["CVE-2099-0001"]
    assert "open in 1 process, fixed in memory in 1 process" in first["status_notes"]
    assert "id1" in first["action_statement"]
    assert found["CVE-2099-0002"]["action_statement"].startswith("Restart")
    assert "before the next start" in found["CVE-2099-0003"]["status_notes"]
    assert "port closed (until 2026-12-31)" in found["CVE-2099-0005"]["status_notes"]
    (product,) = first["products"]
    purl = "pkg:deb/debian/libssl3@1%3A3.0.17-1~deb12u2%2Bx?arch=amd64"
    assert product == {"@id": "urn:suture:host:0123", "subcomponents": [{"@id": purl, "identifiers": {"purl": purl}}]}


def test_a_binary_without_a_known_version_is_named_by_its_build() -> None:
    (found,) = statements(Picture(scan_of(RESTART), None)).values()
    assert found["products"][0]["subcomponents"] == [{"@id": "urn:suture:build-id:bb"}]


def test_a_host_without_a_number_has_one_by_its_name_and_each_scan_a_document_of_its_own() -> None:
    nameless = replace(scan_of(FIXED), host=replace(HOST, id=""))
    (found,) = statements(Picture(nameless, None)).values()
    assert found["products"][0]["@id"].startswith("urn:suture:host:") and not found["products"][0]["@id"].endswith(":")
    later = replace(nameless, time="2026-11-28T00:31:00.000Z")
    identities = {openvex(Picture(s, None), "x")["@id"] for s in (nameless, later, nameless)}
    assert len(identities) == 2


def test_a_host_without_a_hole_has_nothing_to_state() -> None:
    with pytest.raises(NothingToState):
        openvex(Picture(scan_of(), None), "x")


def test_the_rules_refuse_what_is_wrong(every: Picture) -> None:
    for change in ({"status": "closed"}, {"status": "affected", "action_statement": None}, {"more": 1}):
        found = openvex(every, "x")
        row = {**found["statements"][0], **change}
        found["statements"][0] = {k: v for k, v in row.items() if v is not None}
        assert not RULES.is_valid(found)
