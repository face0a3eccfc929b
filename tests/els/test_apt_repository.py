"""A repository, read as apt reads it; and by the apt of a clean chroot over HTTP on the loopback interface."""

from __future__ import annotations

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from debian.deb822 import Deb822, Release

from suture.command import CommandFailed
from suture.compile import room
from suture.compile.room import Rights
from suture.els.apt_repository import KEYRING, AptRepository, OtherBytes
from suture.els.signature import SigningKey
from suture.source.archive import Archive
from tests import minimal
from tests.els.repository_made import deb, key
from tests.els.served import served
from tests.live import in_chroot

NOW = datetime(2026, 11, 28, 5, 0, tzinfo=UTC)
SUITE = "bullseye-suture"


@pytest.fixture
def own(tmp_path: Path) -> SigningKey:
    return key(tmp_path / "home")


def repository(folder: Path) -> AptRepository:
    folder.mkdir()
    return AptRepository(folder, SUITE)


def release(folder: Path) -> Release:
    return Release((folder / "dists" / SUITE / "Release").read_text())


def test_indexes_name_each_file_and_lie_under_their_hashes_those_before_too(tmp_path: Path, own: SigningKey) -> None:
    place = repository(tmp_path / "repository")
    place.add("hello", [deb(tmp_path, "hello", "1", {"usr/share/hello": "one"})])
    place.publish(own, NOW, 14)
    first = {row["sha256"]: row["name"] for row in release(place.folder)["SHA256"]}
    place.add("hello", [deb(tmp_path, "hello", "2", {"usr/share/hello": "two"})])
    place.publish(own, NOW, 14)
    second = {row["sha256"]: row["name"] for row in release(place.folder)["SHA256"]}
    suite = place.folder / "dists" / SUITE
    for digest, name in (first | second).items():
        held = suite / Path(name).parent / "by-hash/SHA256" / digest
        assert hashlib.sha256(held.read_bytes()).hexdigest() == digest
    assert first.keys() != second.keys()
    rows = list(Deb822.iter_paragraphs((suite / "main/binary-amd64/Packages").read_text()))
    assert [r["Version"] for r in rows] == ["2", "1"] or [r["Version"] for r in rows] == ["1", "2"]
    for row in rows:
        assert hashlib.sha256((place.folder / row["Filename"]).read_bytes()).hexdigest() == row["SHA256"]
    assert release(place.folder)["Valid-Until"] == "Sat, 12 Dec 2026 05:00:00 UTC"


def test_a_suite_without_a_package_is_published_too(tmp_path: Path, own: SigningKey) -> None:
    """A pass that has found nothing to be safe still publishes: hosts would take the suite for expired."""
    place = repository(tmp_path / "repository")
    place.publish(own, NOW, 14)
    assert (place.folder / "dists" / SUITE / "main/binary-amd64/Packages").read_bytes() == b""
    assert release(place.folder)["SHA256"]


def test_a_published_file_never_gets_other_bytes(tmp_path: Path, own: SigningKey) -> None:
    place = repository(tmp_path / "repository")
    made = deb(tmp_path, "hello", "1", {"usr/share/hello": "one"})
    assert place.add("hello", [made]) == (made.name,)
    assert place.add("hello", [made]) == ()
    made.write_bytes(b"other")
    with pytest.raises(OtherBytes):
        place.add("hello", [made])


def in_bare_chroot(place: AptRepository, address: str, script: str) -> str:
    """Run a script in a bare chroot of Debian 11 whose apt knows the repository alone."""
    sources = place.folder.parent / "suture-els.sources"
    sources.write_text(place.sources(address))
    binds = [
        (sources, "/etc/apt/sources.list.d/suture-els.sources"),
        (place.folder / KEYRING, f"/etc/apt/keyrings/{KEYRING}"),
    ]
    # the room has the settings of the host that made it, which may leave dates aside
    check = "--option=Acquire::Check-Valid-Until=true --option=Acquire::Check-Date=true"
    whole = f"export no_proxy=127.0.0.1\napt-get --quiet --error-on=any {check} update\n{script}"
    return room.base(Archive("bullseye")).enter(whole, binds=binds, rights=Rights.INSTALL)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes chroots")
def test_apt_of_a_bare_bullseye_installs_from_it_and_refuses_what_is_expired_foreign_or_changed(
    tmp_path: Path, own: SigningKey
) -> None:
    place = repository(tmp_path / "repository")
    made = deb(tmp_path, "suture-hello", "1+suture1", {"usr/share/suture-hello": "it is here"})
    place.add("suture-hello", [made])
    place.publish(own, datetime.now(UTC), 14)
    install = "apt-get --quiet --yes install suture-hello\ncat /usr/share/suture-hello"
    with served(place.folder) as address:
        assert in_bare_chroot(place, address, install).endswith("it is here")
        kept = (place.folder / "dists" / SUITE / "InRelease").read_text()

        place.publish(own, datetime.now(UTC) - timedelta(days=20), 14)
        assert "is expired" in refused(place, address)

        place.publish(key(tmp_path / "foreign"), datetime.now(UTC), 14)
        (place.folder / KEYRING).write_text(own.public())
        assert "NO_PUBKEY" in refused(place, address)

        place.publish(own, datetime.now(UTC), 14)
        (place.folder / "dists" / SUITE / "InRelease").write_text(kept.replace("Codename: bullseye", "Codename: x"))
        assert "BADSIG" in refused(place, address)

        place.publish(own, datetime.now(UTC), 14)
        pool = next(place.folder.glob("pool/**/*.deb"))
        pool.write_bytes(pool.read_bytes()[:-1] + b"x")
        with pytest.raises(CommandFailed, match=r"(?i)hash sum mismatch|unexpected size"):
            in_bare_chroot(place, address, install)


@pytest.mark.slow
@pytest.mark.archive
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes chroots")
def test_apt_keeps_what_it_knows_when_an_older_release_is_replayed(tmp_path: Path, own: SigningKey) -> None:
    """The older one is signed and not expired, so that nothing but its date speaks against it."""
    place = repository(tmp_path / "repository")
    now = datetime.now(UTC)
    for days, version in ((2, "1"), (1, "2")):
        place.add("suture-hello", [deb(tmp_path, "suture-hello", version, {"usr/share/hello": version})])
        place.publish(own, now - timedelta(days=days), 14)
    older, newer = sorted(place.folder.glob(".dists-*"), key=lambda p: int(p.name.rpartition("-")[2]))
    with minimal.system(release="bullseye") as root, served(place.folder) as address:
        (root / "etc/apt/sources.list").unlink(missing_ok=True)
        (root / "etc/apt/keyrings").mkdir(parents=True, exist_ok=True)
        (root / "etc/apt/keyrings" / KEYRING).write_text((place.folder / KEYRING).read_text())
        (root / "etc/apt/sources.list.d/suture-els.sources").write_text(place.sources(address))
        (root / "etc/apt/apt.conf.d/99direct").write_text('Acquire::http::Proxy::127.0.0.1 "DIRECT";\n')

        times = [int(now.timestamp())]

        def offered(state: Path) -> list[str]:
            link = tmp_path / "link"
            link.symlink_to(state.name)
            link.replace(place.folder / "dists")
            times.append(times[-1] + 60)  # else the web server says itself that nothing is new
            os.utime(state / SUITE / "InRelease", (times[-1], times[-1]))
            check = ["--option=Acquire::Check-Valid-Until=true", "--option=Acquire::Check-Date=true"]
            environment = {"PATH": minimal.PATH}
            in_chroot.inside(root, environment, "apt-get", "--quiet", "--error-on=any", *check, "update")
            said = in_chroot.inside(root, environment, "apt-cache", "madison", "suture-hello")
            return [row.split("|")[1].strip() for row in said.splitlines() if row.rstrip().endswith("Packages")]

        assert offered(older) == ["1"]
        assert offered(newer) == ["2", "1"]
        assert offered(older) == ["2", "1"]


def refused(place: AptRepository, address: str) -> str:
    with pytest.raises(CommandFailed) as raised:
        in_bare_chroot(place, address, "")
    return raised.value.output


def test_the_sources_that_are_printed_are_deb822() -> None:
    found = Deb822(AptRepository(Path("/r"), SUITE).sources("https://example.org/r"))
    assert (found["Suites"], found["Signed-By"]) == (SUITE, f"/etc/apt/keyrings/{KEYRING}")
