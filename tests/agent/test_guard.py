"""Starts held on behalf of the agent: no later start runs the old code, and the state says what is in force."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from pathlib import Path
from typing import NoReturn

import pytest

from suture.agent import guard
from suture.process import syscall
from suture.process.see import tracepoint
from suture.report.reason import Reason
from suture.report.start import StartCover, StartsCovered
from tests.agent.conftest import NEW_ANSWER, OLD_ANSWER, AgentHost, eventually_in
from tests.agent.test_service import Both, both
from tests.cli.test_feed import said
from tests.process.conftest import start
from tests.process.see.test_crash import tracing

__all__ = ["both", "start", "tracing"]


def noticed(both: Both) -> guard.StartGuard:
    """As it is when it has heard the news."""
    both.service.notice()
    return both.service._effect.guard


def state(both: Both) -> StartsCovered:
    """As it is kept for who asks."""
    both.service.notice()
    found = guard.read(both.host.kept)
    assert found is not None
    return found


def test_a_later_start_never_runs_the_old_code_and_needs_no_look(host: AgentHost, both: Both) -> None:
    running = host.service()
    patch = host.publish()
    both.look()
    assert running.ask("a") == NEW_ANSWER
    assert [host.service().ask("a") for _ in range(5)] == [NEW_ANSWER] * 5
    found = state(both)
    library = host.program.with_name("libanswer.so")
    assert found.cover is StartCover.HELD and [(f.path, f.patch) for f in found.files] == [(str(library), patch)]
    eventually_in(10, lambda: noticed(both).state.patched == 5)
    assert "until they are patched" in said("agent", "status", *host.places())


def test_what_is_withdrawn_goes_into_no_start(host: AgentHost, both: Both) -> None:
    host.service()
    patch = host.publish()
    both.look()
    host.withdraw(patch)
    both.look()
    assert host.service().ask("a") == OLD_ANSWER and state(both).cover is StartCover.NOT_NEEDED


def test_after_a_start_of_the_agent_nothing_has_to_run_for_the_file_to_be_guarded(host: AgentHost, both: Both) -> None:
    one = host.service()
    host.publish()
    both.look()
    one.process.kill()
    one.process.wait()
    both.begin()
    assert host.service().ask("a") == NEW_ANSWER


def test_who_is_excluded_is_not_held(host: AgentHost, both: Both) -> None:
    copy = host.program.with_name("other-service")
    shutil.copy(host.program, copy)
    host.say(f'[exclude]\npaths = ["{copy}"]')
    host.service()
    host.publish()
    both.look()
    assert (host.start(copy).ask("a"), host.service().ask("a")) == (OLD_ANSWER, NEW_ANSWER)


def test_what_holds_starts_is_begun_anew_when_it_was_killed(
    host: AgentHost, both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_AGAIN_SECONDS", 0.0)
    host.service()
    host.publish()
    both.look()
    child = both.service._effect.guard._child
    assert child is not None
    os.kill(child.pid, signal.SIGKILL)
    eventually_in(10, lambda: noticed(both)._child not in (None, child))
    assert host.service().ask("a") == NEW_ANSWER and state(both).cover is StartCover.HELD


def test_where_the_kernel_only_tells_of_starts_they_are_patched_soon_and_need_no_look(
    host: AgentHost, tracing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without() -> NoReturn:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(syscall, "fanotify_init", without)
    both = Both(host)
    try:
        host.service()
        host.publish()
        both.look()
        eventually_in(10, lambda: state(both).cover is StartCover.TOLD)
        assert "not held, patched about a second after they begin: " in said("agent", "status", *host.places())
        later = host.service()
        assert later.ask("a") == OLD_ANSWER

        def is_patched() -> bool:
            both.service.notice()
            return later.ask("a") == NEW_ANSWER

        eventually_in(10, is_patched)
    finally:
        both.end()


def test_where_the_kernel_cannot_hold_starts_the_state_says_so_and_the_next_look_patches(
    host: AgentHost, both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without() -> NoReturn:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(syscall, "fanotify_init", without)
    monkeypatch.setattr(tracepoint, "_PLACES", ())
    both.begin()
    host.service()
    host.publish()
    both.look()
    eventually_in(10, lambda: state(both).cover is StartCover.LOOKED_AT)
    found = state(both)
    assert found.why is not None and found.why.reason is Reason.NO_OPENINGS
    assert "starts: not held, patched at the next look" in said("agent", "status", *host.places())
    later = host.service()
    assert later.ask("a") == OLD_ANSWER
    both.look()
    assert later.ask("a") == NEW_ANSWER


def test_the_fixed_file_is_recognised(host: AgentHost, both: Both) -> None:
    """A package upgrade puts another build in the place of the old one; a service that is restarted has it."""
    before = host.service()
    host.publish()
    both.look()
    host.upgrade()
    asked = len(both.apply_requests())
    after = host.service()
    report = both.look()
    assert (before.ask("a"), after.ask("a")) == (NEW_ANSWER, NEW_ANSWER)
    assert len(both.apply_requests()) == asked and report.exit_code == 0
    assert "suture" not in Path(f"/proc/{after.pid}/maps").read_text(), "nothing is put into it"
