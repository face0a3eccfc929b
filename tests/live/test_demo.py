"""The demo itself: what it promises is what it shows. It ends with an error when the hole is not as it should be."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from demo_files import packages
from demo_files.clients import asker
from demo_files.server import Server
from demo_files.story import hole
from demo_files.telling import DemoFailed

pytestmark = pytest.mark.archive

CHECKOUT = Path(__file__).parents[2]
FIXED = "2.3.3-9+deb12u1"


@pytest.mark.slow
def test_the_demo_closes_and_opens_the_hole_with_no_failed_request() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo_files.demo"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"HOLE (OPEN|CLOSED)", done.stdout) == ["OPEN", "CLOSED", "OPEN"]
    found = re.search(r"^Clients: served (\d+), failed (\d+);", done.stdout, re.M)
    assert found is not None and int(found[1]) > 50 and int(found[2]) == 0
    moments = re.findall(r"^ +(\d+\.\d\d) s  (\w+)", done.stdout, re.M)
    assert [name for _, name in moments] == ["seen", "made", "signed", "closed"]
    times = [float(at) for at, _ in moments]
    assert times == sorted(times) and times[0] == 0


@pytest.mark.parametrize(("version", "expect_open"), [(packages.VERSION, False), (FIXED, True)])
def test_the_demo_fails_when_the_hole_is_not_as_it_promises(version: str, expect_open: bool) -> None:
    with Server(packages.fetch(version)) as server, pytest.raises(DemoFailed, match="brings back"):
        hole(asker(server.port, server.certificate), server.workers(), expect_open)


def descendants(pid: int) -> set[int]:
    """All processes that a process has begun, itself among them."""
    found = {pid}
    for listed in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in listed.read_text().split():
            found |= descendants(int(child))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_ended_leaves_no_process_and_no_file(number: signal.Signals) -> None:
    packages.fetch()
    before = set(Path("/tmp").glob("suture-demo-*")), Path("/proc/self/mounts").read_text()
    # Tests that run in the background of a shell have SIGINT ignored, and so would the demo.
    argv = ["env", "--default-signal=INT", sys.executable, "-m", "demo_files.demo"]
    demo = subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "HOLE OPEN" in line:
            break
    begun = descendants(demo.pid)
    assert len(begun) > 8  # the launcher, nginx and php-fpm with their workers
    demo.send_signal(number)
    assert demo.wait(20) != 0
    end = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in begun) and time.monotonic() < end:
        time.sleep(0.05)
    assert {pid for pid in begun if Path(f"/proc/{pid}").exists()} == set()
    assert (set(Path("/tmp").glob("suture-demo-*")), Path("/proc/self/mounts").read_text()) == before
