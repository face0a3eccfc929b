"""Paths inside a root: none leads out of it, and nothing but a regular file is opened to be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from suture.process.see.rooted import NotRegular, open_regular, open_root


@pytest.fixture
def root(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    folder = tmp_path / "root"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/name").write_text("inside")
    (tmp_path / "secret").write_text("outside")
    top = open_root(str(folder))
    yield folder, top
    os.close(top)


def content(top: int, path: str) -> str:
    with open(open_regular(top, path)) as file:
        return file.read()


def test_a_path_counts_from_the_root_however_it_is_written(root: tuple[Path, int]) -> None:
    folder, top = root
    (folder / "link").symlink_to("/etc/name")
    (folder / "up").symlink_to("../../../../etc/name")
    for path in ("/etc/name", "etc/name", "/../../etc/name", "link", "up"):
        assert content(top, path) == "inside"


def test_nothing_outside_is_reached(root: tuple[Path, int]) -> None:
    folder, top = root
    (folder / "out").symlink_to(f"{folder.parent}/secret")
    (folder / "magic").symlink_to("/proc/self/root")
    for path in ("../secret", "out", f"{folder.parent}/secret", "magic/etc/hostname"):
        with pytest.raises(OSError):
            open_regular(top, path)


def test_what_is_no_regular_file_is_not_opened(root: tuple[Path, int]) -> None:
    folder, top = root
    os.mkfifo(folder / "pipe")
    os.mknod(folder / "device", 0o600 | 0o020000, os.makedev(1, 3))
    for path in ("etc", "pipe", "device"):
        with pytest.raises(NotRegular):
            open_regular(top, path)


def test_no_descriptor_is_left_open(root: tuple[Path, int]) -> None:
    _, top = root
    before = os.listdir("/proc/self/fd")
    with pytest.raises(NotRegular):
        open_regular(top, "etc")
    os.close(open_regular(top, "etc/name"))
    assert os.listdir("/proc/self/fd") == before
