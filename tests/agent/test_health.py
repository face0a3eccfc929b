"""A patch that makes its target crash goes into no further process, and out of those that have it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from suture.agent import register
from suture.report.agent import PatchInForce
from suture.report.reason import Reason
from tests.agent.conftest import NEW_ANSWER, OLD_ANSWER, AgentHost, eventually_in
from tests.agent.test_service import Both
from tests.process.conftest import make_patch, start
from tests.process.see.test_crash import tracing

__all__ = ["start", "tracing"]
CRASHES = "int answer(int x) { if (x == 'c') *(volatile int *)0 = 1; return x * 3 + 2; }"


@pytest.fixture
def both(host: AgentHost, tracing: None) -> Iterator[Both]:
    library = host.program.with_name("libanswer.so")
    made = make_patch(host.folder / "crashes", library, CRASHES, {"answer": ["answer"]})
    host.patch = Path(made.object.name)
    found = Both(host)
    yield found
    found.end()


def noticed(both: Both) -> PatchInForce:
    both.service.notice()
    (row,) = both.service.register.content.in_force
    return row


def crash(service: object) -> None:
    with pytest.raises((BrokenPipeError, AssertionError)):
        answer = service.ask("c")  # type: ignore[attr-defined]
        assert answer != ""


def test_a_patch_under_which_a_process_crashes_is_taken_out_and_goes_no_further(host: AgentHost, both: Both) -> None:
    first, second = host.service(), host.service()
    patch = host.publish()
    both.look()
    assert (first.ask("a"), second.ask("a")) == (NEW_ANSWER, NEW_ANSWER)
    crash(first)
    eventually_in(10, lambda: noticed(both).held)
    row = noticed(both)
    assert row.why is not None and row.why.reason is Reason.AGENT_CRASHED and "SIGSEGV" in row.why.text
    assert second.ask("a") == OLD_ANSWER and host.service().ask("a") == OLD_ANSWER
    report = both.look()
    assert report.exit_code == 5 and second.ask("a") == OLD_ANSWER
    both.begin()
    both.look()
    assert second.ask("a") == OLD_ANSWER, "it stays so after the agent has started anew"
    register.allow(host.kept, patch)
    both.look()
    assert second.ask("a") == NEW_ANSWER and host.service().ask("a") == NEW_ANSWER


def test_a_process_that_was_patched_as_it_started_counts_too(host: AgentHost, both: Both) -> None:
    host.service()
    host.publish()
    both.look()
    later = host.service()
    assert later.ask("a") == NEW_ANSWER
    both.service.notice()
    crash(later)
    eventually_in(10, lambda: noticed(both).held)


def test_as_many_as_the_policy_says_within_its_window(host: AgentHost, both: Both) -> None:
    host.say('[health]\ncrashes = 2\non_crash = "hold"')
    first, second, third = host.service(), host.service(), host.service()
    host.publish()
    both.look()
    crash(first)
    eventually_in(10, lambda: noticed(both).why)
    assert not noticed(both).held
    crash(second)
    eventually_in(10, lambda: noticed(both).held)
    assert third.ask("a") == NEW_ANSWER and host.service().ask("a") == OLD_ANSWER


def test_one_that_is_ended_or_was_never_patched_is_no_reason(host: AgentHost, both: Both) -> None:
    one = host.service()
    host.publish()
    both.look()
    one.process.terminate()
    one.process.wait()
    host.start("/bin/sh", "-c", "kill -SEGV $$").process.wait()
    time.sleep(0.2)
    row = noticed(both)
    assert not row.held and row.why is None
