"""What a package closes, as CSAF."""

from __future__ import annotations

from pathlib import Path

from suture.els.csaf import csaf, file_name
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
