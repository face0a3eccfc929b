"""The applier is killed with SIGKILL after each of its steps. The target goes on in the old or the new state, status
tells the truth, and the next try repairs what is left."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suture.patch.file import PatchFile
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.memory.placed import State
from suture.process.see.status import status
from tests.killed import applying, killed_after

WORKER = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>
__attribute__((noinline)) int f(int x) { __asm__ volatile(""); return x * 3 + 1; }
__attribute__((noinline)) int g(int x) { __asm__ volatile(""); return f(x) + 1; }
__attribute__((noinline)) int h(int x) { __asm__ volatile(""); return x ^ 0x55; }
static int first_f, first_h;
static volatile long rounds, wrong, early;
/* every answer is the old or the new one; sums of floats must survive the borrowing of a thread */
static void *work(void *a) {
  double sum = 0;
  for (long i = 1;; i++) {
    int v = f(7), w = g(7);
    if ((v != 22 && v != 70) || (w != 23 && w != 71)) wrong++;
    if (h(1) != 0x54 && h(1) != 1001) wrong++;
    sum += 0.5;
    if (sum != i * 0.5) wrong++;
    rounds++;
    if (i % 64 == 0) usleep(100);
  }
}
static void *sleeper(void *a) {
  for (;;) {
    struct timespec t = {0, 30000000}, p, q;
    clock_gettime(CLOCK_MONOTONIC, &p);
    if (nanosleep(&t, 0)) wrong++;
    clock_gettime(CLOCK_MONOTONIC, &q);
    if ((q.tv_sec - p.tv_sec) * 1000000000L + q.tv_nsec - p.tv_nsec < 30000000) early++;
  }
}
int main(void) {
  char line[64];
  pthread_t t;
  setvbuf(stdout, 0, _IOLBF, 0);
  pthread_create(&t, 0, work, 0);
  pthread_create(&t, 0, sleeper, 0);
  while (fgets(line, sizeof line, stdin)) printf("%d %d %d %ld %ld %d\n", f(7), g(7), h(1), wrong, early, rounds > 0);
  puts("end of input");
}
"""
NEW = "int f(int x) { return x * 10; } int h(int x) { return x + 1000; }"
OLD_ANSWER, NEW_ANSWER = "22 23 84 0 0 1", "70 71 1001 0 0 1"
GROUPS = {"f": ["f", "h"]}


def one(name: str, make: Callable[..., Any], tmp: Path, program: Path) -> PatchFile:
    patch: PatchFile = make(tmp, program, NEW, GROUPS, name=name)
    return patch


def check_alive(target: Any, where: str) -> str:
    answer: str = target.ask()
    assert answer in (OLD_ANSWER, NEW_ANSWER), (where, answer)
    return answer


@pytest.fixture(scope="module")
def worker(gcc: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gcc(tmp_path_factory.mktemp("worker") / "worker", WORKER, "-pthread")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def suture_mappings(pid: int) -> int:
    return Path(f"/proc/{pid}/maps").read_text().count("memfd:suture:")


def test_apply_may_be_killed_after_every_step_of_a_first_apply(
    start: Callable[..., Any], worker: Path, make_patch: Callable[..., PatchFile], tmp_path: Path
) -> None:
    patch = one("killed", make_patch, tmp_path, worker)
    seen = []
    for step in range(1, 200):
        target = start(worker)
        while target.ask() != OLD_ANSWER:
            pass
        before = descriptors(target.pid)
        name = killed_after(step, applying(target.pid, patch))
        if name is None:
            break
        seen.append(name)
        answer = check_alive(target, name)
        told = status(target.pid).patches
        if answer == NEW_ANSWER:
            assert told[0].state in (State.APPLIED, State.INTERRUPTED), name
            assert told[0].groups[0].effective is State.APPLIED, name
        elif told and told[0].groups:
            assert told[0].groups[0].effective in (State.REVERTED, State.NEVER_APPLIED), name
        check_alive(target, name)
        result = apply(target.pid, patch)
        assert result.groups[0].state is State.APPLIED, name
        assert target.ask() == NEW_ANSWER, name
        assert descriptors(target.pid) == before, name
        assert suture_mappings(target.pid) == 2, name
        assert [p.state for p in status(target.pid).patches] == [State.APPLIED], name
        revert(target.pid, patch.id)
        assert target.ask() == OLD_ANSWER, name
        target.process.kill()
    assert len(seen) >= 20, seen
    assert "mmap: entered" in seen and "switch f" in seen and "finish f" in seen and "borrow: at rest" in seen


def test_revert_may_be_killed_after_every_step(
    start: Callable[..., Any], worker: Path, make_patch: Callable[..., PatchFile], tmp_path: Path
) -> None:
    patch = one("killed2", make_patch, tmp_path, worker)
    target = start(worker)
    while target.ask() != OLD_ANSWER:
        pass
    seen = []
    for step in range(1, 200):
        apply(target.pid, patch)
        assert target.ask() == NEW_ANSWER
        name = killed_after(step, lambda on_step: revert(target.pid, patch.id, on_step=on_step))
        if name is None:
            break
        seen.append(name)
        answer = check_alive(target, name)
        told = status(target.pid).patches[0].groups[0].effective
        assert told is (State.APPLIED if answer == NEW_ANSWER else State.REVERTED), name
        revert(target.pid, patch.id)
        assert target.ask() == OLD_ANSWER, name
    assert "switch f" in seen and len(seen) >= 7
    assert suture_mappings(target.pid) == 2


def test_replace_may_be_killed_after_every_step(
    start: Callable[..., Any], worker: Path, make_patch: Callable[..., PatchFile], tmp_path: Path
) -> None:
    first = make_patch(tmp_path, worker, "int f(int x) { return x * 3 + 1; } int g(int x) { return 71; }",
    {"a": ["f", "g"]},
                       name="a")  # fmt: skip
    second = make_patch(tmp_path, worker, NEW, GROUPS, name="b", supersedes=("a",))
    target = start(worker)
    while target.ask() != OLD_ANSWER:
        pass
    before, after = "22 71 84 0 0 1", "70 71 1001 0 0 1"
    seen = []
    for step in range(1, 200):
        apply(target.pid, first)
        assert target.ask() == before
        name = killed_after(step, lambda on_step: apply(target.pid, second, on_step=on_step))
        if name is None:
            break
        seen.append(name)
        answer = target.ask()
        assert answer in (before, after), (name, answer)
        result = apply(target.pid, second)
        assert result.groups[0].state is State.APPLIED
        assert target.ask() == after
        states = {p.name: p.state for p in status(target.pid).patches}
        assert states["b"] is State.APPLIED and states["a"] is not State.APPLIED, (name, states)
        revert(target.pid, second.id)
        assert target.ask() == OLD_ANSWER, name
    assert any(s.startswith("stub of") for s in seen) and "switch f" in seen
    assert suture_mappings(target.pid) == 4
