"""What a repository tells of its packages."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from suture.els.announcement import Announcement, announce
from suture.els.oval_definitions import of_debian, of_rpm
from suture.els.updateinfo import RpmFile, RpmUpdate
from suture.report.els import BuiltFile
from tests.els.made_up import report


def test_documents_of_a_package_stay_and_those_of_the_suite_are_written_anew(tmp_path: Path) -> None:
    first, second = report(tmp_path / "built"), report(tmp_path / "built", package="y")
    place, address = tmp_path / "repository", "https://example.org/r"
    announce(place, "bullseye-suture", address, [Announcement(first, of_debian(first))], "0")
    before = {p: p.read_text() for p in place.rglob("*.json")}
    assert sorted(p.parent.name for p in before) == ["csaf", "osv"]
    times = {json.loads(t).get("published") or json.loads(t)["document"]["tracking"]["initial_release_date"]
             for t in before.values()}  # fmt: skip
    assert len(times) == 1
    announce(place, "bullseye-suture", address, [Announcement(r, of_debian(r)) for r in (first, second)], "1")
    assert all(p.read_text() == text for p, text in before.items()) and len(list(place.rglob("*.json"))) == 4
    assert (place / "oval/bullseye-suture.xml").read_text().count("<definition ") == 2
    assert (place / "bullseye-suture.rss").read_text().count("<item>") == 2


def test_an_rpm_has_no_osv_document(tmp_path: Path) -> None:
    built = replace(report(tmp_path / "built"), release="r", files=(BuiltFile("x-1-1.x86_64.rpm", 1, "0"),))
    file = RpmFile("x", "0", "1", "1", "x86_64", "x-1-1.x86_64.rpm")
    fixed = of_rpm(RpmUpdate("x", built.made, built.time, ("CVE-2026-1111",), (file,)), "hosts of r")
    announce(tmp_path / "repository", "r", "https://example.org/r", [Announcement(built, fixed)], "0")
    assert sorted(p.name for p in (tmp_path / "repository").iterdir()) == ["csaf", "oval", "r.rss"]


def test_a_suite_without_a_package_has_news_alone(tmp_path: Path) -> None:
    announce(tmp_path, "bullseye-suture", "https://example.org/r", [], "0")
    assert [p.name for p in tmp_path.iterdir()] == ["bullseye-suture.rss"]
