"""What a package closes, as CSAF."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from suture.els.csaf import csaf, file_name
from suture.report.els import BuiltFile
from tests.csaf_validator import is_valid, validated
from tests.els.made_up import report

TIME = "2026-11-28T05:00:00Z"


def test_it_says_which_version_has_the_hole_and_which_closes_it(tmp_path: Path) -> None:
    found = csaf(report(tmp_path), TIME, "suture 0", "https://example.org/r")
    product = found["product_tree"]["branches"][0]["branches"][0]
    versions = {b["product"]["product_id"]: b["name"] for b in product["branches"]}
    [hole] = found["vulnerabilities"]
    assert hole["cve"] == "CVE-2026-1111"
    assert [versions[x] for x in hole["product_status"]["known_affected"]] == ["1.0-1+deb11u1"]
    assert [versions[x] for x in hole["product_status"]["fixed"]] == ["1.0-1+deb11u1+suture1"]
    purl = product["branches"][1]["product"]["product_identification_helper"]["purl"]
    assert purl == "pkg:deb/debian/x@1.0-1%2Bdeb11u1%2Bsuture1?arch=source&distro=bullseye"


def test_the_last_revision_is_the_version_and_the_file_is_named_by_the_id(tmp_path: Path) -> None:
    one = report(tmp_path)
    tracking = csaf(one, TIME, "suture 0", "https://example.org/r")["document"]["tracking"]
    assert tracking["revision_history"][-1] == {"number": tracking["version"], "date": TIME, "summary": "published"}
    assert file_name(one) == "suture-els-x-1_0-1+deb11u1+suture1.json"


def judged(folder: Path, document: object) -> str:
    path = folder / "suture-els-x-1_0-1+deb11u1+suture1.json"
    path.write_text(json.dumps(document, sort_keys=True))
    return validated(path)


@pytest.mark.parametrize("rpm", [False, True])
def test_it_keeps_to_the_schema_and_the_mandatory_tests_of_the_standard(tmp_path: Path, rpm: bool) -> None:
    one = replace(report(tmp_path), files=(BuiltFile("x-1.0-1.x86_64.rpm", 1, "0"),)) if rpm else report(tmp_path)
    found = csaf(one, TIME, "suture 0", "https://example.org/r")
    said = judged(tmp_path, found)
    assert is_valid(said), said
    warned = {row.split()[1] for row in said.splitlines() if row.strip().startswith(("[WARN]", "[INFO]"))}
    assert warned <= {"6.2.3", "6.3.4"}, said  # no score and no weakness: nobody has told them
    branch = found["product_tree"]["branches"][0]["branches"][0]["branches"][1]
    purl = branch["product"]["product_identification_helper"]["purl"]
    assert purl.startswith("pkg:rpm/x@" if rpm else "pkg:deb/debian/x@")


def test_a_document_that_breaks_them_is_not_taken(tmp_path: Path) -> None:
    found = json.loads(json.dumps(csaf(report(tmp_path), TIME, "suture 0", "https://example.org/r")))
    found["document"]["tracking"]["version"] = "2"
    assert "[FAIL] 6.1.16" in judged(tmp_path, found)
    found["document"]["lang"] = 3
    assert "[FAIL] schema" in judged(tmp_path, found)
