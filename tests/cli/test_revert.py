"""What `suture revert` counts when it looks for the processes itself."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from suture.cli import main
from suture.error import ExitCode
from suture.host import processes
from suture.process.everywhere import Failure
from suture.report.reason import Reason

ID = "0123456789abcdef"


def test_a_process_that_ends_meanwhile_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    carriers = [SimpleNamespace(pid=pid, patches=[SimpleNamespace(id=ID)]) for pid in (7, 8)]
    busy = Failure(8, "server", "a thread is inside", "wait longer", ExitCode.BUSY, Reason.BUSY_ON_STACK)
    ended = Failure(7, "child", "no such process", "suture scan", ExitCode.NO_PROCESS, Reason.ENDED)
    monkeypatch.setattr(processes, "status_of_all", lambda: (carriers, []))
    monkeypatch.setattr(processes, "in_each", lambda pids, change, **_: [ended, busy])
    assert main.main(["revert", ID]) == ExitCode.BUSY
    said = capsys.readouterr().out
    assert "1 ended meanwhile" in said and "no such process" not in said
    monkeypatch.setattr(processes, "in_each", lambda pids, change, **_: [ended])
    assert main.main(["revert", ID]) == ExitCode.NO_PROCESS
