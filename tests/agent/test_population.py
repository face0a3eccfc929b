"""Known processes are not read again, and nothing of what changed is missed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from suture.agent import population
from suture.agent.population import KnownProcesses
from suture.process.see.find import Found, every_process
from tests.agent.conftest import eventually_in
from tests.process.conftest import Start, gcc, is_loaded, start

__all__ = ["start"]

WAITS = '#include <stdio.h>\nint main(void) { puts("up"); fflush(stdout); return getchar(); }'
EXECUTES = """
#include <stdio.h>
#include <unistd.h>
int main(int c, char **v) { puts("up"); fflush(stdout); getchar(); execl(v[1], v[1], (char *)0); return 1; }
"""


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes that were read."""
    pids: list[int] = []

    def counted(known: frozenset[tuple[int, int]]) -> object:
        found, unread = every_process(known)
        pids.extend(p.pid for p in found)
        return found, unread

    monkeypatch.setattr(population, "every_process", counted)
    return pids


def programs(found: list[Found], pid: int) -> set[str]:
    return {i.path for p in found if p.pid == pid for i in p.images}


def test_a_known_process_is_read_once_until_ten_minutes_have_gone_by(
    start: Start, tmp_path: Path, read: list[int]
) -> None:
    now = [0.0]
    known = KnownProcesses(lambda: now[0])
    program = gcc(tmp_path / "waits", WAITS)
    first = start(program)
    assert first.line() == "up"
    for _ in range(3):
        found, _ = known.look()
        assert str(program) in programs(found, first.pid)
    assert read.count(first.pid) == 3, "its loader might have been at work"
    for _ in range(3):
        now[0] += 5
        assert str(program) in programs(known.look()[0], first.pid)
    assert read.count(first.pid) == 4
    second = start(program)
    assert second.line() == "up"
    assert str(program) in programs(known.look()[0], second.pid) and read.count(first.pid) == 4
    now[0] += 600
    known.look()
    assert read.count(first.pid) == 5
    known.forget()
    known.look()
    assert read.count(first.pid) == 6
    second.ask()
    eventually_in(10, lambda: not second.alive())
    assert programs(known.look()[0], second.pid) == set()


def test_one_that_executes_another_program_is_read_anew(start: Start, tmp_path: Path, read: list[int]) -> None:
    after, before = gcc(tmp_path / "after", WAITS), gcc(tmp_path / "before", EXECUTES)
    now = [0.0]
    known, target = KnownProcesses(lambda: now[0]), start(before, after)
    assert target.line() == "up" and str(before) in programs(known.look()[0], target.pid)
    for _ in range(2):
        now[0] += 5
        known.look()
    assert read.count(target.pid) == 2
    assert target.ask() == "up" and is_loaded(target.pid)
    assert os.readlink(f"/proc/{target.pid}/exe") == str(after)
    assert str(after) in programs(known.look()[0], target.pid) and read.count(target.pid) == 3
