"""Files whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from suture import whole_file
from suture.agent import kept
from suture.agent.loop import AgentState


def test_a_value_comes_back_and_nothing_else_does(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    assert kept.read_value(path, AgentState) is None
    kept.write_value(path, AgentState(version=3))
    assert kept.read_value(path, AgentState) == AgentState(version=3)
    for damaged in (b"", b"{", b"[]", b'{"version": "3"}', b"\xff"):
        path.write_bytes(damaged)
        assert kept.read_value(path, AgentState) is None


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    whole_file.replace_durably(path, b"before")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        whole_file.replace_durably(path, b"after")
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["state.json"]
