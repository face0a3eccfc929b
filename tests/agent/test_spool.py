"""Root reads a folder of somebody else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from suture.agent.spool import BadSpool, take


def test_a_plain_file_is_taken(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert take(tmp_path, "a", 5) == b"12345"
    with pytest.raises(BadSpool, match="longer than 4 bytes"):
        take(tmp_path, "a", 4)


def test_links_pipes_and_folders_are_not(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"1")
    (tmp_path / "link").symlink_to("real")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("link", "pipe", "folder", "none"):
        with pytest.raises(BadSpool):
            take(tmp_path, name, 5)
