"""A file is the old one or the new one, and nothing is left beside it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from suture import whole_file

WAYS = [whole_file.replace, whole_file.replace_durably]


@pytest.mark.parametrize("replace", WAYS)
def test_the_new_one_takes_the_place_of_the_old_one(replace: Callable[[Path, bytes], None], tmp_path: Path) -> None:
    path = tmp_path / "file"
    for data in (b"old", b"new and longer", b""):
        replace(path, data)
        assert path.read_bytes() == data and [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("replace", WAYS)
def test_what_fails_leaves_the_old_one(
    replace: Callable[[Path, bytes], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    replace(path, b"old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        replace(path, b"new")
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_folder_is_made_for_a_file_that_need_not_be_on_the_disk_yet(tmp_path: Path) -> None:
    whole_file.replace(tmp_path / "a/b/file", b"x")
    assert (tmp_path / "a/b/file").read_bytes() == b"x"
    with pytest.raises(FileNotFoundError):
        whole_file.replace_durably(tmp_path / "c/file", b"x")
