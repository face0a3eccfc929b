"""Live patches in QEMU under a guest that watches itself: a short run of bench/qemu_guest."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.archive, pytest.mark.slow]

BENCH = Path(__file__).resolve().parents[2] / "bench" / "qemu_guest.py"
NAMES = ("without patches", "patches come and go", "all patches in force")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("qemu")
    words = ["--rounds=3", "--seconds=8", f"--into={folder}", f"--page={folder / 'page.md'}"]
    done = subprocess.run([sys.executable, str(BENCH), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((folder / "qemu_guest.json").read_text())
    found["page"] = (folder / "page.md").read_text()
    return found


def test_every_fix_becomes_a_whole_patch(record: dict[str, Any]) -> None:
    new, old = record["data"]["made"]["new"], record["data"]["made"]["old"]
    assert [len(m["patches"]) for m in (*new, *old)] == [1] * 9
    assert all(m["patches"][0]["safe"] and not m["refused"] for m in (*new, *old))
    cves = {c for m in old for c in m["patches"][0]["cves"]}
    assert {"CVE-2024-3447", "CVE-2023-6693", "CVE-2023-5088", "CVE-2023-1544"} <= cves


@pytest.mark.parametrize("which", ["new", "old"])
def test_the_guest_notices_nothing(record: dict[str, Any], which: str) -> None:
    data = record["data"][which]
    assert data["faults"] == []
    assert set(data["phases"]) == set(NAMES)
    for name in NAMES:
        first, last = data["phases"][name][0], data["phases"][name][-1]
        assert last["bad"] == 0
        assert last["reads"] + last["writes"] > first["reads"] + first["writes"], name
        assert all(a > b for a, b in zip(last["answered"], first["answered"], strict=True)), name
    for row in data["switches"]:
        assert row["switched"] == 7 and row["busy"] == 0, row
    assert max(row["coroutines"] for row in data["switches"]) > 10


def test_the_hole_is_there_without_the_patch_and_closed_with_it(record: dict[str, Any]) -> None:
    assert record["data"]["trigger"] == {"without": True, "with": False, "reverted": True}


def test_the_page_tells_what_was_measured(record: dict[str, Any]) -> None:
    for told in ("CVE-2024-3447", "qcow2_co_preadv_part", "largest gap", "does not take it", "qemu_coroutine_switch"):
        assert told in record["page"]
    assert "/tmp" not in record["page"]
