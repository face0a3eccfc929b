"""Threads that are nearly always inside the function are caught as they leave it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suture.elf.file import ElfFile
from suture.number import Vaddr
from suture.patch.file import PatchFile
from suture.process.change import switch
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.error import Busy
from suture.process.memory.maps import read_maps
from suture.process.stop.catch import Catch, Exit, ignoring_trap
from suture.process.tracee import Tracee, list_threads, read_stat, read_status

Start = Callable[..., Any]

# f works for `us` microseconds and is called again at once; the answer of its last call is in `last`, which the main
# thread prints
PROGRAM = r"""
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static volatile int last, how; static volatile long calls;
static void burn(long us) { struct timespec a, b; clock_gettime(CLOCK_MONOTONIC, &a);
    do clock_gettime(CLOCK_MONOTONIC, &b);
    while ((b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000 < us); }
__attribute__((noinline)) int f(int x) { if (how == 'r' && x) f(x - 1); if (how == 's') usleep(3000);
    else burn(2000); __asm__ volatile(""); return x * 3 + 1; }
static void *worker(void *a) { for (;;) { int v = f(2); __asm__ volatile("" : "+r"(v)); last = v; calls++; } return a; }
int main(int argc, char **argv) {
  char line[64]; pthread_t t; setvbuf(stdout, 0, _IOLBF, 0);
  how = argv[1][0];
  if (how == 'h') signal(SIGTRAP, exit);
  for (int i = atoi(argv[2]); i; i--) pthread_create(&t, 0, worker, 0);
  while (fgets(line, sizeof line, stdin)) { long before = calls; while (calls < before + 20) usleep(1000);
      printf("%d\n", last); }
}
"""


@pytest.fixture(scope="module", params=["-O0", "-O2"])
def built(
    request: pytest.FixtureRequest, gcc: Any, make_patch: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, PatchFile]:
    folder = tmp_path_factory.mktemp("catch")
    program = gcc(folder / "target", PROGRAM, "-w", "-pthread", request.param)
    new = "int usleep(unsigned); int f(int x) { usleep(100); return 1000; }"
    return program, make_patch(folder, program, new, {"f": ["f"]})


@pytest.mark.parametrize("way", ["works", "sleeps", "recurses"])
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_in_a_loop_around_the_function(
    start: Start, built: tuple[Path, PatchFile], way: str, threads: int
) -> None:
    program, patch = built
    target = start(program, way[0], threads)
    assert target.ask() == "7"
    begin = time.monotonic()
    apply(target.pid, patch, timeout=20)
    assert time.monotonic() - begin < 15
    assert target.ask() == "1000"
    assert read_status(target.pid).ignored & 1 << (signal.SIGTRAP - 1) == 0
    assert read_status(target.pid).tracer == 0
    revert(target.pid, patch.id, timeout=20)
    assert target.ask() == "7"


def test_without_it_sampling_goes_on_until_the_time_is_over(
    start: Start, built: tuple[Path, PatchFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switch, "MOST_THREADS", 0)
    target = start(built[0], "w", 1)
    assert target.ask() == "7"
    with pytest.raises(Busy, match=r"is in f|did not stop in time"):  # the latter on a machine with much else to do
        apply(target.pid, built[1], timeout=1)
    assert target.ask() == "7"


def test_a_handler_for_the_signal_is_never_called(start: Start, built: tuple[Path, PatchFile]) -> None:
    target = start(built[0], "h", 1)
    assert target.ask() == "7"
    with pytest.raises(Busy, match=r"is in f|did not stop in time"):  # the latter on a machine with much else to do
        apply(target.pid, built[1], timeout=1)
    assert target.ask() == "7" and target.alive()


def test_a_stopped_process_stays_stopped_and_nobody_stays_attached(
    start: Start, built: tuple[Path, PatchFile], eventually: Callable[..., None]
) -> None:
    target = start(built[0], "w", 1)
    assert target.ask() == "7"
    os.kill(target.pid, signal.SIGSTOP)
    begin = time.monotonic()
    with pytest.raises(Busy, match=r"is in f|did not stop in time"):
        apply(target.pid, built[1], timeout=0.5)
    assert time.monotonic() - begin < 5
    threads = list_threads(target.pid)
    assert all(read_status(tid).tracer == 0 for tid in threads)
    eventually(lambda: all(read_stat(target.pid, tid).state == "T" for tid in threads))
    os.kill(target.pid, signal.SIGCONT)
    assert target.ask() == "7"


def test_a_trap_that_the_dead_applier_has_not_taken_harms_nobody(
    start: Start, built: tuple[Path, PatchFile], eventually: Callable[..., None]
) -> None:
    target = start(built[0], "w", 1)
    assert target.ask() == "7"
    worker = max(list_threads(target.pid))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with Tracee(target.pid) as tracee, ignoring_trap(tracee):
                assert Catch(tracee, {worker: Exit(behind_call(target.pid, built[0]), 0)}).arm()
                os.write(write, b"x")
                time.sleep(60)
        finally:
            os._exit(0)
    assert os.read(read, 1) == b"x"
    time.sleep(0.2)  # long enough to leave f, and to stand before a signal that nobody takes
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert target.ask() == "7" and target.alive()


def behind_call(pid: int, program: Path) -> int:
    """Where f returns to in worker."""
    elf = ElfFile.read(program)
    f, worker = (next(s for s in elf.symbols if s.name == name) for name in ("f", "worker"))
    body = elf.read_at(Vaddr(worker.st_value), worker.st_size)
    for at in range(len(body) - 5):
        behind = worker.st_value + at + 5
        if body[at] == 0xE8 and behind + int.from_bytes(body[at + 1 : at + 5], "little", signed=True) == f.st_value:
            return read_maps(pid).mappings[0].start + behind
    raise AssertionError("worker does not call f")


def test_the_applier_may_be_killed_at_any_time_while_it_waits(start: Start, built: tuple[Path, PatchFile]) -> None:
    program, patch = built
    target = start(program, "w", 1)
    assert target.ask() == "7"
    for n in range(8):
        child = os.fork()
        if child == 0:
            try:
                while True:
                    apply(target.pid, patch, timeout=5)
                    revert(target.pid, patch.id, timeout=5)
            finally:
                os._exit(0)
        time.sleep(0.08 + n * 0.011)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert target.ask() in ("7", "1000") and target.alive()
    apply(target.pid, patch, timeout=20)
    assert target.ask() == "1000"
