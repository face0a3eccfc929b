"""Rooms that are filled side by side hold what a room holds that was filled alone."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [pytest.mark.archive, pytest.mark.slow]

SPECS = ("zlib=1:1.2.13.dfsg-1", "expat=2.5.0-1+deb12u2")
FILL = """
import sys
from tests.rooms import room_of
print(room_of(sys.argv[1]).layers[0])
"""


def filled(into: Path, *specs: str) -> list[Path]:
    """The layers of rooms that are filled at the same time, by processes of their own."""
    env = {**os.environ, "SUTURE_CACHE": str(into)}
    argv = [sys.executable, "-c", FILL]
    running = [subprocess.Popen([*argv, s], env=env, stdout=subprocess.PIPE, text=True) for s in specs]
    said = [process.communicate()[0].strip() for process in running]
    assert [process.returncode for process in running] == [0] * len(specs)
    return [Path(line) for line in said]


def files(layer: Path) -> set[tuple[str, int]]:
    """Regular files and links of a layer with their sizes, but for what tells of the time of an installation."""
    kept = ("var/log/", "var/cache/", "var/lib/dpkg/triggers/", "var/lib/apt/")
    found = ((p.relative_to(layer).as_posix(), p.lstat().st_size) for p in layer.rglob("*") if not p.is_dir())
    return {(name, size) for name, size in found if not name.startswith(kept)}


def test_a_base_whose_maker_is_killed_leaves_no_mount_and_no_process_behind(tmp_path: Path) -> None:
    env = {**os.environ, "SUTURE_CACHE": str(tmp_path)}
    program = (
        "from suture.compile import room; from suture.source.archive import Archive; room.base(Archive('bookworm'))"
    )
    with subprocess.Popen([sys.executable, "-c", program], env=env) as maker:
        wait_for(
            lambda: any(tmp_path.glob("room/.*/bookworm/proc/*")) or any(tmp_path.glob("room/.*/*/var/lib/dpkg/info/*"))
        )
        maker.kill()
    wait_for(lambda: not busy_in(tmp_path))
    mounted = Path("/proc/self/mountinfo").read_text()
    assert str(tmp_path) not in mounted


def wait_for(holds: Callable[[], bool], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def busy_in(folder: Path) -> list[str]:
    """Processes whose command line names the folder, or whose root lies in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_text(errors="replace")
            if str(folder) in words or Path(os.readlink(process / "root")).is_relative_to(folder):
                found.append(words)
    return [words for words in found if "pytest" not in words]


def test_two_rooms_at_a_time_are_those_that_are_made_one_after_the_other(tmp_path: Path) -> None:
    together = filled(tmp_path / "together", *SPECS)
    alone = [layer for spec in SPECS for layer in filled(tmp_path / "alone", spec)]
    assert [p.name for p in together] == [p.name for p in alone]
    for one, other in zip(together, alone, strict=True):
        assert files(one) == files(other) and len(files(one)) > 100
    downloads = tmp_path / "together/apt/bookworm/cache/archives"
    assert len(list(downloads.glob("*.deb"))) > 5 and not list((downloads / "partial").iterdir())
