"""Older compilers of a release."""

from __future__ import annotations

from pathlib import Path

from suture.compile.compiler import link, older

PACKAGES = ["gcc-10", "gcc-10-base", "gcc-9", "gcc-9-doc", "gcc-8", "gcc-11-cross", "gcc-mingw-w64", "gcc-11"]


def test_what_is_older_than_the_default_is_taken_the_newest_first() -> None:
    assert older("gcc (Debian 10.2.1-6) 10.2.1 20210110", PACKAGES) == ("9", "8")
    assert older("x86_64-linux-gnu-g++ (Debian 10.2.1-6) 10.2.1", PACKAGES) == ("9", "8")


def test_another_compiler_than_gcc_has_none_older() -> None:
    assert older("Debian clang version 14.0.6", PACKAGES) == ()


def test_plain_names_lead_to_the_version_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "x86_64-linux-gnu-gcc-9").touch()
    (tmp_path / "gcc-9").symlink_to("x86_64-linux-gnu-gcc-9")
    link(tmp_path, "9")
    assert (
        (tmp_path / "gcc").resolve()
        == (tmp_path / "x86_64-linux-gnu-gcc").resolve()
        == tmp_path / "x86_64-linux-gnu-gcc-9"
    )
    assert not (tmp_path / "g++").is_symlink()
