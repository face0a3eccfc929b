"""A source package with a fix, unpacked again by dpkg-source."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from suture.els.carry import Carrier
from suture.els.need import fixed
from suture.els.source_package import CarriedFix, check_format, entry, write
from suture.error import Unsupported
from suture.source.archive import SourceVersion
from tests.els.made_up import package

OLD = "int f(int n)\n{\n  return n;\n}\n"
NEW = "int f(int n)\n{\n  if (n < 0)\n    return 0;\n  return n;\n}\n"
WHEN = " -- x <x@x>  Thu, 01 Jan 2026 00:00:00 +0000\n"


def made(root: Path) -> tuple[SourceVersion, SourceVersion, CarriedFix]:
    old = package(root, "1.0-1+deb11u1", {"a.c": OLD})
    newer = package(root, "1.1-1+deb12u1", {"a.c": OLD}, [("CVE-2026-1111.patch", "x", {"a.c": NEW})])
    for source in (old, newer):
        (source.tree / "debian/source").mkdir()
        (source.tree / "debian/source/format").write_text("3.0 (quilt)\n")
        (source.tree / "debian/control").write_text(
            "Source: x\nMaintainer: x <x@x>\n\nPackage: x\nArchitecture: all\nDescription: x\n"
        )
        changelog = source.tree / "debian/changelog"
        changelog.write_text(changelog.read_text() + "\n" + WHEN)
    need = fixed(newer)[0]
    return old, newer, CarriedFix(need, Carrier(old, newer).carry(need))


def test_dpkg_source_takes_it_and_gives_the_fixed_code_back(tmp_path: Path) -> None:
    old, newer, fix = made(tmp_path)
    pristine = tmp_path / "x-1.0"
    subprocess.run(["cp", "-r", str(old.tree), str(pristine)], check=True)
    subprocess.run(["rm", "-r", str(pristine / "debian"), str(pristine / ".pc")], check=False)
    orig = old.dsc.parent / "x_1.0.orig.tar.xz"
    subprocess.run(["tar", "-cJf", str(orig), "-C", str(tmp_path), "x-1.0"], check=True)
    folder = tmp_path / "built"
    folder.mkdir()
    write(folder, old, newer, (fix,), "1.0-1+deb11u1+suture1", "a <a@b>")
    (folder / "tree").rename(folder / "x-1.0")
    subprocess.run(["dpkg-source", "--build", "x-1.0"], cwd=folder, check=True, capture_output=True)
    extract = ["dpkg-source", "--extract", "x_1.0-1+deb11u1+suture1.dsc", "again"]
    subprocess.run(extract, cwd=folder, check=True, capture_output=True)
    assert (folder / "again/a.c").read_text() == NEW
    said = (folder / "again/debian/patches/suture-CVE-2026-1111.patch").read_text()
    assert "\nOrigin: backport, x 1.1-1+deb12u1, CVE-2026-1111.patch\n" in said


def test_the_changelog_names_what_was_fixed_and_from_where_at_a_time_that_does_not_move(tmp_path: Path) -> None:
    old, newer, fix = made(tmp_path)
    text = entry(old, newer, (fix,), "1.0-1+deb11u1+suture1", "a <a@b>")
    assert text.startswith("x (1.0-1+deb11u1+suture1) bookworm-suture; urgency=medium\n")
    assert "CVE-2026-1111: backported from x 1.1-1+deb12u1 (CVE-2026-1111.patch)" in " ".join(text.split())
    assert text == entry(old, newer, (fix,), "1.0-1+deb11u1+suture1", "a <a@b>")
    (tmp_path / "log").write_text(text)
    shown = ["dpkg-parsechangelog", f"--file={tmp_path / 'log'}", "--show-field", "Timestamp"]
    assert subprocess.run(shown, capture_output=True, text=True, check=True).stdout == "1767225601\n"


def test_a_source_without_a_series_is_not_handled(tmp_path: Path) -> None:
    old, _, _ = made(tmp_path)
    (old.tree / "debian/source/format").write_text("1.0\n")
    with pytest.raises(Unsupported, match=r"format 1\.0"):
        check_format(old)
