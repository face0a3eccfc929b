"""What is wrong with a process that is just starting a program is no lasting fault, and is not told as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from suture.error import ExitCode, SutureError
from suture.patch.file import PatchFile
from suture.process.change.apply import apply
from suture.process.change.revert import revert

TRANSIENT = (ExitCode.NO_PROCESS, ExitCode.BUSY)
EXECUTES = r"""
#include <stdio.h>
#include <unistd.h>
__attribute__((noinline)) int f(int x) { __asm__ volatile(""); return x * 3 + 1; }
int main(int c, char **v) {
  if (c == 1) { puts("up"); fflush(stdout); }
  for (volatile int i = 0; i < 100000; i++) f(i);
  execl("/proc/self/exe", v[0], "again", (char *)0);
}
"""


@contextmanager
def suppressed(told: list[SutureError]) -> Iterator[None]:
    try:
        yield
    except SutureError as problem:
        told.append(problem)


def test_a_process_that_executes_all_the_time_is_told_so_and_to_try_again(
    start: Callable[..., Any],
    gcc: Callable[..., Path],
    make_patch: Callable[..., PatchFile],
    tmp_path: Path,
) -> None:
    program = gcc(tmp_path / "executes", EXECUTES)
    patch = make_patch(tmp_path, program, "int f(int x) { return 1000; }", {"f": ["f"]})
    target = start(program)
    assert target.line() == "up"
    told: list[SutureError] = []
    deadline = time.monotonic() + 60
    while len(told) < 20 or not any("try again" in p.remedy and "files are fixed" in p.remedy for p in told):
        assert time.monotonic() < deadline, [(p.what, p.remedy) for p in told]
        with suppressed(told):
            assert apply(target.pid, patch, timeout=0.2).exit_code is ExitCode.OK
        with suppressed(told):
            assert revert(target.pid, patch.id, timeout=0.2).exit_code is ExitCode.OK
    wrong = [(p.what, p.remedy) for p in told if p.exit_code not in TRANSIENT]
    assert not wrong
    assert target.alive()


def test_a_process_that_has_only_just_started_is_waited_for(
    start: Callable[..., Any], gcc: Callable[..., Path], make_patch: Callable[..., PatchFile], tmp_path: Path
) -> None:
    source = r"""
    #include <stdio.h>
    __attribute__((noinline)) int f(int x) { __asm__ volatile(""); return x * 3 + 1; }
    int main(void) { setvbuf(stdout, 0, _IOLBF, 0); while (getchar() != EOF) printf("%d\n", f(7)); }
    """
    program = gcc(tmp_path / "starts", source)
    patch = make_patch(tmp_path, program, "int f(int x) { return 1000; }", {"f": ["f"]})
    told: list[str] = []
    for _ in range(30):
        target = start(program)
        try:
            apply(target.pid, patch)
        except SutureError as problem:
            told.append(problem.what)
        else:
            assert target.ask() == "1000"
    assert not told
