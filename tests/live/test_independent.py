"""A patch of an update is made again from its manifest alone, in another chroot with nothing from the first one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.archive, pytest.mark.slow]


def suture(*words: str, cache: Path | None = None) -> str:
    own = {"SUTURE_CACHE": str(cache)} if cache else {}
    command = [sys.executable, "-m", "suture.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **own})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_another_chroot_makes_the_same_bytes(tmp_path: Path) -> None:
    output, elsewhere = tmp_path / "patches", tmp_path / "elsewhere"
    words = ("--release=bullseye", "--package=tinyproxy=1.10.0-5", f"--output={output}")
    suture("watch", "--once", *words)
    (patch,) = output.rglob("*.suture.o")
    told = suture("verify", str(patch), cache=elsewhere)
    assert (elsewhere / "room/bullseye/usr/bin/dpkg").is_file(), "nothing of the first chroot is at hand"
    assert f"the same {patch.stat().st_size} bytes" in told
