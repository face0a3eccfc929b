"""The benchmarks' own programs, in small: they must measure what they say and fail when something is wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


def bench(name: str, into: Path, *words: str) -> dict[str, Any]:
    """The kept record of a benchmark that ran well."""
    argv = [sys.executable, str(BENCH / f"{name}.py"), *words, f"--into={into}", "--json"]
    done = subprocess.run(argv, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode()[-2000:] + done.stderr.decode()
    record: dict[str, Any] = json.loads((into / f"{name}.json").read_text())
    assert json.loads(done.stdout) == record["data"]
    return record


def test_a_soak_finds_no_fault_in_thirty_rounds(tmp_path: Path) -> None:
    data = bench("soak", tmp_path, "--rounds", "30", "--workers", "4")["data"]
    assert data["faults"] == []
    counts = data["counts"]
    assert min(counts[f"seen_{version}"] for version in (1, 2, 3)) > 100
    assert counts["handled"] > 100 and counts["finished"] > 100
    assert len(data["pauses_us"]) >= 90


def test_the_clock_reader_inside_sees_the_pauses_that_the_engine_reports(tmp_path: Path) -> None:
    (sample,) = bench("pause", tmp_path, "--rounds", "5", "--threads", "16", "--load", "idle")["data"]["samples"]
    assert len(sample["engine"]) == len(sample["floor"]) == len(sample["engine_inside"]) == 10
    # the reader is one of the threads that stop: its gap is most of the pause
    assert sorted(sample["engine_inside"])[5] > 0.2 * sorted(sample["engine"])[5]
    assert sorted(sample["floor"])[5] > 0
    assert sample["stack_bytes"] > 16 * 4096


def test_an_interrupted_run_keeps_the_lines_that_it_has_printed(tmp_path: Path) -> None:
    run = [sys.executable, str(BENCH / "pause.py"), "--rounds=2", "--threads", "1", "2", "4", "--load=idle"]
    argv = ["env", "--default-signal=INT", *run]  # a shell's background jobs ignore it
    with subprocess.Popen([*argv, f"--into={tmp_path}"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        heading, first = process.stdout.readline(), process.stdout.readline()
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read().decode()
    assert heading.split()[:2] == [b"threads", b"load"] and first.split()[:2] == [b"1", b"idle"]
    assert process.returncode == 130, errors
    assert "1 of 3 lines were measured and are kept" in errors
    data = json.loads((tmp_path / "pause.json").read_text())["data"]
    assert [s["threads"] for s in data["samples"]] == [1] and data["planned"] == 3


def test_two_binaries_change_in_one_stop_beside_one_alone(tmp_path: Path) -> None:
    (sample,) = bench("joint", tmp_path, "--rounds", "3", "--threads", "8")["data"]["samples"]
    assert len(sample["one"]) == len(sample["both"]) == 2 * len(sample["floor"]) == 6
    assert min(sample["floor"]) > 0 and min(sample["both"]) > 0


def test_a_call_is_timed_in_each_state_of_the_patch(tmp_path: Path) -> None:
    data = bench("call", tmp_path, "--rounds", "1", "--blocks", "5")["data"]
    assert {state: len(rows) for state, rows in data["nanoseconds"].items()} == {
        "unpatched": 5,
        "patched": 5,
        "reverted": 5,
    }
    assert all(0 < ns < 1000 for rows in data["nanoseconds"].values() for ns in rows)


def test_a_host_downloads_what_it_needs_of_a_feed(tmp_path: Path) -> None:
    record = bench("feed", tmp_path, "--patches", "70", "--mapped", "50")
    (size,) = record["data"]["sizes"]
    cold, nothing, others, own = size["looks"]
    assert (cold["bytes"], cold["files"]) > (own["bytes"], own["files"]) > (nothing["bytes"], nothing["files"])
    assert nothing["files"] == 1 and others["bytes"] < own["bytes"] < size["metadata_bytes"]


def test_the_page_tells_which_goals_are_met_and_which_are_not(tmp_path: Path) -> None:
    machine = {"processor": "p", "cores": 2, "virtual": True, "kernel": "6", "python": "3", "load": 0.0}
    sample = {
        "threads": 32, "load": "idle", "engine": [900.0],
        "floor": [500.0], "realtime": [300.0], "engine_inside": [800.0],
        "floor_inside": [400.0], "stops": [1], "floor_parts": [], "stack_bytes": 1, "fresh": [950.0],
    }  # fmt: skip
    record = {
        "bench": "pause",
        "command": "bench/pause",
        "started": "now",
        "machine": machine,
        "data": {"rounds": 1, "samples": [sample]},
    }
    (tmp_path / "pause.json").write_text(json.dumps(record))
    page = tmp_path / "page.md"
    argv = [sys.executable, str(BENCH / "report.py"), f"--results={tmp_path}", f"--output={page}"]
    subprocess.run(argv, check=True)
    text = page.read_text()
    assert "Goal not met: at most 1.5 times the floor at 32 threads (1.80)" in text
    assert "Goal met: under 1 ms at 32 threads (900 us)" in text
    assert "No numbers yet: run `bench/soak`" in text


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("mixed", 1, "1 mixed answers"),
        ("wrong", 2, "2 wrong answers"),
        ("sent", 8, "8 signals were sent, 7 were handled"),
    ],
)
def test_a_soak_tells_what_went_wrong(name: str, value: int, fault: str) -> None:
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from soak import Footprint, Soak\n"
        "here = Footprint(4, 50, 1000, 4, 9)\n"
        "counts = dict(seen_1=1, seen_2=1, seen_3=1, mixed=0, wrong=0, sent=7, handled=7, born=3, finished=3)\n"
        "counts[sys.argv[2]] = int(sys.argv[3])\n"
        "print(Soak(1, 1.0, [1.0], here, here, here, (5, 5), counts, 0).faults)\n"
    )
    argv = [sys.executable, "-c", program, str(BENCH), name, str(value)]
    assert subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip() == repr([fault])
