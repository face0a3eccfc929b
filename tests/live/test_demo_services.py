"""Many services in containers on one machine: patched at once when a fix is published, and reverted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo_files import packages, picture
from demo_files.container import Container, image
from demo_files.server import ServerFailed

pytestmark = pytest.mark.archive

CHECKOUT = Path(__file__).parents[2]
SERVICES = 10
PROMISED = 5.0  # seconds from the publication to the patch in every process, on a machine that is not overloaded
NAMESPACES = ("mnt", "pid", "net")


@pytest.mark.slow
def test_ten_services_are_patched_within_five_seconds_and_reverted_with_no_failed_request() -> None:
    words = [sys.executable, "-m", "demo_files.demo", "--services", str(SERVICES)]
    done = subprocess.run(words, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.findall(r"HOLE (OPEN|CLOSED) in (\d+) of (\d+) services", done.stdout)
    every = str(SERVICES)
    assert told == [
        *(("OPEN", every, every), ("CLOSED", every, every), ("CLOSED", "1", "1"), ("CLOSED", "1", "1")),
        ("OPEN", str(SERVICES + 2), str(SERVICES + 2)),
    ]
    assert re.search(rf"applied {2 * SERVICES} processes", done.stdout)
    assert re.search(rf"reverted {2 * (SERVICES + 2)} processes", done.stdout)
    found = re.search(r"^Clients: served (\d+), failed 0;", done.stdout, re.M)
    assert found is not None and int(found[1]) > 50 * SERVICES
    rows = re.findall(r"^ +(\d+\.\d\d) s  (signed|patched|reverted)", done.stdout, re.M)
    assert [name for _, name in rows] == ["signed", "patched", "signed", "reverted"]
    signed, patched, signed_again, reverted = (float(at) for at, _ in rows)
    patience = PROMISED * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    assert patched - signed < patience and reverted - signed_again < patience


def test_a_container_shares_no_namespace_and_no_library_with_the_machine(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    programs = packages.fetch()
    container = Container(programs, image(programs, tmp_path / "image"), tmp_path / "one")
    try:
        container.start()
        assert picture.SECRET in container.ask(picture.genuine(picture.SECRET)).text
        workers = [p for p in Path("/proc").glob("[0-9]*") if str(tmp_path) in _mounts(p)]
        assert len(workers) == 2
        for process in workers:
            for name in NAMESPACES:
                assert os.readlink(process / "ns" / name) != os.readlink(f"/proc/self/ns/{name}")
            assert re.search(r" /image/libgd\.so\.3$", (process / "maps").read_text(), re.M)
    finally:
        container.stop()
    end = time.monotonic() + 10
    while any(process.exists() for process in workers):  # the kernel ends them after the first one
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_container_that_does_not_start_says_why(tmp_path: Path) -> None:
    programs = packages.fetch()
    container = Container(programs, tmp_path / "missing", tmp_path / "one")
    with pytest.raises(ServerFailed, match="missing"):
        container.start()


def _mounts(process: Path) -> str:
    try:
        return (process / "mountinfo").read_text() if os.readlink(process / "exe").endswith("php-fpm8.2") else ""
    except OSError:
        return ""
