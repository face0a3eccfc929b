"""What was published, for readers of feeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from suture.els.news import rss
from tests.els.made_up import report


def test_the_newest_package_comes_first_with_its_cves(tmp_path: Path) -> None:
    one = report(tmp_path / "a")
    two = replace(report(tmp_path / "b", package="y"), package="y & z")
    text = rss([(one, "2026-11-28T05:00:00Z"), (two, "2026-11-28T06:00:00Z")], "bullseye-suture", "https://e.org/r/")
    items = list(ElementTree.fromstring(text.encode()).iterfind("channel/item"))
    assert [i.findtext("title") for i in items] == [
        "y & z 1.0-1+deb11u1+suture1: CVE-2026-1111",
        "x 1.0-1+deb11u1+suture1: CVE-2026-1111",
    ]
    assert items[1].findtext("link") == "https://e.org/r/csaf/suture-els-x-1_0-1+deb11u1+suture1.json"
    assert items[1].findtext("pubDate") == "Sat, 28 Nov 2026 05:00:00 +0000"
