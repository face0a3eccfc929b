"""The package of a file, as dpkg of a root has noted it; a root is written by whoever owns it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from suture.process.see import disk, package
from suture.process.see.disk import Files
from suture.process.see.find import every_process
from suture.process.see.package import InstalledPackage, package_of
from suture.process.see.rooted import open_root

STATUS = """\
Package: libgone
Status: deinstall ok config-files
Version: 1.0-1

Package: libz
Status: install ok installed
Architecture: amd64
Multi-Arch: same
Description: a library
 Package: libother
 Version: 9
Version: 1:1.2.13-1+deb12u1

Package: libz-dev
Status: install ok installed
Version: 7
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    info = tmp_path / "root/var/lib/dpkg/info"
    info.mkdir(parents=True)
    (info.parent / "status").write_text(STATUS)
    (info / "libz:amd64.list").write_text("/.\n/lib\n/lib/x86_64-linux-gnu/libz.so.1\n")
    (info / "libz-dev.list").write_text(
        "/.\n/usr/include/zlib.h\n/usr/lib/x86_64-linux-gnu/libz.so.1.old\n/usr/bin/tool\n"
    )
    (info / "libgone.list").write_text("/.\n/etc/gone.conf\n")
    return tmp_path / "root"


@pytest.fixture
def top(root: Path) -> Iterator[int]:
    fd = open_root(str(root))
    yield fd
    os.close(fd)


@pytest.mark.parametrize("path", ["/lib/x86_64-linux-gnu/libz.so.1", "/usr/lib/x86_64-linux-gnu/libz.so.1"])
def test_a_file_belongs_to_the_package_that_lists_it_by_either_name_of_a_merged_folder(top: int, path: str) -> None:
    assert package_of(top, path) == InstalledPackage("libz", "1:1.2.13-1+deb12u1")


def test_a_name_that_only_begins_or_ends_like_another_is_another(top: int) -> None:
    assert package_of(top, "/usr/lib/x86_64-linux-gnu/libz.so") == InstalledPackage()
    assert package_of(top, "/usr/lib/x86_64-linux-gnu/libz.so.1.old") == InstalledPackage("libz-dev", "7")
    assert package_of(top, "/bin/tool") == InstalledPackage("libz-dev", "7")
    assert package_of(top, "/include/zlib.h") == InstalledPackage()
    assert package_of(top, "x86_64-linux-gnu/libz.so.1") == InstalledPackage()


def test_of_a_known_package_only_the_version_is_looked_up(top: int, root: Path) -> None:
    for path in (root / "var/lib/dpkg/info").iterdir():
        path.unlink()
    assert package_of(top, "/anything", "libz") == InstalledPackage("libz", "1:1.2.13-1+deb12u1")


def test_what_is_no_longer_or_never_was_installed_has_no_version(top: int) -> None:
    assert package_of(top, "/etc/gone.conf") == InstalledPackage("libgone")
    assert package_of(top, "/x", "libother") == InstalledPackage("libother")


@pytest.mark.parametrize("name", ["lib\x1b[31mz", "UPPER", "a", "x" * 300, "\N{SNOWMAN}lib"])
def test_what_is_no_name_of_a_package_is_none(top: int, root: Path, name: str) -> None:
    (root / f"var/lib/dpkg/info/{name[:200]}.list").write_text("/.\n/opt/strange\n")
    found = package_of(top, "/opt/strange")
    assert found == InstalledPackage(name[:200] if len(name) > 200 else "")
    assert package_of(top, "/opt/strange", name) == InstalledPackage()


def test_what_is_no_version_is_none(top: int, root: Path) -> None:
    status = root / "var/lib/dpkg/status"
    status.write_text(STATUS.replace("1:1.2.13", "1:1.2.13\x1b[2J"))
    assert package_of(top, "/x", "libz") == InstalledPackage("libz")


def test_links_do_not_lead_out_of_the_root(top: int, root: Path, tmp_path: Path) -> None:
    status = root / "var/lib/dpkg/status"
    status.rename(tmp_path / "status")
    status.symlink_to(tmp_path / "status")
    with pytest.raises(FileNotFoundError):
        package_of(top, "/x", "libz")
    listed = root / "var/lib/dpkg/info/libz:amd64.list"
    listed.rename(tmp_path / "list")
    listed.symlink_to(tmp_path / "list")
    assert package_of(top, "/lib/x86_64-linux-gnu/libz.so.1") == InstalledPackage()


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(top: int, root: Path) -> None:
    status = root / "var/lib/dpkg/status"
    status.unlink()
    os.mkfifo(status)
    with pytest.raises(OSError):
        package_of(top, "/x", "libz")
    os.mkfifo(root / "var/lib/dpkg/info/aaa.list")
    status.unlink()
    status.write_text(STATUS)
    assert package_of(top, "/lib/x86_64-linux-gnu/libz.so.1").name == "libz"


def test_no_more_is_read_than_any_database_has(top: int, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "_MOST_STATUS", 64)
    assert package_of(top, "/x", "libz") == InstalledPackage("libz")
    monkeypatch.setattr(package, "_MOST_LISTS_TOGETHER", 60)
    assert package_of(top, "/lib/x86_64-linux-gnu/libz.so.1") == InstalledPackage()


def test_dpkg_itself_answers_the_same() -> None:
    """On a host with dpkg: the owner and version of what `dpkg-query` is."""
    asked = subprocess.run(
        ["dpkg-query", "--search", "/usr/bin/dpkg-query"], capture_output=True, text=True, check=False
    )
    if asked.returncode:
        pytest.fail("the tests run on Debian, where dpkg knows its own files")
    shown = subprocess.run(
        ["dpkg-query", "--show", "--showformat=${Version}", "dpkg"], capture_output=True, text=True, check=True
    )
    top = open_root("/")
    try:
        assert package_of(top, "/usr/bin/dpkg-query") == InstalledPackage("dpkg", shown.stdout)
    finally:
        os.close(top)


def test_a_process_has_the_package_of_its_own_root(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = subprocess.Popen(["/usr/bin/sleep", "100"])
    try:
        found = next(p for p in every_process()[0] if p.pid == sleeper.pid)
        image = next(i for i in found.images if i.path == "/usr/bin/sleep")
        shown = ["dpkg-query", "--show", "--showformat=${Version}", "coreutils"]
        version = subprocess.run(shown, capture_output=True, text=True, check=True).stdout
        with Files() as files:
            assert files.package_of(found, image) == InstalledPackage("coreutils", version)
            assert files.package_of(found, image, "coreutils") == InstalledPackage("coreutils", version)
            assert files.package_of(found, image, "no-such-package") == InstalledPackage("no-such-package")
            outside = replace(image, path="[vdso]")
            assert files.package_of(found, outside, "known") == InstalledPackage("known")
        monkeypatch.setattr(disk, "_package", lambda *_: time.sleep(100))
        monkeypatch.setattr(disk, "_PATIENCE", 0.1)
        with Files() as files:
            assert files.package_of(found, image, "known") == InstalledPackage("known")
            assert files.behind(found, image).build_id == image.build_id  # by another child
    finally:
        sleeper.kill()
        sleeper.wait()
