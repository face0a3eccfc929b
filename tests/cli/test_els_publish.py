"""`suture els publish` on packages made up for it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from suture.els.shelf import BuiltShelf
from suture.report.els import BuiltFile, ElsGrade
from tests.els.made_up import report
from tests.els.repository_made import deb, key

SUTURE = Path(sys.executable).with_name("suture")


def kept(folder: Path, package: str, grade: ElsGrade) -> None:
    """A built package in a shelf, with one binary package."""
    found = report(folder / "built", grade, package)
    made = deb(folder, package, found.made, {f"usr/share/{package}": "text"})
    made.rename(Path(found.folder, made.name))
    BuiltShelf(folder / "built").keep(replace(found, files=(BuiltFile(made.name, 1, "0"),)))


def publish(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    options = ["--output", "built", "--repository", "repository", "--gnupg-home", "home"]
    argv: list[str | Path] = [SUTURE, "els", "publish", *options, "--key", "els@test.invalid", *words]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)


def test_what_needs_a_look_waits_for_a_word_and_what_is_safe_goes_out(tmp_path: Path) -> None:
    key(tmp_path / "home")
    kept(tmp_path, "aa", ElsGrade.SAFE)
    kept(tmp_path, "bb", ElsGrade.REVIEW)
    done = publish(tmp_path, "--json")
    assert done.returncode == 5, done.stderr
    rows = {p["package"]: p for p in json.loads(done.stdout)["packages"]}
    assert (rows["aa"]["state"], rows["bb"]["state"]) == ("published", "waiting")
    listed = (tmp_path / "repository/dists/bullseye-suture/main/binary-amd64/Packages").read_text()
    assert "Package: aa\n" in listed and "Package: bb\n" not in listed
    assert [p.name for p in (tmp_path / "repository/osv").iterdir()] == ["SUTURE-ELS-aa-1.0-1+deb11u1+suture1.json"]

    done = publish(tmp_path, "--accept", "bb=1.0-1+deb11u1+suture1")
    assert done.returncode == 0, done.stderr
    assert "URIs: " in done.stdout and "there already" in done.stdout
    listed = (tmp_path / "repository/dists/bullseye-suture/main/binary-amd64/Packages").read_text()
    assert "Package: aa\n" in listed and "Package: bb\n" in listed
    assert json.loads((tmp_path / "built/bb/1.0-1+deb11u1+suture1/accepted.json").read_text())["who"]


def test_without_a_key_nothing_is_published_and_the_remedy_makes_one(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    done = publish(tmp_path)
    assert done.returncode == 10 and "--quick-generate-key" in done.stderr
    assert not (tmp_path / "repository").exists()
