"""Who may ask, and how often."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from suture.agent import listener, request
from suture.agent.journal import Journal
from suture.agent.listener import Listener
from suture.agent.request import AgentAnswer, AgentRequest, NoService, Work
from suture.report.agent import AgentVerdict
from suture.report.reason import Reason
from tests.nobody import NOBODY

DONE = AgentAnswer(AgentVerdict.APPLY, None, ())


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Listener]:
    one = Listener(tmp_path / "run/socket", os.geteuid(), Journal())
    yield one
    one.close()


def serve(
    door: Listener, times: int, answer: Callable[[AgentRequest], AgentAnswer] = lambda _: DONE
) -> threading.Thread:
    def work() -> None:
        for _ in range(times):
            door.serve_one(answer)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_the_socket_is_open_to_one_user_alone(door: Listener) -> None:
    facts = door.path.stat()
    assert stat.S_IMODE(facts.st_mode) == 0o600 and facts.st_uid == os.geteuid()
    thread = serve(door, 1)
    assert request.ask(door.path, AgentRequest(Work.SCAN), 10) == DONE
    thread.join()


def test_another_user_is_refused_by_the_kernels_word(
    door: Listener, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Even where the file's mode let somebody in."""
    os.chmod(door.path, 0o666)
    for folder in (door.path.parent, tmp_path, *tmp_path.parents[:-2]):
        os.chmod(folder, folder.stat().st_mode | 0o755)
    thread = serve(door, 1)
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setuid(NOBODY)
        try:
            refused = request.ask(door.path, AgentRequest(Work.SCAN), 10).verdict is AgentVerdict.REFUSE
        except NoService:  # hung up on before it had asked
            refused = True
        os._exit(0 if refused else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    thread.join()
    assert f"user {NOBODY} may not ask" in capfd.readouterr().err


def test_garbage_and_silence_do_not_end_it(door: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_SECONDS", 0.3)
    thread = serve(door, 4)
    for data in (b"nonsense\n", b"x" * 5000, b""):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(door.path))
            line.sendall(data)
            line.settimeout(10)
            if data:
                found = request.decode_answer(request.receive(line, 10, answer=True))
                assert found.verdict is AgentVerdict.REFUSE and found.why
    assert request.ask(door.path, AgentRequest(Work.SCAN), 10) == DONE
    thread.join()


def test_a_defect_costs_one_request_and_not_the_service(door: Listener) -> None:
    def fails(one: AgentRequest) -> AgentAnswer:
        if one.work is Work.SCAN:
            raise ZeroDivisionError("of a test")
        return DONE

    thread = serve(door, 2, fails)
    found = request.ask(door.path, AgentRequest(Work.SCAN), 10)
    assert found.verdict is AgentVerdict.REFUSE and found.why and found.why.reason is Reason.DEFECT
    assert request.ask(door.path, AgentRequest(Work.REVERT, patch="0123456789abcdef"), 10) == DONE
    thread.join()


def test_too_many_requests_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_MOST_REQUESTS", 3)
    door = Listener(tmp_path / "socket", os.geteuid(), Journal())
    thread = serve(door, 4)
    verdicts = [request.ask(door.path, AgentRequest(Work.SCAN), 10).verdict for _ in range(4)]
    assert verdicts == [AgentVerdict.APPLY] * 3 + [AgentVerdict.REFUSE]
    thread.join()
    door.close()
