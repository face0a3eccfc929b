"""Looks that do not return, that die, or that fail: the others are looked at all the same, and nobody is left out."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suture.error import ExitCode, Refused, SutureError
from suture.number import Address
from suture.process.memory import memory
from suture.process.see.aside import Told, alone, each

SILENT = r"""
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
/* a mapped file whose pages are asked for and never given, as by a server of FUSE that does not answer */
int main(void) {
  int u = syscall(SYS_userfaultfd, 0), f = memfd_create("silent", 0);
  struct uffdio_api api = {.api = UFFD_API};
  ioctl(u, UFFDIO_API, &api);
  ftruncate(f, 65536);
  char *p = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE, f, 0);
  struct uffdio_register r = {.range = {(unsigned long)p, 65536}, .mode = UFFDIO_REGISTER_MODE_MISSING};
  if (ioctl(u, UFFDIO_REGISTER, &r)) { perror("userfaultfd"); return 1; }
  printf("%lu\n", (unsigned long)p);
  fflush(stdout);
  pause();
}
"""


@pytest.fixture
def silent(start: Callable[..., Any], gcc: Callable[..., Path], tmp_path: Path) -> tuple[int, int]:
    """A process and the address of a page of it that nobody ever gets to read."""
    target = start(gcc(tmp_path / "silent", SILENT))
    return target.pid, int(target.line())


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_answers_come_in_order_and_errors_in_their_own_words() -> None:
    def look(pid: int) -> str:
        if pid == 3:
            raise Refused("pid 3: no", "do this")
        if pid == 4:
            raise KeyError("defect")
        return f"seen {pid}"

    before = children()
    found = list(each(range(1, 6), look))
    assert [a.pid for a in found] == [1, 2, 3, 4, 5]
    assert [a.result for a in found] == ["seen 1", "seen 2", None, None, "seen 5"]
    told = found[2].problem
    assert isinstance(told, Told) and (told.what, told.remedy, told.exit_code) == (
        "pid 3: no",
        "do this",
        ExitCode.REFUSED,
    )
    assert found[3].problem is not None and "KeyError" in found[3].problem.what
    assert children() == before


def test_a_look_that_never_returns_costs_the_others_a_moment_and_is_named(silent: tuple[int, int]) -> None:
    pid, address = silent

    def look(n: int) -> bytes:
        return memory.try_read(pid, Address(address), 8) if n in (2, 3) else b"%d" % n

    began, before = time.monotonic(), children()
    found = list(each([1, 2, 3, 4], look))
    assert time.monotonic() - began < 20
    assert [a.pid for a in found] == [1, 4, 2, 3]
    assert [a.result for a in found[:2]] == [b"1", b"4"]
    assert all(a.problem is not None and f"cat /proc/{a.pid}/maps" in a.problem.remedy for a in found[2:])
    assert children() == before


def test_one_that_is_only_slow_is_waited_for_beside_the_others() -> None:
    def look(n: int) -> int:
        if n == 1:
            time.sleep(0.6)
        return n

    assert [a.result for a in each([1, 2, 3], look)] == [2, 3, 1]


def test_a_scout_that_is_killed_costs_one_process_its_turn() -> None:
    def look(n: int) -> int:
        if n == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return n

    found = list(each([1, 2, 3], look))
    assert [a.result for a in found] == [1, None, 3] and found[1].problem is not None


def test_leaving_early_leaves_no_child(silent: tuple[int, int]) -> None:
    before = children()
    for answer in each([1, 2], lambda n: n):
        assert answer.result == 1
        break
    assert children() == before


def test_work_on_one_process_has_its_time_and_no_more(silent: tuple[int, int]) -> None:
    pid, address = silent
    assert alone(pid, lambda: 7, 10) == 7
    with pytest.raises(SutureError, match="no") as caught:
        alone(pid, lambda: (_ for _ in ()).throw(Refused("no", "do")), 10)
    assert caught.value.exit_code is ExitCode.REFUSED
    began, before = time.monotonic(), children()
    with pytest.raises(SutureError, match="does not return"):
        alone(pid, lambda: memory.read(pid, Address(address), 8), 0.3)
    assert time.monotonic() - began < 60
    assert children() == before
