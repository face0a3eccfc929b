"""The commands of a trial as lines of shell. What runs them is tried by tests/live/test_watch.py."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from suture.trial.trial import _Command, _loaded, _waiting


@pytest.mark.parametrize(("word", "status"), [("true", 0), ("false", 1), ("no-such-program", 127)])
def test_a_command_that_fails_does_not_end_those_behind_it(tmp_path: Path, word: str, status: int) -> None:
    first = _Command((word,), "SUTURE_HOLD", False).line(f"{tmp_path}/first", held=False)
    second = _Command(("echo", "it's here"), "SUTURE_HOLD", False).line(f"{tmp_path}/second", held=False)
    subprocess.run(["sh", "-eu", "-c", first + second], check=True)
    assert (tmp_path / "first.status").read_text() == f"{status}\n"
    assert (tmp_path / "second.out").read_text() == "it's here\n"


def test_a_held_command_is_told_where_to_wait_and_only_then(tmp_path: Path) -> None:
    command = _Command(("sh", "-c", "echo $SUTURE_PLACE"), "SUTURE_PLACE", False)
    for name, held in (("held", True), ("free", False)):
        subprocess.run(["sh", "-eu", "-c", command.line(f"{tmp_path}/{name}", held)], check=True)
    assert (tmp_path / "held.out").read_text() == f"{tmp_path}/held\n"
    assert (tmp_path / "free.out").read_text() == "\n"


def test_of_two_trials_at_a_time_each_finds_its_own_process(tmp_path: Path) -> None:
    """Inside their sandboxes both call everything by the same names."""
    place = "/run/suture/trial/patched"
    command = _Command(("sleep", "30"), "SUTURE_HOLD", False)
    lines = {
        mark: command.line(place, True, mark).replace(f"{place}.", f"{tmp_path}/{mark}.") for mark in ("one", "two")
    }
    shells = [subprocess.Popen(["sh", "-c", line], start_new_session=True) for line in lines.values()]
    try:
        found: dict[str, int | None] = {}
        end = time.monotonic() + 20
        while len(set(found.values()) - {None}) < 2 and time.monotonic() < end:
            found = {mark: _waiting(place, mark) for mark in lines}
        for mark, pid in found.items():
            assert f"SUTURE_TRIAL={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert found["one"] != found["two"] and _waiting(place, "three") is None
    finally:
        for shell in shells:
            os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()


def test_files_that_a_process_has_loaded_are_told_by_their_names() -> None:
    """Of the patches of an update only those of loaded files are put in: each costs a process of its own."""
    one = subprocess.Popen(["sleep", "30"])
    try:
        end = time.monotonic() + 20
        while "libc.so.6" not in _loaded(one.pid) and time.monotonic() < end:
            time.sleep(0.01)
        assert "libc.so.6" in _loaded(one.pid) and "libssl.so.3" not in _loaded(one.pid)
    finally:
        one.kill()
        one.wait()
    assert _loaded(one.pid) == frozenset()
