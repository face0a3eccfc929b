"""Which thread is borrowed: one that ends, or goes deep into the kernel, just when it is wanted gives its place to the
next."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from suture.process.error import Busy, NoProcess
from suture.process.memory.maps import read_maps
from suture.process.stop import borrow as borrowing
from suture.process.stop.borrow import borrow
from suture.process.stop.detach import release_lingering
from suture.process.stop.stop import Seizure
from suture.process.tracee import Tracee, list_threads, read_stat, read_status

PROGRAM = r"""
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>
/* blocked in read, so it is the first choice; the main thread waits for it in futex */
static void *reader(void *a) {
  char c;
  while (read(0, &c, 1) == 1 && c != 'e') {
    if (c == 'x') _exit(0);
    if (c == 'v' && vfork() == 0) { syscall(SYS_read, 0, &c, 1); _exit(0); }
  }
  return 0;
}
int main(void) {
  pthread_t t;
  pthread_create(&t, 0, reader, 0);
  printf("up\n");
  fflush(stdout);
  pthread_join(t, 0);
  for (;;) pause();
}
"""


@pytest.fixture
def target(gcc: Any, start: Any, tmp_path: Path) -> Any:
    running = start(gcc(tmp_path / "target", PROGRAM, "-pthread", "-w"))
    assert running.line() == "up"
    return running


def state_of(pid: int, tid: int) -> str:
    try:
        return read_stat(pid, tid).state
    except NoProcess:
        return "X"


def pid_seen_by_the_borrowed(target: Any, eventually: Any, order: bytes, states: str) -> int:
    """Borrow a thread; as the reader is seized, let it do what `order` says until it is in one of `states`."""
    reader = next(t for t in list_threads(target.pid) if t != target.pid)

    def on_step(step: str) -> None:
        if step == "borrow: seized" and not asked:
            asked.append(step)
            target.process.stdin.write(order)
            target.process.stdin.flush()
            eventually(lambda: state_of(target.pid, reader) in states)

    asked: list[str] = []
    eventually(lambda: state_of(target.pid, reader) == state_of(target.pid, target.pid) == "S")
    with Tracee(target.pid) as tracee, borrow(tracee, read_maps(target.pid), on_step) as thread:
        assert thread.tid == target.pid
        return thread.call("getpid", 39)


def test_a_thread_that_ends_when_it_is_wanted_is_passed_over(target: Any, eventually: Any) -> None:
    assert pid_seen_by_the_borrowed(target, eventually, b"e", "ZX") == target.pid
    assert target.alive()


def test_a_thread_that_does_not_stop_is_passed_over(target: Any, eventually: Any) -> None:
    assert pid_seen_by_the_borrowed(target, eventually, b"v", "D") == target.pid
    target.process.stdin.write(b"n")
    target.process.stdin.flush()
    release_lingering(2.0)
    assert read_status(target.pid).tracer == 0
    assert target.alive()


def test_a_process_that_ends_is_said_to_have_ended(target: Any, eventually: Any) -> None:
    with pytest.raises(NoProcess):
        pid_seen_by_the_borrowed(target, eventually, b"x", "ZX")


def test_a_number_that_is_another_process_s_by_now_is_not_borrowed(
    target: Any, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = start("sleep", "60")
    monkeypatch.setattr(borrowing, "_candidates", lambda *_: [other.pid, target.pid])
    seen: list[int] = []

    def on_step(step: str) -> None:
        if step == "borrow: seized":
            seen.append(read_status(other.pid).tracer)

    with Tracee(target.pid) as tracee, borrow(tracee, read_maps(target.pid), on_step) as thread:
        assert thread.tid == target.pid
    assert seen == [0]
    assert other.alive()


def test_a_number_that_is_another_process_s_by_now_is_let_go_before_the_stop(
    target: Any, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = start("sleep", "60")
    asked: list[int] = []
    own = Seizure._list

    def once_with_another(seizure: Seizure, pid: int) -> list[int]:
        asked.append(pid)
        return [*own(seizure, pid), *([other.pid] if len(asked) == 2 else [])]

    monkeypatch.setattr(Seizure, "_list", once_with_another)
    with Tracee(target.pid) as tracee, Seizure(tracee) as seizure:
        assert len(asked) >= 3
        assert read_status(other.pid).tracer == 0
        seizure.stop()
        assert sorted(seizure.tids) == sorted(tracee.threads())
    assert other.alive()


def test_a_call_that_does_not_return_ends_with_the_time(target: Any) -> None:
    began = time.monotonic()
    with (
        Tracee(target.pid) as tracee,
        pytest.raises(Busy, match="does not stop"),
        borrow(tracee, read_maps(target.pid), deadline=began + 0.5) as thread,
    ):
        thread.call("pause", 34)
    assert time.monotonic() - began < 4
    assert target.alive()
    with Tracee(target.pid) as tracee, borrow(tracee, read_maps(target.pid)) as thread:
        assert thread.call("getpid", 39) == target.pid
    target.process.stdin.write(b"x")
    target.process.stdin.flush()
    assert target.process.wait(10) == 0
