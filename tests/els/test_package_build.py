"""Builds in a clean room of bullseye, of a package made up for it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from suture.compile import room
from suture.els.package_build import LOG, build, varying
from suture.source.archive import Archive

RULES = """#!/usr/bin/make -f
clean:
build build-arch build-indep:
	{step}
binary binary-arch binary-indep: build
	mkdir -p debian/x/DEBIAN debian/x/usr/share/x
	echo {text} >debian/x/usr/share/x/text
	dpkg-gencontrol -px -Pdebian/x
	dpkg-deb --root-owner-group --build debian/x ..
"""


def laid_out(folder: Path, step: str, text: str = "text") -> Path:
    debian = folder / "tree/debian"
    (debian / "source").mkdir(parents=True)
    (debian / "source/format").write_text("3.0 (native)\n")
    control = (
        "Source: x\nMaintainer: x <x@x>\nRules-Requires-Root: no\n\nPackage: x\nArchitecture: all\nDescription: x\n"
    )
    (debian / "control").write_text(control)
    (debian / "changelog").write_text(
        "x (1) bullseye; urgency=low\n\n  * x\n\n -- x <x@x>  Thu, 01 Jan 2026 00:00:00 +0000\n"
    )
    rules = debian / "rules"
    rules.write_text(RULES.format(step=step, text=text))
    rules.chmod(0o755)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes chroots")
def test_a_build_leaves_packages_and_log_and_one_that_fails_its_log(tmp_path: Path) -> None:
    where = room.base(Archive("bullseye"))
    one = build(where, laid_out(tmp_path / "one", "id --user; whoami"), "x-1")
    assert (
        one.succeeded
        and [p.name for p in one.debs()] == ["x_1_all.deb"]
        and "65530" in one.log
        and "\nbuilder\n" in one.log
    )
    assert {"x_1.dsc", "x_1_amd64.changes"} <= {p.name for p in one.files()} and not (one.folder / "x-1").exists()
    again = build(where, laid_out(tmp_path / "again", "true"), "x-1")
    other = build(where, laid_out(tmp_path / "other", "true", "more"), "x-1")
    assert varying(one, again) == () and varying(one, other) == ("x_1_all.deb",)
    failed = build(where, laid_out(tmp_path / "failed", "echo no luck; false"), "x-1")
    assert not failed.succeeded and "no luck" in (failed.folder / LOG).read_text()
    asked = build(where, laid_out(tmp_path / "asked", "echo $(DEB_BUILD_OPTIONS)"), "x-1", ("nocheck",))
    assert "nocheck" in asked.log


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes chroots")
def test_a_build_that_is_killed_leaves_no_process_behind_and_the_next_one_ends(tmp_path: Path) -> None:
    where = room.base(Archive("bullseye"))
    mark = f"{os.getpid()}.5"  # seconds that nobody else sleeps
    folder = laid_out(tmp_path / "one", f"sleep 9{mark}")
    child = os.fork()
    if child == 0:
        try:
            build(where, folder, "x-1")
        finally:
            os._exit(0)
    wait(lambda: sleeping(mark), 120)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    wait(lambda: not sleeping(mark), 20)
    assert build(where, laid_out(tmp_path / "again", "true"), "x-1").succeeded


def sleeping(mark: str) -> bool:
    """Whether a process of the build is there."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it ended meanwhile
            if path.read_bytes() == f"sleep\0009{mark}\0".encode():
                return True
    return False


def wait(holds: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.2)
