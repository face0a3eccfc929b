"""Clean rooms: which versions apt is told to leave out, and what rooms share while they are filled."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suture.compile.room import Room, _not_arriving


def test_versions_that_the_archive_has_no_more_are_read_from_what_apt_says() -> None:
    said = (
        "Err:1 http://archive/security bullseye-security/main amd64 librbd-dev amd64 14.2.21-1+deb11u3\n"
        "  404  Not Found\nE: Failed to fetch http://archive/pool/c/ceph/librbd-dev_14.2.21-1%2bdeb11u3_amd64.deb  "
        "404  Not Found [IP: 1.2.3.4 80]\nE: Failed to fetch "
        "http://archive/pool/c/ceph/librados-dev_14.2.21-1%2bdeb11u3_amd64.deb  404  Not Found [IP: 1.2.3.4 80]\n"
        "E: Failed to fetch http://archive/pool/x/x_1-1_all.deb  503  Service Unavailable\n"
    )
    assert _not_arriving(said) == ["14.2.21-1+deb11u3"]


def test_two_rooms_are_filled_at_a_time_and_take_turns_in_downloading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, scripts = threading.Barrier(2), []

    def enter(self: Room, script: str, **more: Any) -> str:
        both.wait(30)  # raises unless the other one is inside too
        scripts.append(script)
        return ""

    monkeypatch.setattr(Room, "enter", enter)
    archive: Any = SimpleNamespace(folder=tmp_path / "apt", lists=tmp_path, debs=tmp_path, sources_list=tmp_path)
    with ThreadPoolExecutor(2) as workers:
        fills = [workers.submit(Room(()).install, ["install", name], archive, tmp_path / name) for name in ("a", "b")]
        assert [f.result() for f in fills] == [None, None]
    for script in scripts:
        downloading, unpacking = (line for line in script.splitlines() if "apt-get" in line)
        assert downloading.startswith("flock ") and "--download-only" in downloading
        assert "--no-download" in unpacking and "flock" not in unpacking
