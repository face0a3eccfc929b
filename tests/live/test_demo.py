"""The demo itself: what it promises is what it shows. It ends with an error when the hole is not as it should be."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.archive

CHECKOUT = Path(__file__).parents[2]


def test_the_demo_closes_and_opens_the_hole_with_no_failed_request() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo_files.demo"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    holes = re.findall(r"HOLE (OPEN|CLOSED)", done.stdout)
    assert holes == ["OPEN", "OPEN", "CLOSED", "CLOSED", "OPEN", "OPEN"]  # two workers answer each time
    found = re.search(r"served (\d+), failed (\d+)", done.stdout)
    assert found is not None
    assert int(found[1]) > 50
    assert int(found[2]) == 0
    for step in ("prepare", "compile", "match", "make", "apply", "revert"):
        assert re.search(rf"^ +{step} +\d+\.\d\d$", done.stdout, re.M), step


def test_the_demo_says_so_when_the_hole_is_not_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A fix that fixes nothing: the same patch with a comment alone must make the demo fail."""
    from demo_files import demo

    nothing = tmp_path / "nothing.patch"
    nothing.write_text(
        "--- a/crypto/cms/cms_enc.c\n+++ b/crypto/cms/cms_enc.c\n@@ -20,3 +20,4 @@\n \n"
        " /* CMS EncryptedData Utilities */\n+/* nothing */\n \n"
    )
    monkeypatch.setattr(demo, "FIX", nothing)
    assert demo.main() == 1
