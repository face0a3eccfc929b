"""Events of the kernel, and how many there was no room for."""

from __future__ import annotations

import subprocess

import pytest

from suture.process.see import tracepoint
from suture.process.see.crash import ErrorExit, Exits
from suture.process.see.tracepoint import Tracepoint
from tests.process.see.test_crash import tracing

__all__ = ["tracing"]


def test_exits_with_an_error_are_told_and_others_are_not() -> None:
    exits = Exits()
    try:
        fails, ends = (subprocess.Popen(["sh", "-c", f"exit {code}"]) for code in (3, 0))
        fails.wait()
        ends.wait()
        assert [e for e in exits.come() if e.pid in (fails.pid, ends.pid)] == [ErrorExit(fails.pid, 3)]
    finally:
        exits.close()


def test_what_had_no_room_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracepoint, "_PAGES", 1)
    events = Tracepoint("syscalls/sys_enter_exit_group", "error_code != 0", wakes=False)
    try:
        script = "for i in $(seq 400); do (exit 5); done; exit 0"
        subprocess.run(["sh", "-c", script], check=True)
        seen = len(list(events.come()))
        assert 0 < seen < 400 and events.lost == 0
        subprocess.run(["sh", "-c", "exit 5"], check=False)  # the kernel tells of it before the next that has room
        list(events.come())
        assert events.lost > 0
    finally:
        events.close()


def test_where_there_is_no_tracefs_that_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracepoint, "_PLACES", ())
    with pytest.raises(OSError):
        Tracepoint("signal/signal_deliver")
