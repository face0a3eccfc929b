"""Who works on a process does not wait for a processor on a loaded machine, and does not take it from others for
long."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from suture.process import urgency
from suture.process.urgency import Urgency, hurry, is_loaded, keep_to_hurry, lending


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    answer = [True]
    monkeypatch.setattr(urgency, "is_loaded", lambda: answer[0])
    yield answer
    assert not is_urgent()


def is_urgent() -> bool:
    return bool(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO)


def burn(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_only_a_loaded_machine_is_a_reason_for_hurry(loaded: list[bool]) -> None:
    with hurry():
        assert is_urgent()
    loaded[0] = False
    with hurry():
        assert not is_urgent()


def test_hurry_ends_when_its_time_is_used_up(loaded: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urgency, "HURRY_SECONDS", 0.05)
    with hurry():
        keep_to_hurry()
        assert is_urgent()
        burn(0.06)
        keep_to_hurry()
        assert not is_urgent()
        with hurry():
            assert is_urgent(), "the next process has its own"


def test_one_process_after_the_other_keeps_the_priority_while_the_machine_is_loaded(loaded: list[bool]) -> None:
    with hurry():
        with hurry():
            assert is_urgent()
        assert is_urgent()
        loaded[0] = False
        with hurry():
            assert not is_urgent()
        assert not is_urgent()


def test_a_stop_within_a_hurry_does_not_end_it(loaded: list[bool]) -> None:
    with hurry():
        stop = Urgency()
        stop.begin()
        stop.end()
        assert is_urgent()


def test_priority_is_lent_in_a_hurry_only(loaded: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert lending().most == 0
    with hurry():
        assert lending().most > 0
        urgency._current.hurry.urgency.end()  # type: ignore[union-attr]
        assert lending().most == 0


def test_a_machine_is_loaded_by_threads_that_want_to_run() -> None:
    children = []
    try:
        for _ in range(3 * (os.cpu_count() or 1)):
            pid = os.fork()
            if not pid:
                burn(60)
                os._exit(0)
            children.append(pid)
        time.sleep(0.2)
        assert is_loaded()
    finally:
        for pid in children:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
