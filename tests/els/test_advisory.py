"""What a package closes, for scanners."""

from __future__ import annotations

from pathlib import Path

from suture.els.advisory import osv
from tests.els.made_up import report


def test_it_names_the_source_package_the_fixed_version_and_the_cves(tmp_path: Path) -> None:
    found = osv(report(tmp_path), "2026-11-28T05:00:00Z")
    [affected] = found["affected"]
    assert affected["package"] == {"ecosystem": "Debian:11", "name": "x"}
    assert affected["ranges"][0]["events"] == [{"introduced": "0"}, {"fixed": "1.0-1+deb11u1+suture1"}]
    assert found["upstream"] == ["CVE-2026-1111"] and found["id"] == "SUTURE-ELS-x-1.0-1+deb11u1+suture1"
