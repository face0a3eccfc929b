"""Binary packages compiled and packed here, taken apart and compared."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from suture.els.comparison import MeantChange, UnpackedPackages, compared, outside, unpacked

SOURCE = "int helper(int x) {{ return x {sign} 1; }}\n{more}\nint other(int x) {{ return helper(x) * 3; }}\n"


def packed(folder: Path, sign: str, more: str = "", flags: Sequence[str] = (), data: str = "same") -> UnpackedPackages:
    """A library, a static library and a document as the package libx, unpacked again."""
    root = folder / "root"
    (root / "DEBIAN").mkdir(parents=True)
    said = "Package: libx\nVersion: 1\nArchitecture: amd64\nMaintainer: x <x@x>\nDescription: x\n"
    (root / "DEBIAN/control").write_text(said)
    (root / "x.c").write_text(SOURCE.format(sign=sign, more=more))
    compiler = ["gcc", "-O1", "-fPIC", "-fno-inline", *flags]
    subprocess.run([*compiler, "-shared", "-Wl,-soname,libx.so.1", "-o", "libx.so.1", "x.c"], cwd=root, check=True)
    subprocess.run([*compiler, "-c", "-o", "x.o", "x.c"], cwd=root, check=True)
    subprocess.run(["ar", "rcD", "libx.a", "x.o"], cwd=root, check=True)
    (root / "x.c").unlink()
    (root / "x.o").unlink()
    (root / "readme").write_text(data)
    deb = folder / "libx_1_amd64.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "--build", str(root), str(deb)], check=True, capture_output=True)
    return unpacked((deb,), folder / "unpacked")


def test_only_the_function_that_changes_is_named_and_one_that_is_not_meant_is_said(tmp_path: Path) -> None:
    old, new = packed(tmp_path / "old", "+"), packed(tmp_path / "new", "-")
    rows = compared(old, new, MeantChange(frozenset({"helper"})))
    assert {(r.file, r.what, r.expected) for r in rows} == {
        ("libx.so.1", "helper changes", True),
        ("libx.a", "helper changes", True),
    }
    assert {r.expected for r in compared(old, new, MeantChange(frozenset({"another"})))} == {False}
    assert compared(old, old, MeantChange()) == ()


def test_files_interface_and_data_are_compared(tmp_path: Path) -> None:
    old = packed(tmp_path / "old", "+")
    new = packed(tmp_path / "new", "+", "int brought(void) { return 7; }", ["-Wl,-soname,libx.so.2"], data="other")
    (new.roots["libx"] / "more").write_text("")
    kinds = {(r.file, r.kind.value) for r in compared(old, new, MeantChange(frozenset({"brought"})))}
    assert {("libx.so.1", "symbol"), ("libx.so.1", "function"), ("readme", "data"), ("more", "file")} <= kinds
    assert {(r.file, r.kind.value) for r in outside(old, new)} == {("libx.so.1", "symbol"), ("more", "file")}
