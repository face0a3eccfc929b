"""Addresses of the archive out of apt sources in all their forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.error import NotFound, Unsupported
from suture.source import mirror


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUTURE_MIRROR", raising=False)
    monkeypatch.delenv("SUTURE_SNAPSHOT", raising=False)


def etc(folder: Path, **files: str) -> Path:
    (folder / "sources.list.d").mkdir()
    for name, text in files.items():
        (folder / name.replace("__", "/").replace("_", ".")).write_text(text)
    return folder


def test_deb822_sources_give_both_archives_and_the_keyring(tmp_path: Path) -> None:
    text = (
        "Types: deb\n# a comment\nURIs: http://a.example/debian/\nSuites: bookworm bookworm-updates\n"
        "Signed-By: /k.gpg\n\nTypes: deb\nURIs: http://s.example/sec\nSuites: bookworm-security\n"
    )
    (folder := etc(tmp_path)).joinpath("sources.list.d/debian.sources").write_text(text)
    found = mirror.find(folder)
    assert (found.main, found.security, found.keyring) == (
        "http://a.example/debian",
        "http://s.example/sec",
        Path("/k.gpg"),
    )


def test_one_line_sources_give_the_archive_and_pass_over_others(tmp_path: Path) -> None:
    folder = etc(tmp_path)
    (folder / "sources.list").write_text(
        "# deb http://no.example/debian bookworm main\n"
        "deb https://other.example/apt cloud-sdk-bookworm main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://a.example/debian bookworm main\n"
    )
    found = mirror.find(folder)
    assert (found.main, found.security) == ("http://a.example/debian", "http://a.example/debian-security")


def test_no_archive_is_said_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as raised:
        mirror.find(etc(tmp_path))
    assert "SUTURE_MIRROR" in raised.value.remedy


def test_the_environment_overrides_and_adds_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUTURE_MIRROR", "http://m.example/d http://m.example/s")
    monkeypatch.setenv("SUTURE_SNAPSHOT", "http://old.example/d/2025 http://old.example/s/2025")
    text = mirror.sources_list(mirror.find(tmp_path), "bookworm")
    assert "http://m.example/s bookworm-security main" in text
    assert "check-valid-until=no] http://old.example/d/2025 bookworm main" in text
    assert text.count("deb-src ") == 6


def test_an_unknown_release_is_refused() -> None:
    with pytest.raises(Unsupported):
        mirror.sources_list(mirror.Mirror("http://m", "http://s", Path("/k")), "jammy")
