"""Which updates arrive, and what the page says of those that came to no end."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "bench"))
conversion: Any = importlib.import_module("conversion")
page: Any = importlib.import_module("conversion_page")


def listed(version: str) -> Any:
    return conversion.Listed("x", version, (f"x_{version}.dsc",), (f"libx_{version}.deb",))


def arrived(versions: list[str], gone: set[str], name: str = "x") -> Any:
    rows = {name: [listed(v) for v in versions]}
    return conversion.arrived(rows, "bookworm", lambda a: a not in gone)


def found(versions: list[str], gone: set[str]) -> list[tuple[str, str]]:
    return [(old, new) for _, _, old, new in arrived(versions, gone).updates]


def test_each_version_leads_to_the_next_that_arrives() -> None:
    assert found(["1-1", "1-2", "1-10"], set()) == [("1-1", "1-2"), ("1-2", "1-10")]
    assert found(["1-1", "1-2", "1-10"], {"x_1-2.dsc"}) == [("1-1", "1-10")]


def test_a_version_without_binaries_is_where_no_update_begins_but_one_may_end() -> None:
    assert found(["1-1", "1-2", "1-3"], {"libx_1-2.deb"}) == [("1-1", "1-2")]


def test_a_package_without_any_old_binary_is_named() -> None:
    assert arrived(["1-1", "1-2"], {"libx_1-1.deb"}).gone == (("x", "bookworm"),)
    assert arrived(["1-1", "1-2"], {"x_1-1.dsc"}).gone == ()


def test_one_version_is_no_update() -> None:
    assert found(["1-1"], set()) == []


def test_the_kernel_has_a_way_of_its_own() -> None:
    assert all(not arrived(["1-1", "1-2"], set(), n).updates for n in ("linux", "linux-6.12", "linux-signed-amd64"))
    assert arrived(["1-1", "1-2"], set(), "linux-atm").updates


def test_what_was_not_tried_counts_as_not_closed() -> None:
    def row(source: str, *closings: str) -> dict[str, Any]:
        cves = [{"cve": f"CVE-2026-{n}", "closing": c} for n, c in enumerate(closings)]
        facts = {"source": source, "release": "bookworm", "old": "1", "new": "2", "way": "", "fixes": []}
        return {**facts, "cves": cves, "patches": [], "seconds": {}, "problem": "", "total": 1.0}

    rows = [row("a", "closed live", "closed on disk only", "needs no live patch"), row("b", "not tried", "not tried")]
    data = {"rows": rows, "waiting": [], "left_out": [], "limit": 900.0}
    text = page.document({"command": "c", "started": "s", "machine": {"cores": 2, "load": 0}, "data": data})
    assert "**1 of 4 CVE fixes (25%) were closed live" in text
    assert "Of the 4, 2 were not tried" in text and "50% were closed live" in text
    assert "the limit of 15 minutes" in text
    given_up = [{**row(f"late{n}", "not tried"), "problem": f"took longer than {n} minutes"} for n in (7, 40)]
    data |= {"rows": [*rows, *given_up]}
    text = page.document({"command": "c", "started": "s", "machine": {"cores": 2, "load": 0}, "data": data})
    assert "the limit of 7 to 40 minutes" in text


def test_a_row_names_no_folder_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path))
    row = {"fixes": [{"reasons": [f"x.c: not found in {tmp_path}/binary/x: .text found nowhere"]}]}
    assert conversion._anywhere(row) == {
        "fixes": [{"reasons": ["x.c: not found in $SUTURE_CACHE/binary/x: .text found nowhere"]}]
    }


def test_runs_side_by_side_keep_each_others_rows_and_one_stays_until_it_is_measured_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(conversion, "write_page", lambda: None)
    updates = [(name, "bookworm", "1-1", "1-2") for name in ("a", "b", "c")]

    def row(name: str, total: float) -> dict[str, Any]:
        return {"source": name, "release": "bookworm", "old": "1-1", "new": "1-2", "problem": "", "total": total}

    start = conversion.Start.now("conversion", ["--resume"])
    runs = [conversion.Kept(start, updates, (), (), 60.0, tmp_path) for _ in range(2)]
    assert runs[0].begin(resume=False) == []
    runs[0].add(row("a", 1.0))
    runs[1].begin(resume=True)
    runs[1].add(row("b", 2.0))
    runs[0].add(row("a", 3.0))
    kept = conversion.Record.read(tmp_path / "conversion.json").data
    assert {r["source"]: r["total"] for r in kept["rows"]} == {"a": 3.0, "b": 2.0}
    assert kept["waiting"] == [["c", "bookworm", "1-1", "1-2"]]
    again = conversion.Kept(start, updates, (("b", "bookworm"),), (), 60.0, tmp_path)
    assert [r["source"] for r in again.begin(resume=True)] == ["a"], "an update that is gone leaves the page"


def test_an_update_is_named_by_its_package_alone_or_with_its_release() -> None:
    assert conversion.names_of(("openssl", "bullseye", "1", "2")) == {"openssl", "openssl/bullseye"}


def test_times_are_told_apart_by_what_was_there_before() -> None:
    rows = [{"patches": [1], "total": 90.0, "cold": True, "warm": 8.0}, {"patches": [1], "total": 40.0}]
    rows += [
        {"patches": [1], "total": 110.0, "cold": True, "warm": None},
        {"patches": [], "total": 900.0, "cold": True},
    ]
    told = page._times(rows)
    assert "cold (room, tree and all that is compiled made for it): median 100 s over 2 updates, 90 to 110 s" in told
    assert "warm (the same again): median 8 s over 1 update," in told and "happened to be: median 40 s" in told
    assert page._times([]) == ""
