"""What a search of a static program costs: what its code is worth, however the program lays it out."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from suture.match.pattern import Pattern
from suture.process.error import Hostile
from suture.process.see.copies import Copies
from suture.process.see.find import Found, every_process
from suture.report.reason import Reason

SLOW = 3  # a machine may be so many times slower than the goal is for
GOAL = 0.1
REPETITIVE = bytes(63) + b"x"  # in zeros, the slowest of all to look for
PROGRAM = r"""
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
__asm__(".text\n.fill %d, 1, %d\n");
int main(int c, char **v) {
  int f = open(v[0], O_RDONLY);
  for (int i = 0; i < %d; i++) mmap(0, 48 << 20, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_NORESERVE, f, 0);
  write(1, "up\n", 3);
  pause();
}
"""
Start = Callable[[int, int, int], Found]


@pytest.fixture
def start(gcc: Callable[..., Path], tmp_path: Path) -> Iterator[Start]:
    """A static program with so many bytes of the same value as code, mapped so many times more."""
    running: list[subprocess.Popen[bytes]] = []

    def start(size: int, value: int, mappings: int) -> Found:
        program = gcc(tmp_path / "program", PROGRAM % (size, value, mappings), "-static")
        process = subprocess.Popen([program], stdout=subprocess.PIPE)
        running.append(process)
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        return next(p for p in every_process()[0] if p.pid == process.pid)

    yield start
    for process in running:
        process.kill()
        process.wait()


def search(found: Found, *patterns: bytes) -> tuple[Any, float]:
    """What the search says, and its processor time in seconds."""
    copies = Copies([])
    copies._wanted = [(None, [(f"f{n}", Pattern(data, ())) for n, data in enumerate(patterns)])]  # type: ignore[list-item]
    begin = time.thread_time()
    try:
        said: Any = copies.held_by(found)
    except Hostile as problem:
        said = problem.reason
    return said, time.thread_time() - begin


def test_code_that_is_made_slow_to_search_is_given_up_early(start: Start) -> None:
    said, seconds = search(start(60 << 20, 0, 0), REPETITIVE)
    assert said is Reason.TOO_COSTLY and seconds < 2 * GOAL


def test_code_that_is_mapped_again_and_again_is_not_walked(start: Start) -> None:
    said, seconds = search(start(48 << 20, 0x90, 1000), REPETITIVE)
    assert said is Reason.TOO_MUCH_CODE and seconds < GOAL


def test_an_honest_program_is_searched_whole_for_many_functions(start: Start) -> None:
    one, seconds = search(start(60 << 20, 0x90, 0), bytes(range(64)))
    assert one is None and seconds < SLOW * GOAL
    said, _ = search(start(60 << 20, 0x90, 0), *(bytes(range(n, n + 64)) for n in range(50)))
    assert said is None
