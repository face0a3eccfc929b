"""A fleet on one machine: a fix goes out in stages with no failed request; a bad patch is stopped and taken back."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.archive

CHECKOUT = Path(__file__).parents[2]
HOSTS = 16
GOOD = [
    "signed and published in the feed", "every host has fetched it, and waits", "an operator asks for the rollout",
    "another person approves it", "stage canaries begins", f"in force on 3 of {HOSTS} hosts", "stage a quarter begins",
    f"in force on 4 of {HOSTS} hosts", "stage all begins", f"in force on {HOSTS} of {HOSTS} hosts",
    "the rollout is done",
]  # fmt: skip
BAD = [
    "the bad patch is signed and published", "an operator asks for the rollout", "another person approves it",
    "in force on the canaries", "a process dies of it on one canary", "the server stops the rollout",
    "out of every canary",
]  # fmt: skip


@pytest.mark.slow
def test_a_fix_reaches_all_hosts_in_stages_and_a_bad_patch_no_further_than_the_canaries(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "demo_files.demo", "--fleet", str(HOSTS), "--pictures", str(tmp_path)]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.findall(r"HOLE (OPEN|CLOSED) on (\d+) of (\d+) hosts", done.stdout)
    every = (str(HOSTS), str(HOSTS))
    assert told == [("OPEN", *every), ("CLOSED", *every), ("CLOSED", *every)]
    assert f"WIDE PICTURE SERVED on {HOSTS} of {HOSTS} hosts" in done.stdout
    assert f"Of {HOSTS} hosts, 3 ever had it" in done.stdout
    assert "suspects the newer of its two patches" in done.stdout
    rows = re.findall(r"^ +(\d+\.\d\d) s  (.+)$", done.stdout, re.M)
    assert [name for _, name in rows] == GOOD + BAD
    for moments in (rows[: len(GOOD)], rows[len(GOOD) :]):
        times = [float(at) for at, _ in moments]
        assert times == sorted(times) and times[0] == 0
    found = re.search(r"^Clients: served (\d+), failed 0;", done.stdout, re.M)
    assert found is not None and int(found[1]) > 10 * HOSTS
    pictures = sorted(tmp_path.glob("*.png"))
    assert len(pictures) == 12 and all(p.stat().st_size > 10_000 for p in pictures)
