"""What runs, with its packages."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from suture.agent.mapped import MappedPackages
from suture.process.see.find import Found, every_process
from suture.report.agent import MappedBinary


def of(pid: int) -> Found:
    return next(p for p in every_process()[0] if p.pid == pid)


def libc_of(rows: list[MappedBinary]) -> MappedBinary:
    return next(r for r in rows if r.path.endswith("/libc.so.6"))


@contextmanager
def in_a_root_without_dpkg(root: Path) -> Iterator[int]:
    """A process that has this host's libc, and a root with nothing but that and itself."""
    for path in ("/bin/sleep", "/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"):
        (root / path[1:]).parent.mkdir(parents=True, exist_ok=True)
        (root / path[1:]).write_bytes(Path(path).read_bytes())
        (root / path[1:]).chmod(0o755)
    child = subprocess.Popen(["/usr/sbin/chroot", str(root), "/bin/sleep", "600"])
    try:
        while os.readlink(f"/proc/{child.pid}/root") != str(root):
            assert child.poll() is None
        while "libc" not in Path(f"/proc/{child.pid}/maps").read_text():
            assert child.poll() is None
        yield child.pid
    finally:
        child.kill()
        child.wait()


def test_a_library_of_this_process_is_there_with_its_package() -> None:
    own = of(os.getpid())
    libc = libc_of(MappedPackages().binaries([own, replace(own, pid=1)]))
    assert (libc.processes, libc.package) == (2, "libc6") and libc.version[0].isdigit()


def test_who_is_asked_first_and_has_ended_or_has_no_dpkg_hides_no_package(tmp_path: Path) -> None:
    own = of(os.getpid())
    gone = subprocess.Popen(["true"])
    gone.wait()
    with in_a_root_without_dpkg(tmp_path) as pid:
        other = of(pid)
        packages = MappedPackages()
        assert libc_of(packages.binaries([other])).package == ""
        found = [replace(own, pid=gone.pid), other, own]
        assert libc_of(packages.binaries(found)).package == "libc6"
        assert libc_of(packages.binaries([other])).package == "libc6"  # known, and not asked again


def test_a_root_that_knows_no_package_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from suture.agent import mapped

    with in_a_root_without_dpkg(tmp_path) as pid:
        other, packages = of(pid), MappedPackages()
        packages.binaries([other])
        monkeypatch.setattr(mapped, "_installed", None)
        packages.binaries([other])
