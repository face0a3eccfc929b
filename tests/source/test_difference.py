"""Fixes out of source packages that are made up here; patch(1) is the judge."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from suture.error import NotFound, Refused
from suture.source.archive import SourceVersion, named_release, upstream_of
from suture.source.difference import between, fixes_between, from_series, series, siblings


def package(folder: Path, version: str, files: dict[str, bytes], log: str) -> SourceVersion:
    tree = folder / version
    entry = " -- A B <a@b>  Mon, 01 Jan 2024 00:00:00 +0000\n\n"
    for name, data in {**files, "debian/changelog": (log.replace("@", entry)).encode()}.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(data)
    return SourceVersion("pkg", version, "bookworm", tree / "x.dsc", tree)


FIRST = "pkg (1-1) x; urgency=low\n\n  * CVE-2020-1111\n\n@"
SECOND = "pkg (1-2) x; urgency=low\n\n  * CVE-2021-2222, CVE-2021-3333\n\n@" + FIRST


def test_the_difference_of_two_versions_applies_and_names_the_new_cves(tmp_path: Path) -> None:
    old = package(tmp_path, "1-1", {"lib/a.c": b"int a;\n\xe9\x0c\r\n", "gone.c": b"x\n", "same.h": b"s\n"}, FIRST)
    new = package(tmp_path, "1-2", {"lib/a.c": b"int b;\n\xe9\x0c\r\n", "new.c": b"n\n", "same.h": b"s\n"}, SECOND)
    fix = between(old, new)
    assert {(f.path, f.creates, f.deletes) for f in fix.files} == {
        ("lib/a.c", False, False),
        ("gone.c", False, True),
        ("new.c", True, False),
    }
    assert fix.cves == ("CVE-2021-2222", "CVE-2021-3333")
    text = "".join(f.text for f in fix.files).encode(errors="surrogateescape")
    subprocess.run(["patch", "--strip=1", "--fuzz=0"], cwd=old.tree, input=text, check=True, capture_output=True)
    assert (old.tree / "lib/a.c").read_bytes() == (new.tree / "lib/a.c").read_bytes()
    assert (old.tree / "new.c").exists() and not (old.tree / "gone.c").exists()


def test_the_difference_is_narrowed_and_nothing_is_refused(tmp_path: Path) -> None:
    old = package(tmp_path, "1-1", {"lib/a.c": b"1\n", "b.c": b"1\n"}, FIRST)
    new = package(tmp_path, "1-2", {"lib/a.c": b"2\n", "b.c": b"2\n"}, FIRST)
    assert [f.path for f in between(old, new, ["lib"]).files] == ["lib/a.c"]
    assert [f.path for f in between(old, new, ["*.c", "x"]).files] == ["b.c", "lib/a.c"]
    with pytest.raises(Refused):
        between(old, old)


def test_a_patch_of_the_series_is_found_with_or_without_its_suffix(tmp_path: Path) -> None:
    diff = b"--- a/b.c\n+++ b/b.c\n@@ -1 +1 @@\n-1\n+2\n"
    files = {
        "b.c": b"2\n",
        "debian/patches/series": b"# c\none.patch -p1\n\nsub/two.patch\n",
        "debian/patches/sub/two.patch": diff,
    }
    source = package(tmp_path, "1-1", files, FIRST)
    assert series(source) == ("one.patch", "sub/two.patch")
    for name in ("sub/two.patch", "two.patch", "two"):
        assert from_series(source, name).files[0].path == "b.c"
    with pytest.raises(NotFound) as raised:
        from_series(source, "three")
    assert "one.patch" in raised.value.remedy


def test_versions_tell_their_upstream_and_release() -> None:
    assert upstream_of("1:1.2.13.dfsg-1") == "1.2.13.dfsg"
    assert upstream_of("2.36-9+deb12u7") == "2.36"
    assert upstream_of("5") == "5"
    assert named_release("2.9.14+dfsg-1.3~deb12u4") == "bookworm"
    assert named_release("3.5.1-1+deb13u2") == "trixie"


def diff(old: str, new: str, name: str = "b.c") -> bytes:
    return f"--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@\n-{old}\n+{new}\n".encode()


def test_a_newer_series_that_only_adds_patches_is_told_apart_by_patch(tmp_path: Path) -> None:
    """Each fix has its own CVE; where the patches do not make the whole difference, it is one."""
    old_patches = {"debian/patches/one": diff("0", "1"), "debian/patches/series": b"one\n"}
    more = {
        "debian/patches/CVE-2021-2222.patch": diff("1", "2"),
        "debian/patches/CVE-2021-3333.patch": diff("1", "2", "c.c"),
        "debian/patches/series": b"one\nCVE-2021-2222.patch\nCVE-2021-3333.patch\n",
    }
    old = package(tmp_path, "1-1", {"b.c": b"1\n", "c.c": b"1\n", **old_patches}, FIRST)
    new = package(tmp_path, "1-2", {"b.c": b"2\n", "c.c": b"2\n", **old_patches, **more}, SECOND)
    assert [(f.name, f.cves) for f in fixes_between(old, new)] == [
        ("CVE-2021-2222.patch", ("CVE-2021-2222",)),
        ("CVE-2021-3333.patch", ("CVE-2021-3333",)),
    ]
    changed = {
        "b.c": b"2\n",
        "c.c": b"2\n",
        "e.c": b"1\n",
        **old_patches,
        **more,
        "debian/patches/one": diff("0", "x", "e.c"),
    }
    log = SECOND.replace("CVE-2021-3333", "CVE-2021-3333, CVE-2021-4444")
    other = package(tmp_path, "1-4", changed, log)
    assert [f.cves for f in fixes_between(old, other)] == [("CVE-2021-4444",), ("CVE-2021-2222",), ("CVE-2021-3333",)]
    assert [f.path for f in fixes_between(old, other)[0].files] == ["e.c"], (
        "what a changed older patch makes of the tree"
    )
    for files in ({"b.c": b"3\n"}, {"d.c": b"new\n"}):
        other = package(tmp_path, "1-3", {"b.c": b"2\n", "c.c": b"2\n", **old_patches, **more, **files}, SECOND)
        assert [f.cves for f in fixes_between(old, other)] == [("CVE-2021-2222", "CVE-2021-3333")]
        (other.tree / "d.c").unlink(missing_ok=True)


def test_other_parts_of_a_fix_in_a_series_are_found_and_its_tests_are_none(tmp_path: Path) -> None:
    names = ("CVE-2021-2222-1.patch", "CVE-2021-2222-2.patch", "CVE-2021-2222-test.patch", "CVE-2021-3333.patch")
    files = {f"debian/patches/{n}": diff("1", "2") for n in names}
    source = package(tmp_path, "1-1", {**files, "debian/patches/series": "\n".join(names).encode()}, FIRST)
    old = package(tmp_path, "1-0", {}, FIRST)
    assert siblings(old, source, names[0], "CVE-2021-2222") == (names[1],)
    assert siblings(old, source, names[3], "CVE-2021-3333") == ()


@pytest.mark.parametrize(("text", "left"), [(diff("1", "2"), ()), (diff("1", "3"), ("CVE-2021-2222.patch",))])
def test_a_part_that_the_older_version_has_already_is_not_missing(
    tmp_path: Path, text: bytes, left: tuple[str, ...]
) -> None:
    """qemu of Debian 11 had CVE-2023-1544.patch, and got a second patch for it later."""
    names = ("CVE-2021-2222.patch", "CVE-2021-2222-0001.patch")
    new_files = {f"debian/patches/{n}": diff("1", "2") for n in names}
    new = package(tmp_path, "1-2", {**new_files, "debian/patches/series": "\n".join(names).encode()}, SECOND)
    old_files = {f"debian/patches/{names[0]}": text, "debian/patches/series": names[0].encode()}
    old = package(tmp_path, "1-1", old_files, FIRST)
    assert siblings(old, new, names[1], "CVE-2021-2222") == left
