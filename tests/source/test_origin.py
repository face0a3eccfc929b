"""Which package ships a binary, as dpkg says; what cannot be told by a build-id."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from suture.error import NotFound, Refused, Unsupported
from suture.source.origin import build_id_of, check_binary, codename, identify


def linked(path: Path, *flags: str) -> Path:
    subprocess.run(["gcc", *flags, "-x", "c", "-o", str(path), "-"], input=b"int main(){return 0;}", check=True)
    return path


@pytest.mark.parametrize("path", ["/usr/bin/dpkg", "/bin/dash"])
def test_a_binary_of_this_host_is_of_the_package_that_dpkg_names(path: str) -> None:
    found = identify(Path(path))
    asked = ["dpkg-query", "--show", "--showformat=${Version}", Path(path).name]
    version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert (found.package, found.version, found.file) == (Path(path).name, version, Path(path))
    assert found.source == found.package and found.source_version == version


def test_a_path_that_dpkg_does_not_know_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="belongs to no package"):
        identify(linked(tmp_path / "own"))
    with pytest.raises(NotFound, match="is no path that a package installs"):
        identify(Path("/usr/bin/../bin/dpkg"))


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("-Wl,--build-id=none", "no build-id"),
        ("-Wl,--build-id=0x0123", "a build-id of 2 bytes"),
        ("-Wl,--build-id=0x0000000000000000", "which others may have too"),
    ],
)
def test_a_binary_that_no_build_id_tells_from_others_is_refused(tmp_path: Path, flag: str, says: str) -> None:
    with pytest.raises(Refused, match=says):
        check_binary(linked(tmp_path / "x", flag))


def test_a_binary_has_to_have_section_headers(tmp_path: Path) -> None:
    path = linked(tmp_path / "x", "-Wl,--build-id")
    check_binary(path)
    data = bytearray(path.read_bytes())
    data[0x28:0x30] = bytes(8)  # e_shoff
    data[0x3C:0x40] = bytes(4)  # e_shnum, e_shstrndx
    path.write_bytes(data)
    with pytest.raises(Unsupported, match="no section headers"):
        check_binary(path)


def test_what_is_no_elf_file_has_no_build_id(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("#!/bin/sh\n")
    assert build_id_of(tmp_path / "text") is None and build_id_of(tmp_path / "none") is None
    found = build_id_of(linked(tmp_path / "x", "-Wl,--build-id=0x0123456789abcdef"))
    assert found == "0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "name"),
    [('VERSION_CODENAME="bookworm"\n', "bookworm"), ("VERSION_CODENAME=noble\n", None), ("", None)],
)
def test_the_release_of_a_root(tmp_path: Path, text: str, name: str | None) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/os-release").write_text(text)
    assert codename(tmp_path) == name
    assert codename(tmp_path / "none") is None
