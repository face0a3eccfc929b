"""The indexes of a release are brought up to date once a day, and nobody waits for them who does not have to."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.source import archive as module
from suture.source import cache, mirror
from suture.source.archive import Archive


@pytest.fixture
def updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path))
    monkeypatch.setattr(mirror, "sources_list", lambda found, release: f"deb {release}")
    monkeypatch.setattr(mirror, "find", lambda: None)
    monkeypatch.setattr(mirror, "configuration", lambda folder: "")
    monkeypatch.setattr(module, "run", lambda words, env: said.append(words[-1]))
    return said


def test_fresh_indexes_are_used_while_another_holds_their_lock(tmp_path: Path, updates: list[str]) -> None:
    first = Archive("bookworm")
    assert first._ready == Archive("bookworm")._ready and updates == ["update", "gencaches"]
    with cache.locked(first.folder):
        assert Archive("bookworm").lists == tmp_path / "apt/bookworm/state/lists"
    assert updates == ["update", "gencaches"]


def test_an_update_that_fails_leaves_nothing_that_counts_as_fresh(
    updates: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _ = Archive("bookworm")._ready
    monkeypatch.setattr(mirror, "sources_list", lambda found, release: "deb another")

    def fail(words: list[str], env: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(module, "run", fail)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            _ = Archive("bookworm")._ready
