"""`suture els watch` on packages made up for it; clean rooms and conversions have stand-ins."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suture.cli.els import live, option
from suture.cli.main import main
from suture.convert import conversion, store
from suture.convert.result import Closing, Conversion, ConvertOutcome, CveResult, FixResult, PatchResult
from suture.els import package
from suture.els.package import BuiltPackage
from suture.els.package_build import PackageBuild
from suture.error import ExitCode, NotFound
from suture.report.els import PackageTests, TestsOutcome
from suture.source import archive
from tests.cli.test_feed import feed, patch, program, run
from tests.els import made_up
from tests.els.repository_made import deb, key

__all__ = ["feed", "patch", "program"]
A = "int f(int n)\n{\n    return n;\n}\n"
MADE = "1.0-1+deb11u0+suture1"


class _World:
    """What the verb finds outside: the two releases, a room that builds, a conversion that makes one patch."""

    def __init__(self, folder: Path, patch: Path) -> None:
        self.folder, self.patch, self.built, self.converted = folder, patch, 0, 0
        patches = [("CVE-2026-1111.patch", "x", {"a.c": A.replace("return n", "return n < 0 ? 0 : n")})]
        self.newer = made_up.package(folder, "1.1-1", {"a.c": A}, patches)
        self.old = replace(made_up.package(folder, "1.0-1", {"a.c": A}), release="bullseye")

    def newest(self, name: str, release: str, _: Any) -> Any:
        if name != "x":
            raise NotFound(f"no {name}", "name another")
        return self.old if release == "bullseye" else self.newer

    def make(self, _: Any, wish: Any, folder: Path, __: Any) -> BuiltPackage:
        self.built += 1
        folder.mkdir(parents=True)
        made = deb(self.folder, "x", MADE, {"usr/share/x": "text"})
        made.rename(folder / made.name)
        (folder / "x.dsc").write_text(f"Format: 3.0 (quilt)\nSource: x\nBinary: x\nVersion: {MADE}\nFiles:\n")
        tests = PackageTests(TestsOutcome.PASSED, {"PASS": 1}, {"PASS": 1}, "PASS 1")
        return BuiltPackage(MADE, PackageBuild(folder, True, ""), (), tests, (), (), (), {})

    def convert(self, update: Any, old: Any, plan: Any, folder: Path, *_: Any) -> Conversion:
        self.converted += 1
        shutil.copy(self.patch, folder)
        result = PatchResult("0" * 16, "answer", str(folder / self.patch.name), "answer", "", 1, "safe", "passed")
        fix = FixResult("x.patch", ("CVE-2026-1111",), ConvertOutcome.LIVE, {"answer": ("answer",)}, (), ())
        cves = (CveResult("CVE-2026-1111", Closing.LIVE, ()),)
        return Conversion(update.source, update.release, update.old, update.new, "", (fix,), cves, (result,), {})


def test_a_pass_builds_makes_live_stages_and_publishes_once(
    tmp_path: Path,
    feed: tuple[str | Path, ...],
    patch: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world = _World(tmp_path, patch)
    monkeypatch.setattr(option, "newest", world.newest)
    monkeypatch.setattr(package, "make", world.make)
    monkeypatch.setattr(conversion, "convert_fixes", world.convert)
    monkeypatch.setattr(archive.Archive, "source", lambda *_: world.old)
    key(tmp_path / "home")
    folders = [w for n in ("output", "patches", "repository") for w in (f"--{n}", str(tmp_path / n))]
    signed = ["--key", "els@test.invalid", "--gnupg-home", str(tmp_path / "home"), "--feed", str(feed[1])]
    words = ["els", "watch", "--once", "--package", "gone", "--package", "x", *folders, *signed, "--json"]
    for _ in range(2):
        assert main(words) == ExitCode.PARTIAL  # gone is not there, and keeps nothing back
        found = json.loads(capsys.readouterr().out)
        assert list(found["problems"]) == ["gone"]
        [hole] = found["packages"][0]["holes"]
        assert (hole["state"], hole["live"], hole["made"]) == ("fixed in a package", "closed live", MADE)
    assert (world.built, world.converted) == (1, 1)
    assert [o["trial"] for o in run("feed", "publish", *feed)["added"]] == ["passed"]
    assert store.is_done(live.update_of(next(iter(_builds(tmp_path)))), tmp_path / "patches")


def _builds(folder: Path) -> Any:
    from suture.els.shelf import BuiltShelf

    return BuiltShelf(folder / "output").builds()
