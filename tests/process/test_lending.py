"""A thread of another process has our priority for as long as it is lent, and not a moment longer."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from suture.process.lending import MOST_LENT, PRIORITY, Lending, start_alike

ORDINARY = 20 + os.getpriority(os.PRIO_PROCESS, 0)
LENT = -1 - PRIORITY  # proc_pid_stat(5), (18) priority: minus one more for real-time


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sh", "-c", "while :; do :; done"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def priority(tid: int) -> int:
    raw = Path(f"/proc/{tid}/stat").read_bytes()
    return int(raw[raw.rindex(b")") + 2 :].split()[15])


def test_a_thread_has_it_until_it_is_taken_back_again_and_again(busy: Any) -> None:
    lending = Lending()
    try:
        for _ in range(20):
            lending.begin((busy.pid,))
            assert priority(busy.pid) == LENT
            assert os.sched_getscheduler(busy.pid) == os.SCHED_OTHER, "its own scheduling is not touched"
            lending.end()
            deadline = time.monotonic() + 5
            while priority(busy.pid) != ORDINARY:
                assert time.monotonic() < deadline
    finally:
        lending.close()
    assert threading.active_count() == 1


def test_it_ends_with_the_lender_however_that_ends(busy: Any, eventually: Any) -> None:
    lender = os.fork()
    if not lender:
        Lending().begin((busy.pid,))
        time.sleep(60)
        os._exit(1)
    try:
        eventually(lambda: priority(busy.pid) == LENT)
    finally:
        os.kill(lender, signal.SIGKILL)
        os.waitpid(lender, 0)
    assert priority(busy.pid) == ORDINARY


def test_one_that_ends_meanwhile_or_is_not_there_costs_nothing(busy: Any) -> None:
    lending = Lending()
    begin = time.monotonic()
    lending.begin((busy.pid,))
    busy.kill()
    busy.wait()
    lending.end()
    for _ in range(5):
        lending.begin((busy.pid,))
        lending.end()
    lending.begin((os.getpid(),))
    assert priority(os.getpid()) == LENT
    lending.close()
    assert time.monotonic() - begin < 2


def test_too_many_are_lent_nothing(busy: Any) -> None:
    lending = Lending()
    lending.begin([busy.pid] * (MOST_LENT + 1))
    lending.close()
    assert priority(busy.pid) == ORDINARY


def test_a_thread_is_started_with_the_priority_of_who_starts_it() -> None:
    found = []
    thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)))
    wanted = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    os.sched_setscheduler(0, wanted, os.sched_param(1))
    try:
        start_alike(thread)
        assert os.sched_getscheduler(0) == wanted
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    thread.join()
    assert found == [os.SCHED_FIFO]
