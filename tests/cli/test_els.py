"""`suture els` on the archive's own sources."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from suture.source.archive import archive_for
from tests.command import suture

pytestmark = pytest.mark.archive

OLD = "2.2.10-2+deb11u5"
VERSIONS = ("expat", "--version", OLD, "--from-version", "2.5.0-1+deb12u2")


def els(action: str, *words: str) -> subprocess.CompletedProcess[str]:
    return suture("els", action, *VERSIONS, *words)


def test_a_plan_lists_what_the_old_release_lacks() -> None:
    done = els("plan", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    cves = {cve for fix in found["fixes"] for cve in fix["cves"]}
    assert found["kind"] == "els-plan" and {"CVE-2024-45492", "CVE-2024-8176"} <= cves
    assert "CVE-2022-25235" not in cves  # in both


def test_a_carried_fix_applies_to_the_old_source_and_one_that_does_not_fit_is_handed_over(tmp_path: Path) -> None:
    done = els("backport", "--fix", "CVE-2024-45492", "--fix", "CVE-2024-8176", "--output", str(tmp_path), "--json")
    assert done.returncode == 5, done.stderr
    whole, left = json.loads(done.stdout)["fixes"]
    assert (whole["cves"], whole["state"], left["state"]) == (["CVE-2024-45492"], "whole", "handed over")
    assert {f["kind"] for f in left["findings"]} >= {"conflict"}
    assert [p.name for p in tmp_path.iterdir()] == ["CVE-2024-45492.patch"]
    tree = archive_for("expat", OLD).source("expat", OLD).tree
    dry = ["patch", "--strip=1", "--fuzz=0", "--dry-run", "--batch", f"--input={whole['path']}"]
    assert subprocess.run(dry, cwd=tree, capture_output=True, check=False).returncode == 0


def test_no_fix_and_one_that_is_not_there_are_said() -> None:
    assert els("backport").returncode == 2
    done = els("backport", "--fix", "CVE-1999-0001")
    assert done.returncode == 3 and "no patch that says it fixes CVE-1999-0001" in done.stderr
