"""`suture els publish` on packages made up for it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path

from suture.els.shelf import BuiltShelf
from suture.report.document import BackportReport
from suture.report.els import (
    BackportedFile,
    BackportedFix,
    BackportFinding,
    BuiltFile,
    CarriedBy,
    ElsGrade,
    FixState,
    Objection,
)
from tests.command import suture
from tests.els.made_up import report
from tests.els.repository_made import deb, key


def kept(folder: Path, package: str, grade: ElsGrade) -> None:
    """A built package in a shelf, with one binary package and a source package."""
    found = report(folder / "built", grade, package)
    made = deb(folder, package, found.made, {f"usr/share/{package}": "text"})
    made.rename(Path(found.folder, made.name))
    text = f"Format: 3.0 (quilt)\nSource: {package}\nBinary: {package}\nVersion: {found.made}\nFiles:\n"
    Path(found.folder, f"{package}.dsc").write_text(text)
    source = BuiltFile(f"{package}.dsc", len(text), hashlib.sha256(text.encode()).hexdigest())
    BuiltShelf(folder / "built").keep(replace(found, files=(BuiltFile(made.name, 1, "0"), source)))


def publish(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    options = ["--output", "built", "--repository", "repository", "--gnupg-home", "home"]
    return suture("els", "publish", *options, "--key", "els@test.invalid", *words, cwd=folder)


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

    assert [p.name for p in (tmp_path / "repository/csaf").iterdir()] == ["suture-els-aa-1_0-1+deb11u1+suture1.json"]
    assert ">aa</" in (tmp_path / "repository/oval/bullseye-suture.xml").read_text()
    assert (tmp_path / "repository/bullseye-suture.rss").read_text().count("<item>") == 1

    done = publish(tmp_path, "--accept", "bb=1.0-1+deb11u1+suture1")
    assert done.returncode == 0, done.stderr
    assert "URIs: " in done.stdout and "there already" in done.stdout
    listed = (tmp_path / "repository/dists/bullseye-suture/main/binary-amd64/Packages").read_text()
    assert "Package: aa\n" in listed and "Package: bb\n" in listed
    assert json.loads((tmp_path / "built/bb/1.0-1+deb11u1+suture1/accepted.json").read_text())["who"]


def test_status_tells_where_each_hole_stands_from_what_lies_on_disk(tmp_path: Path) -> None:
    key(tmp_path / "home")
    kept(tmp_path, "aa", ElsGrade.SAFE)
    kept(tmp_path, "bb", ElsGrade.REVIEW)
    shelf = BuiltShelf(tmp_path / "built")
    missing = BackportFinding(Objection.ABSENT, "b.c", "", "the old release has no such file")
    for name in ("aa", "bb"):
        rows = (
            BackportedFix(
                ("CVE-2026-1111",), ("p",), FixState.WHOLE, "", (BackportedFile("a.c", CarriedBy.PATCH),), (), ()
            ),
            BackportedFix(("CVE-2026-3333",), ("q",), FixState.HANDED_OVER, "", (), (missing,), ()),
        )
        shelf.keep_carried(BackportReport("2026-11-28T05:00:00Z", 0, name, "1.0-1+deb11u1", "1.1-1+deb12u1", rows))

    def states() -> list[str]:
        done = suture("els", "status", "--json", "--output", "built", "--repository", "repository", cwd=tmp_path)
        assert done.returncode == 5, done.stderr
        return [h["state"] for p in json.loads(done.stdout)["packages"] for h in p["holes"]]

    doubt = "not affected, not proved"
    assert states() == ["built", doubt, "waiting for a person", doubt]
    assert publish(tmp_path).returncode == 5
    assert states() == ["fixed in a package", doubt, "waiting for a person", doubt]


def test_a_package_that_needs_a_look_is_not_made_live_either(tmp_path: Path) -> None:
    kept(tmp_path, "bb", ElsGrade.REVIEW)
    done = suture("els", "live", "bb", "--output", "built", cwd=tmp_path)
    assert done.returncode == 3 and "--accept bb=1.0-1+deb11u1+suture1" in done.stderr
    assert not (tmp_path / "patches").exists()


def test_without_a_key_nothing_is_published_and_the_remedy_makes_one(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    done = publish(tmp_path)
    assert done.returncode == 10 and "--quick-generate-key" in done.stderr
    assert not (tmp_path / "repository").exists()
