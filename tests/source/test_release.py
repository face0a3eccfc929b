"""Which release a version belongs to: what the indexes list decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.command import CommandFailed
from suture.error import NotFound
from suture.source import archive
from suture.source.archive import Archive, BadName, SourceEntry, release_of

LISTED = {
    "bullseye": ["1:1.2.11-2"],
    "bookworm": ["1:1.2.11-2", "1:1.2.13-1", "1:1.2.13-1+deb12u3"],
    "trixie": ["1:1.2.13-1", "1:1.3-1"],
}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The releases whose indexes are read; of sid the mirror has none."""
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path))
    found: list[str] = []

    def sources(self: Archive, name: str) -> tuple[SourceEntry, ...]:
        found.append(self.release)
        if self.release == "sid":
            raise CommandFailed(["apt-get", "update"], None, 100, "")
        versions = LISTED[self.release] if name == "zlib" else []
        return tuple(SourceEntry(name, v, "pool/z") for v in versions)

    monkeypatch.setattr(archive.Archive, "sources", sources)
    return found


def test_the_oldest_release_that_lists_a_version_is_the_one_that_built_it(asked: list[str]) -> None:
    assert release_of("zlib", "1:1.2.11-2") == "bullseye"
    assert release_of("zlib", "1:1.2.13-1") == "bookworm"
    assert release_of("zlib", "1:1.3-1") == "trixie"


def test_an_update_that_was_superseded_belongs_to_the_release_that_it_names(asked: list[str]) -> None:
    assert release_of("zlib", "1:1.2.13-1+deb12u2") == "bookworm"
    assert asked == ["bookworm"]


def test_the_indexes_are_asked_once_for_what_they_list(asked: list[str]) -> None:
    for _ in range(2):
        assert release_of("zlib", "1:1.2.13-1+deb12u3") == "bookworm"
    assert asked == ["bookworm"]


def test_a_version_that_no_release_lists_is_not_guessed(asked: list[str]) -> None:
    with pytest.raises(NotFound) as raised:
        release_of("zlib", "1:9.9-1")
    assert "zlib 1:9.9-1" in raised.value.what and "SUTURE_SNAPSHOT" in raised.value.remedy
    assert release_of("zlib", "1:9.9-1", otherwise="trixie") == "trixie"


@pytest.mark.parametrize(
    ("name", "version"),
    [("../x", "1"), ("-oAPT::x", "1"), ("a/b", "1"), ("", "1"), ("zlib", "../1"), ("zlib", "-1"),
    ("zlib", "1/2"), ("zlib", "%2f")],
)  # fmt: skip
def test_no_path_and_no_option_is_a_package_or_a_version(asked: list[str], name: str, version: str) -> None:
    for ask in (release_of, Archive("bookworm").source, Archive("bookworm").binary, Archive("bookworm").built_from):
        with pytest.raises(BadName):
            ask(name, version)
    assert asked == []
