"""The security tracker's data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from suture.source.tracker import BadTracker, read


def row(status: str, version: str = "") -> dict[str, Any]:
    facts = {"status": status, "repositories": {"bookworm": "1.2-3"}, "urgency": "not yet assigned"}
    return {"description": "d", "scope": "remote", "releases": {"bookworm": facts | {"fixed_version": version}}}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    place = tmp_path / "tracker.json"
    cves = {
        "CVE-2026-1001": row("resolved", "1.2-3"),
        "CVE-2026-1002": row("resolved", "1.2-3+deb12u1"),
        "CVE-2026-1003": row("resolved", "1.2-3+deb12u2"),
        "CVE-2026-1004": row("resolved", "0"),
        "CVE-2026-1005": row("open"),
        "TEMP-0000001-AAAAAA": row("resolved", "1.2-3+deb12u1"),
    }
    place.write_text(json.dumps({"x": cves}))
    return place


def test_what_is_fixed_after_one_version_and_up_to_another(data: Path) -> None:
    tracker = read(data)
    assert tracker.fixed_between("x", "bookworm", "1.2-3", "1.2-3+deb12u1") == ("CVE-2026-1002",)
    assert tracker.fixed_between("x", "bookworm", "1.2-2", "1.2-3+deb12u9") == tuple(
        f"CVE-2026-100{n}" for n in (1, 2, 3)
    )


def test_another_release_or_package_has_none(data: Path) -> None:
    tracker = read(data)
    assert tracker.fixed_between("x", "trixie", "1.2-2", "1.2-9") == ()
    assert tracker.fixed_between("y", "bookworm", "1.2-2", "1.2-9") == ()


@pytest.mark.parametrize("text", ["", "[]", '{"x": []}', '{"x": {"CVE-2026-1001": {"releases": []}}}', "\xff"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text, encoding="latin-1")
    with pytest.raises(BadTracker):
        read(tmp_path / "t.json")
