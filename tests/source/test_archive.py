"""The archive itself: sources and binaries of versions, and what is said of those that do not arrive."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from suture.command import run
from suture.error import NotFound
from suture.number import BuildId
from suture.source.archive import archive_for
from suture.source.origin import build_id_of, identify

pytestmark = pytest.mark.archive

ZLIB = "1:1.2.13.dfsg-1"


def test_a_source_arrives_with_its_patches_applied_and_its_date() -> None:
    source = archive_for("expat", "2.5.0-1+deb12u2").source("expat", "2.5.0-1+deb12u2")
    assert (source.tree / ".pc/applied-patches").exists()
    assert source.upstream == "2.5.0"
    assert source.epoch_seconds > 1_700_000_000


def test_a_binary_arrives_and_its_entry_names_its_source() -> None:
    archive = archive_for("zlib", ZLIB)
    assert (archive.binary("zlib1g", ZLIB) / "lib/x86_64-linux-gnu/libz.so.1").is_file()
    assert ("zlib", ZLIB) in {(e.source, e.source_version) for e in archive.binaries("zlib1g")}


@pytest.mark.parametrize("version", ["9.9.9-1", "2.5.0-1+deb12u99"])
def test_a_version_that_does_not_arrive_is_said_with_what_there_is(version: str) -> None:
    archive = archive_for("expat", "2.5.0-1+deb12u2")
    with pytest.raises(NotFound) as raised:
        archive.source("expat", version)
    assert "2.5.0-1+deb12u2" in raised.value.what and "SUTURE_SNAPSHOT" in raised.value.remedy
    with pytest.raises(NotFound):
        archive.binary("libexpat1", version)


def test_an_upstream_tarball_that_one_pocket_has_lost_is_taken_from_beside_another_version(tmp_path: Path) -> None:
    """Only what has the SHA-256 of the signed index is taken."""
    archive = archive_for("expat", "2.5.0-1+deb12u2")
    listed = tuple(replace(e, directory="pool/updates/main/e/expat") for e in archive.sources("expat"))
    own = next(e for e in listed if e.version == "2.5.0-1+deb12u2")
    dsc = archive._rest_from_pool(own, listed, tmp_path)
    assert dsc is not None and {(p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in tmp_path.iterdir()} == {
        *own.files
    }
    wrong = [(name, digest if name.endswith(".dsc") else "0" * 64) for name, digest in own.files]
    assert archive._rest_from_pool(replace(own, files=tuple(wrong)), listed, tmp_path) is None


def test_a_source_whose_description_is_gone_is_unpacked_by_what_the_signed_index_says(tmp_path: Path) -> None:
    archive = archive_for("expat", "2.5.0-1+deb12u2")
    listed = archive.sources("expat")
    own = next(e for e in listed if e.version == "2.5.0-1+deb12u2")
    gone = tuple((f"gone-{n}" if n.endswith((".dsc", ".asc")) else n, digest) for n, digest in own.files)
    dsc = archive._rest_from_pool(replace(own, files=gone), listed, tmp_path)
    assert dsc is not None and dsc.name.startswith("gone-")
    run(["dpkg-source", "--no-check", "--extract", dsc.name, "tree"], cwd=tmp_path)
    changelog = archive.source("expat", own.version).tree / "debian/changelog"
    assert (tmp_path / "tree/debian/changelog").read_bytes() == changelog.read_bytes()


def test_a_binary_that_was_replaced_on_disk_is_found_by_its_build_id(tmp_path: Path) -> None:
    """A made-up host has libexpat1 installed; what runs is the archive's, what lies on disk is another file."""
    archive = archive_for("expat", "2.5.0-1+deb12u2")
    shipped = archive.binary("libexpat1", "2.5.0-1+deb12u2") / "lib/x86_64-linux-gnu/libexpat.so.1"
    host = made_up_host(tmp_path, "libexpat1", "2.5.0-1+deb12u98", "/lib/x86_64-linux-gnu/libexpat.so.1.8.10")
    path = Path("/usr/lib/x86_64-linux-gnu/libexpat.so.1.8.10")
    found = identify(path, build_id_of(shipped), host, archive=archive)
    assert (found.source, found.source_version) == ("expat", "2.5.0-1+deb12u2")
    assert build_id_of(found.file) == build_id_of(shipped)
    with pytest.raises(NotFound, match=r"tried 2\.5\.0"):
        identify(path, BuildId("00" * 20), host, archive=archive)


def test_the_file_that_lies_on_disk_is_told_by_dpkg_alone() -> None:
    path = Path("/lib/x86_64-linux-gnu/libc.so.6")
    found = identify(path, build_id_of(path))
    assert (found.package, found.source, found.file) == ("libc6", "glibc", path)


def test_a_file_of_no_package_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no package"):
        identify(Path("/opt/mine"), None, made_up_host(tmp_path, "x", "1-1", "/usr/bin/x"))


def made_up_host(root: Path, package: str, version: str, path: str) -> Path:
    """A root folder whose dpkg has one package, which owns one path that lies under /usr too."""
    database = root / "var/lib/dpkg"
    (database / "info").mkdir(parents=True)
    (database / "updates").mkdir()
    fields = {"Package": package, "Status": "install ok installed", "Version": version, "Architecture": "amd64"}
    fields |= {"Maintainer": "a <a@b>", "Description": "x", "Source": "expat"}
    (database / "status").write_text("".join(f"{k}: {v}\n" for k, v in fields.items()) + "\n")
    (database / "info/format").write_text("1\n")
    (database / f"info/{package}.list").write_text(f"/.\n{path}\n")
    present = root / "usr" / path.lstrip("/").removeprefix("usr/")
    present.parent.mkdir(parents=True)
    present.write_bytes(b"another file")
    return root
