"""The benchmark of a fleet's server in small: hosts check in, pages are looked at, and what fails is counted."""

from __future__ import annotations

from pathlib import Path

from tests.bench.test_small_runs import bench


def test_hosts_check_in_and_the_kept_runs_are_added_to(tmp_path: Path) -> None:
    words = ("--database", "sqlite", "--seconds", "1")
    (one,) = bench("fleet_scale", tmp_path, "--hosts", "60", *words)["data"]["runs"]
    for lap in ("first", "again", "most"):
        assert one[lap]["failed"] == 0 and one[lap]["sent"] >= 50
    assert set(one["pages"]) == {"overview", "hole", "holes", "hosts", "deadlines"}
    assert 0 < one["memory_bytes"] < 1 << 30 and one["bytes"] > 100_000
    more = bench("fleet_scale", tmp_path, "--hosts", "50", "60", "--add", *words)["data"]["runs"]
    assert [r["hosts"] for r in more] == [50, 60] and more[1] != one


def test_a_host_that_is_not_in_the_fleet_is_a_failure(tmp_path: Path) -> None:
    (one,) = bench("fleet_scale", tmp_path, "--hosts", "20", "--database", "sqlite", "--seconds", "1")["data"]["runs"]
    assert one["again"]["sent"] == 50 and one["again"]["failed"] == 30
