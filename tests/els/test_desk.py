"""What a person does with fixes that wait."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from suture.els.patching import difference
from suture.error import NotFound, Refused
from tests.els.desk_made import FIXED, OLD, desk

FITS = OLD.replace("int f(int n)\n{\n", "int f(int n)\n{\n    if (n < 0)\n        return 0;\n")


def test_a_patch_is_kept_and_tried_on_the_fixes_before_it(tmp_path: Path) -> None:
    found = desk(tmp_path)
    fix = found.fix("x", "CVE-2026-2222")
    assert fix.files[0].conflicts and "n + 2 - bias" in found.draft("x", fix)
    mine = difference("a.c", FITS, FITS.replace("return (n + 1);", "return n < 9 ? n + 2 : 0;"))
    assert found.keep("x", "CVE-2026-2222", mine) == ("a.c",)
    assert found.draft("x", fix) == mine == (tmp_path / "drafts/x/CVE-2026-2222.patch").read_text()
    with pytest.raises(Refused, match="does not apply"):
        found.keep("x", "CVE-2026-2222", difference("a.c", FIXED, FIXED.replace("- bias", "")))
    assert "- bias" in found.draft("x", fix)  # what a person wrote is not lost


def test_a_word_is_for_a_version_that_waits(tmp_path: Path) -> None:
    found = desk(tmp_path)
    [build] = found.waiting("x")
    for package, version in (("x", "9"), ("y", build.made), ("../x", build.made)):
        with pytest.raises(NotFound):
            found.accept(package, version)
    found.accept("x", build.made)
    assert found.waiting("x") == ()
    assert json.loads(Path(build.folder, "accepted.json").read_text())["who"] == "ann"


@pytest.mark.parametrize(("package", "fix"), [("y", "CVE-2026-1111"), ("x", "CVE-2026-9"), ("*", "CVE-2026-1111")])
def test_what_is_not_there_is_said(tmp_path: Path, package: str, fix: str) -> None:
    found = desk(tmp_path)
    for act in (lambda: found.fix(package, fix), lambda: found.keep(package, fix, "")):
        with pytest.raises(NotFound):
            act()
    assert not (tmp_path / "drafts").exists()
