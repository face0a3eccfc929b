"""A build and a publication that are killed before a change of a file: what hosts read, and what the next pass finds,
is whole."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from debian.deb822 import Deb822, Release

from suture.cli.els import build as verb
from suture.els import package
from suture.els.apt_repository import KEYRING, AptRepository
from suture.els.need import fixed
from suture.els.package import BuiltPackage, PackageWish
from suture.els.package_build import PackageBuild
from suture.els.rpm_repository import RpmRepository
from suture.els.shelf import BuiltShelf
from suture.progress import silent
from suture.report.els import PackageTests, TestsOutcome
from tests.els import made_up
from tests.els.repository_made import deb, key

A = "int f(int n)\n{\n    return n;\n}\n"
CHANGES = {"os.rename", "os.symlink", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "subprocess.Popen"}


def killed_before(number: int, work: Callable[[], object]) -> bool:
    """Do `work` in a child that is killed before its change of that number; whether there were so many."""
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event: str, _: Any) -> None:
            nonlocal count
            if event in CHANGES:
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            sys.addaudithook(hook)
            work()
            status = 0
        finally:
            os._exit(status)
    _, ended = os.waitpid(child, 0)
    assert os.WIFSIGNALED(ended) or os.waitstatus_to_exitcode(ended) == 0
    return os.WIFSIGNALED(ended)


def test_a_publication_that_is_killed_leaves_the_state_before_or_the_new_one(tmp_path: Path) -> None:
    own = key(tmp_path / "home")
    first, second = (deb(tmp_path, "hello", v, {"usr/share/hello": v}) for v in ("1", "2"))

    def publish(place: AptRepository, made: Path) -> None:
        place.add("hello", [made])
        place.publish(own, datetime.now(UTC), 14)

    number, seen = 1, set()
    while True:
        place = AptRepository(tmp_path / f"repository-{number}", "bullseye-suture")
        place.folder.mkdir()
        publish(place, first)
        killed = killed_before(number, lambda place=place: publish(place, second))  # type: ignore[misc]
        seen.add(listed(place))
        publish(place, second)
        assert listed(place) == ("1", "2")
        if not killed:
            break
        number += 2  # each takes seconds, for the tools that it runs
    assert number > 10 and seen == {("1",), ("1", "2")}


def listed(place: AptRepository) -> tuple[str, ...]:
    """The versions that a host finds; all that the signed index names has to be there."""
    suite = place.folder / "dists" / place.suite
    for row in Release((suite / "InRelease").read_text())["SHA256"]:
        data = (suite / row["name"]).read_bytes()
        assert len(data) == int(row["size"])
    blocks = list(Deb822.iter_paragraphs((suite / "main/binary-amd64/Packages").read_text()))
    assert all((place.folder / b["Filename"]).stat().st_size == int(b["Size"]) for b in blocks)
    return tuple(sorted(b["Version"] for b in blocks))


class _Tools:
    """rpm's tools as a room has them: what is signed is a copy, the index is a list of the packages."""

    def enter(self, script: str, *, binds: list[tuple[Path, str]], outputs: list[tuple[Path, str]]) -> str:
        [(out, _)] = outputs
        if "rpmsign" in script:
            for path in binds[0][0].iterdir():
                shutil.copy(path, out)
        else:
            (out / "repodata").mkdir()
            (out / "repodata/repomd.xml").write_text(" ".join(sorted(p.name for p in out.glob("*.rpm"))))
        return ""


def test_a_dnf_repository_is_the_one_before_or_the_new_one(tmp_path: Path) -> None:
    own = key(tmp_path / "home")
    first, second = tmp_path / "x-1.rpm", tmp_path / "x-2.rpm"
    first.write_bytes(b"1")
    second.write_bytes(b"2")

    def publish(place: RpmRepository, made: Path) -> None:
        place.add("x", [made], own)
        place.publish(own, [])

    number, seen = 1, set()
    while True:
        place = RpmRepository(tmp_path / f"repository-{number}", "r", _Tools())  # type: ignore[arg-type]
        place.folder.mkdir()
        publish(place, first)
        killed = killed_before(number, lambda place=place: publish(place, second))  # type: ignore[misc]
        seen.add(offered(place))
        publish(place, second)
        assert offered(place) == "x-1.rpm x-2.rpm"
        if not killed:
            break
        number += 2
    assert number > 10 and seen == {"x-1.rpm", "x-1.rpm x-2.rpm"}


def offered(place: RpmRepository) -> str:
    """The packages that the signed index names; each is there."""
    current = place.folder / "r"
    index = current / "repodata/repomd.xml"
    verify = ["gpgv", "--keyring", str(place.folder / "ring.gpg"), f"{index}.asc", str(index)]
    dearmor = ["gpg", "--batch", "--yes", "--dearmor", "--output", str(place.folder / "ring.gpg")]
    subprocess.run([*dearmor, str(place.folder / KEYRING)], check=True, capture_output=True)
    subprocess.run(verify, check=True, capture_output=True)
    assert all((current / name).is_file() for name in index.read_text().split())
    return index.read_text()


def test_a_build_that_is_killed_is_no_build_and_the_next_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patches = [("CVE-2026-1111.patch", "x", {"a.c": A.replace("return n", "return n < 0 ? 0 : n")})]
    newer = made_up.package(tmp_path, "1.1-1", {"a.c": A}, patches)
    wish = PackageWish(made_up.package(tmp_path, "1.0-1", {"a.c": A}), newer)
    monkeypatch.setattr(package, "make", stand_in)
    number = 1
    while True:
        output = tmp_path / f"built-{number}"
        output.mkdir()
        killed = killed_before(number, lambda output=output: verb.build(fixed(newer), wish, "bookworm", output, silent))  # type: ignore[misc]
        for found in BuiltShelf(output).builds():
            assert all(Path(found.folder, f.name).stat().st_size == f.bytes for f in found.files)
            assert Path(found.folder, "patches/suture-CVE-2026-1111.patch").is_file()
        verb.build(fixed(newer), wish, "bookworm", output, silent)
        [found] = BuiltShelf(output).builds()
        assert {f.name for f in found.files} >= {"x.deb"}
        if not killed:
            break
        number += 1
    assert number > 5


def stand_in(_: Any, wish: PackageWish, folder: Path, progress: Any) -> BuiltPackage:
    """A package that is built without a clean room."""
    folder.mkdir(parents=True)
    (folder / "x.deb").write_bytes(b"x" * 1000)
    tests = PackageTests(TestsOutcome.PASSED, {}, {}, "x")
    return BuiltPackage("1.0-1+deb12u0+suture1", PackageBuild(folder, True, ""), (), tests, (), (), (), {"build": 1.0})
