"""An update of the archive for a package without a recipe becomes a patch that was tried, with one command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from suture.patch.file import read_patch

pytestmark = [pytest.mark.archive, pytest.mark.slow]


def watch(output: Path, *words: str) -> Any:
    command = [sys.executable, "-m", "suture.cli", "watch", "--once", "--json", f"--output={output}", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode in (0, 5), done.stdout
    found: Any = json.loads(done.stdout)
    return found


def test_an_update_becomes_a_tried_patch_once(tmp_path: Path) -> None:
    (found,) = watch(tmp_path, "--package=libarchive=3.6.2-1+deb12u4")["conversions"]
    assert found["problem"] == "" and found["way"] == "its own rules, recorded"
    assert {c["closing"] for c in found["cves"]} == {"closed live"}
    (patch,) = found["patches"]
    assert patch["trial"] == "passed" and Path(patch["path"]).is_file()
    assert any("bsdtar" in command for command in patch["tried"])
    wires = read_patch(Path(patch["path"])).manifest.tripwires
    assert patch["tripwires"] == len(wires) > 0 and (patch["noisy"], patch["unwired"]) == ({}, "")
    assert watch(tmp_path, "--package=libarchive=3.6.2-1+deb12u4")["conversions"] == []
