"""What is put into effect; that starts are held is tested in test_guard.py, whole looks in test_service.py."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from suture.agent.effect import InEffect
from suture.agent.request import Work
from suture.process.see.status import status
from tests.agent.conftest import NEW_ANSWER, AgentHost, eventually_in
from tests.agent.test_service import NEW_PAIR, OLD_PAIR, Both, publish_both, with_a_second_library
from tests.process.conftest import gcc, start

__all__ = ["start"]
EXECUTES = r"""
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
int answer(int x);
static void go(int s) { execl("/bin/sleep", "sleep", "60", NULL); }
int main(void) { signal(SIGUSR1, go); setvbuf(stdout, 0, _IOLBF, 0); puts("up"); for (;;) { pause(); answer(1); } }
"""
FORKS = r"""
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
int answer(int x);
static void go(int s) { int pid = fork(); if (pid) printf("%d\n", pid); }
int main(void) { signal(SIGUSR1, go); setvbuf(stdout, 0, _IOLBF, 0); puts("up"); for (;;) { pause(); answer(1); } }
"""


def test_a_program_that_is_itself_the_file_is_patched_as_soon_as_it_runs(host_of_program: AgentHost) -> None:
    """Nobody can hold it; no look is needed though."""
    both = Both(host_of_program)
    try:
        running = host_of_program.service()
        host_of_program.publish()
        both.look()
        assert running.ask("a") == NEW_ANSWER
        later = host_of_program.service()

        def is_patched() -> bool:
            both.service.notice()
            return later.ask("a") == NEW_ANSWER

        eventually_in(10, is_patched)
    finally:
        both.end()


def test_a_part_that_the_feed_offers_again_comes_back_in_the_stop_of_the_other(host: AgentHost) -> None:
    second = with_a_second_library(host)
    service = host.service()
    both = Both(host)
    try:
        ids = publish_both(host, second)
        both.look()
        assert service.ask("a") == NEW_PAIR
        host.withdraw(ids[1])
        both.look()
        assert service.ask("a") == OLD_PAIR
        both.asked.clear()
        host.withdraw(ids[1], "--again")
        both.look()
    finally:
        both.end()
    assert service.ask("a") == NEW_PAIR
    (request,) = [r for r, _ in both.asked if r.work is Work.APPLY]
    assert {n.partition(".")[0] for n in (request.name, *request.companions)} == set(ids)
    assert {p.id: p.companions for p in status(service.pid).patches} == {ids[0]: ids[1:], ids[1]: ids[:1]}


def test_a_process_that_executes_another_program_before_its_turn_is_no_failure(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure would keep the patch from all others."""
    host.say('[exclude]\npaths = ["/nowhere"]')  # so that the agent names the processes itself
    program = gcc(host.folder / "executes", EXECUTES, str(host.program.with_name("libanswer.so")), "-w")
    running, service = host.start(program), host.service()
    assert running.line() == "up"
    found_without = InEffect._without

    def then_it_executes(self: InEffect, *args: Any) -> Any:
        rows = found_without(self, *args)
        if any(p.pid == running.pid for p in rows):
            os.kill(running.pid, signal.SIGUSR1)
            eventually_in(10, lambda: os.readlink(f"/proc/{running.pid}/exe").endswith("sleep"))
        return rows

    host.publish()
    both = Both(host)
    monkeypatch.setattr(InEffect, "_without", then_it_executes)
    try:
        report = both.look()
    finally:
        both.end()
    (row,) = report.in_force
    assert service.ask("a") == NEW_ANSWER
    assert (row.held, row.failed, row.why) == (False, 0, None)
    assert not [e for e in report.events if e.what == "failed"], report.events


def test_a_child_that_is_born_while_its_parent_waits_for_its_turn_is_patched_in_the_same_look(
    host: AgentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.say('[exclude]\npaths = ["/nowhere"]')  # so that the agent names the processes itself
    program = gcc(host.folder / "forks", FORKS, str(host.program.with_name("libanswer.so")), "-w")
    running = host.start(program)
    assert running.line() == "up"
    found_without = InEffect._without
    children: list[int] = []

    def then_it_forks(self: InEffect, *args: Any) -> Any:
        rows = found_without(self, *args)
        if not children:
            os.kill(running.pid, signal.SIGUSR1)
            children.append(int(running.line()))
        return rows

    patch = host.publish()
    both = Both(host)
    monkeypatch.setattr(InEffect, "_without", then_it_forks)
    try:
        report = both.look()
        carried = {pid: [p.id for p in status(pid).patches] for pid in (running.pid, *children)}
    finally:
        both.end()
        for pid in children:
            os.kill(pid, signal.SIGKILL)
    assert carried == {pid: [patch] for pid in (running.pid, *children)}
    assert [r.processes for r in report.in_force] == [2]
