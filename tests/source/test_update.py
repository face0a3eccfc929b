"""Which versions an update leads from and to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from suture.error import NotFound
from suture.source import update
from suture.source.archive import SourceEntry
from suture.source.update import Update, Wanted, arriving, newest_that_arrives, ordered, updates


class Listing:
    """An archive that lists versions."""

    versions = ("1.2-1~deb12u2", "1.2-1~deb12u10", "1.2-1~deb12u1")
    there = ("1.2-1~deb12u1", "1.2-1~deb12u2")

    def __init__(self, release: str, progress: object) -> None:
        self.release, self.progress = release, progress

    def sources(self, name: str) -> tuple[SourceEntry, ...]:
        return tuple(SourceEntry(name, v, "pool") for v in self.versions) if name == "x" else ()

    def source(self, name: str, version: str) -> None:
        if version not in self.there:
            raise NotFound(f"{name} {version} does not arrive", "")


@pytest.fixture(autouse=True)
def archive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update, "Archive", Listing)


def test_versions_are_ordered_as_debian_orders_them() -> None:
    assert ordered(["1:1.0-1", "2.0-1", "2.0~rc1-1", "2.0-1+deb12u1"]) == [
        "2.0~rc1-1",
        "2.0-1",
        "2.0-1+deb12u1",
        "1:1.0-1",
    ]


def test_each_older_version_leads_to_the_newest() -> None:
    found = updates([Wanted("x")], "bookworm")
    assert found == (
        Update("x", "bookworm", "1.2-1~deb12u1", "1.2-1~deb12u10"),
        Update("x", "bookworm", "1.2-1~deb12u2", "1.2-1~deb12u10"),
    )


def test_the_version_that_hosts_run_need_not_be_listed_and_the_newest_has_no_update() -> None:
    assert updates([Wanted("x", "1.1-5")], "bookworm")[0].old == "1.1-5"
    assert updates([Wanted("x", "1.2-1~deb12u10"), Wanted("x", "1.3-1")], "bookworm") == ()


def test_a_package_that_the_release_has_not_is_named() -> None:
    with pytest.raises(NotFound, match="no source package y"):
        updates([Wanted("y")], "bookworm")


def test_the_newest_version_that_arrives_is_taken_and_what_does_not_is_said() -> None:
    said: list[str] = []
    archive: Any = Listing("bookworm", said.append)

    def get(version: str) -> str:
        if version != "1.2-1~deb12u2":
            raise NotFound(f"no {version}", "")
        return version

    assert newest_that_arrives("x", archive, get) == "1.2-1~deb12u2"
    assert len(said) == 1 and said[0].startswith("x 1.2-1~deb12u10 does not arrive from bookworm")


def test_where_no_version_arrives_the_oldest_is_told_of() -> None:
    def get(version: str) -> str:
        raise NotFound(f"no {version}", "")

    archive: Any = Listing("bookworm", print)
    with pytest.raises(NotFound, match=r"no 1\.2-1~deb12u1$"):
        newest_that_arrives("x", archive, get)


def test_an_update_to_a_version_that_does_not_arrive_becomes_one_to_the_newest_that_does() -> None:
    said: list[str] = []
    to_newest = Update("x", "bookworm", "1.2-1~deb12u1", "1.2-1~deb12u10")
    assert arriving(to_newest, said.append) == replace(to_newest, new="1.2-1~deb12u2")
    assert len(said) == 1 and said[0].startswith("x 1.2-1~deb12u10 does not arrive")
    without = replace(to_newest, old="1.2-1~deb12u2")  # the older one arrives, and is no update
    assert arriving(without) == without


INSTALLED = """\
installed\tlibc6\tglibc\t2.36-9+deb12u13\t
installed\tlibc-bin\tglibc\t2.36-9+deb12u13\t
installed\tlinux-image-6.1.0-54-amd64\tlinux-signed-amd64\t6.1.190+1\tlinux (= 6.1.190-1)
installed\tlinux-image-amd64\tlinux-signed-amd64\t6.1.192+2\t
installed\tlinux-image-6.1.0-55-rt-amd64-unsigned\tlinux\t6.1.192-1\t
installed\tlinux-libc-dev\tlinux\t6.1.187-1\t
config-files\tnginx\tnginx\t1.22.1-9\t
"""


def test_what_is_installed_names_the_source_of_a_kernel_that_its_signed_image_was_built_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(update, "run", lambda _: INSTALLED)
    assert update.installed() == (
        Wanted("glibc", "2.36-9+deb12u13"),
        Wanted("linux", "6.1.190-1"),
        Wanted("linux", "6.1.192-1"),
    )


def test_this_hosts_packages_are_read_by_dpkg() -> None:
    assert {"dpkg", "glibc"} <= {w.source for w in update.installed()}
