"""A thread of another process has our priority for as long as it is lent, and not a moment longer."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from suture.process import x86_64
from suture.process.lending import PRIORITY, Lending, start_alike
from suture.process.stop.stop import Seizure
from suture.process.tracee import Tracee
from suture.process.urgency import hurry

ORDINARY = 20 + os.getpriority(os.PRIO_PROCESS, 0)
OURS = len(os.listdir("/proc/self/task"))  # threads of this process
LENT = -1 - PRIORITY  # proc_pid_stat(5), (18) priority: minus one more for real-time


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sh", "-c", "while :; do :; done"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def computing(folder: Path, threads: int) -> Iterator[int]:
    """A process with so many threads that compute."""
    source = """#include <pthread.h>
static void *compute(void *a) { volatile unsigned long x = 0; for (;;) x++; }
int main(void) { pthread_t t; for (int i = 1; i < THREADS; i++) pthread_create(&t, 0, compute, 0); compute(0); }"""
    (folder / "computing.c").write_text(source)
    command = ["gcc", "-O2", "-pthread", f"-DTHREADS={threads}", "-o", "computing", "computing.c"]
    subprocess.run(command, cwd=folder, check=True)
    process = subprocess.Popen([folder / "computing"])
    try:
        while len(os.listdir(f"/proc/{process.pid}/task")) < threads:
            time.sleep(0.01)
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextmanager
def watched(pid: int) -> Iterator[None]:
    """Kill it after half a minute, with a priority above all: a machine that stands still ends no test."""
    guard = subprocess.Popen(["chrt", "-f", "50", "sh", "-c", f"sleep 30; kill -9 {pid}"], start_new_session=True)
    try:
        yield
        assert guard.poll() is None, "took half a minute"
    finally:
        os.killpg(guard.pid, signal.SIGKILL)
        guard.wait()


def lends(lending: Lending, *tids: int) -> bool:
    """Whether it does now."""
    lending.begin(tids)
    return lending.lent > 0


def lends_after(last: Lending, lending: Lending, tid: int) -> bool:
    last.release()
    return lends(lending, tid)


def threads() -> int:
    """Of this process, with those that Python knows nothing of."""
    return len(os.listdir("/proc/self/task"))


def priority(tid: int) -> int:
    raw = Path(f"/proc/{tid}/stat").read_bytes()
    return int(raw[raw.rindex(b")") + 2 :].split()[15])


def test_a_thread_has_it_until_it_is_taken_back_again_and_again(busy: Any, eventually: Any) -> None:
    lending = Lending()
    lending.prepare()
    try:
        for _ in range(20):
            eventually(lambda: lends(lending, busy.pid))
            eventually(lambda: priority(busy.pid) == LENT)
            assert lending.lent == 1
            assert os.sched_getscheduler(busy.pid) == os.SCHED_OTHER, "its own scheduling is not touched"
            lending.end_all()
            assert lending.lent == 0
            eventually(lambda: priority(busy.pid) == ORDINARY)
    finally:
        lending.close()
    assert threads() == OURS


def test_one_processor_is_left(tmp_path: Path, eventually: Any) -> None:
    """Who has it and computes has the lender's priority: without a processor of its own the lender could not end."""
    processors = os.cpu_count() or 1
    with computing(tmp_path, 4 * processors) as pid, watched(pid):
        tids = [int(t) for t in os.listdir(f"/proc/{pid}/task")]
        lending, other = Lending(), Lending()
        lending.prepare()
        other.prepare()
        for _ in range(5):
            eventually(lambda: lends(lending, *tids))
            time.sleep(0.01)
            assert lending.lent == sum(priority(tid) == LENT for tid in tids) == min(processors - 1, 8)
            other.begin(tids[::-1])
            assert other.lent == 0, "another lends at this moment"
            lending.end_all()
            eventually(lambda: all(priority(tid) == ORDINARY for tid in tids))
            eventually(lambda: lends_after(lending, other, tids[0]))
            other.end_all()
            eventually(lambda: lends_after(other, lending, tids[0]))
            lending.end_all()
        lending.close()
        other.close()
    assert threads() == OURS


def test_a_process_that_computes_in_all_its_threads_is_stopped_in_a_hurry_again_and_again(
    tmp_path: Path, eventually: Any
) -> None:
    """When lenders needed the interpreter one such stop took eight seconds, and the machine stood still meanwhile."""
    with computing(tmp_path, 4 * (os.cpu_count() or 1)) as pid, watched(pid):
        longest = 0.0
        for _ in range(50):
            begin = time.monotonic()
            with hurry(), Tracee(pid) as tracee, Seizure(tracee) as seizure:
                seizure.stop(2.0)
            longest = max(longest, time.monotonic() - begin)
            eventually(lambda: not any(priority(int(tid)) == LENT for tid in os.listdir(f"/proc/{pid}/task")))
        assert longest < 2


def test_who_claims_waits_for_another_applier_and_not_for_good(busy: Any, eventually: Any) -> None:
    first, second = Lending(), Lending()
    first.prepare()
    second.prepare()
    eventually(lambda: lends(first, busy.pid))
    begin = time.monotonic()
    second.claim()
    assert 0.04 < time.monotonic() - begin < 1
    second.begin((busy.pid,))
    assert second.lent == 0, "another lends at this moment"
    first.end_all()
    eventually(lambda: lends_after(first, second, busy.pid))
    second.end_all()
    second.close()
    first.claim()
    eventually(lambda: lends(first, busy.pid))
    first.close()


def test_a_stop_leaves_the_right_to_lend_once_all_threads_stand_still(
    busy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pause goes on; another applier lends meanwhile."""
    monkeypatch.setattr("suture.process.urgency.is_loaded", lambda: True)
    claimed, freed = [], []
    for _ in range(20):
        other = Lending()
        other.prepare()
        with hurry(), Tracee(busy.pid) as tracee, Seizure(tracee) as seizure:
            lending = seizure._lending

            def claim(one: Lending = lending) -> None:
                Lending.claim(one)
                claimed.append(one._has_right)

            monkeypatch.setattr(lending, "claim", claim)
            seizure.stop(2.0)
            freed.append(not lending._has_right)
        other.close()
    assert all(claimed) and len(claimed) == 20
    assert any(freed), "a lender that is still on its way back keeps it"


def test_who_is_killed_leaves_nobody_with_real_time_priority(tmp_path: Path, eventually: Any) -> None:
    with computing(tmp_path, 2 * (os.cpu_count() or 1) + 1) as pid, watched(pid):
        for n in range(30):
            if not (child := os.fork()):
                while True:
                    with hurry(), Tracee(pid) as tracee, Seizure(tracee) as seizure:
                        seizure.stop(2.0)
            time.sleep(0.05 + n * 0.003)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            eventually(lambda: all(priority(int(t)) >= 0 for t in os.listdir(f"/proc/{pid}/task")))


def test_the_code_of_lenders_is_what_its_source_says(tmp_path: Path) -> None:
    (tmp_path / "lender.s").write_text(x86_64.LENDER_SOURCE)
    subprocess.run(["as", "-o", "lender.o", "lender.s"], cwd=tmp_path, check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", "lender.o", "lender"], cwd=tmp_path, check=True)
    assert (tmp_path / "lender").read_bytes() == x86_64.LENDER


def test_it_ends_with_the_lender_however_that_ends(busy: Any, eventually: Any) -> None:
    lender = os.fork()
    if not lender:
        lending = Lending()
        lending.prepare()
        while not lends(lending, busy.pid):
            time.sleep(0.001)
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
    lending.prepare()
    begin = time.monotonic()
    lending.begin((busy.pid,))
    busy.kill()
    busy.wait()
    lending.end_all()
    for _ in range(100):
        lending.begin((busy.pid,))
        lending.end_all()
    lending.close()
    assert time.monotonic() - begin < 2
    assert threads() == OURS


def test_where_it_is_not_allowed_nothing_is_lent(busy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(argument: int, priority: int) -> int:
        raise PermissionError

    monkeypatch.setattr("suture.process.syscall.start_bare", refuse)
    lending = Lending()
    lending.prepare()
    lending.begin((busy.pid,))
    assert (lending.lent, priority(busy.pid)) == (0, ORDINARY)
    lending.end_all()
    lending.close()


def test_with_one_processor_nothing_is_lent(busy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    lending = Lending()
    lending.prepare()
    lending.begin((busy.pid,))
    assert (lending.lent, threads()) == (0, OURS)
    lending.close()


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
