"""Processes that a signal ends are told of, whoever their parent is; those that end well are not."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from suture.process.see.crash import Crash, Crashes


@pytest.fixture(autouse=True)
def tracing() -> Iterator[None]:
    """Where systemd puts it; a machine without systemd has none."""
    place = Path("/sys/kernel/tracing")
    ours = not any(place.iterdir())
    if ours:
        subprocess.run(["mount", "-t", "tracefs", "none", place], check=True)
    yield
    if ours:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGILL])
def test_one_that_dies_of_a_defect_is_told_once(number: signal.Signals) -> None:
    crashes = Crashes()
    try:
        one = subprocess.Popen(["sh", "-c", f"kill -{int(number)} $$"])
        one.wait()
        assert [c for c in crashes.come() if c.pid == one.pid] == [Crash(one.pid, number)]
        assert [c for c in crashes.come() if c.pid == one.pid] == []
    finally:
        crashes.close()


def test_one_that_is_ended_or_handles_its_signal_is_not(tmp_path: Path) -> None:
    crashes = Crashes()
    try:
        ended = subprocess.Popen(["sleep", "9"])
        ended.terminate()
        ended.wait()
        fails = subprocess.Popen(["sh", "-c", "exit 3"])
        fails.wait()
        handles = subprocess.Popen(["sh", "-c", "trap 'exit 0' ABRT; kill -ABRT $$; sleep 1"])
        handles.wait()
        own = {ended.pid, fails.pid, handles.pid}
        assert [c for c in crashes.come() if c.pid in own] == []
    finally:
        crashes.close()


def test_more_than_a_ring_holds_are_read_as_they_come() -> None:
    crashes = Crashes()
    try:
        seen = []
        for _ in range(5):
            script = "for i in $(seq 60); do sh -c 'kill -SEGV $$'; done"
            subprocess.run(["sh", "-c", script], stderr=subprocess.DEVNULL, check=False)
            seen += [c for c in crashes.come() if c.signal is signal.SIGSEGV]
        assert len(seen) >= 300 and os.getpid() not in {c.pid for c in seen}
    finally:
        crashes.close()
