"""The agent end to end: published, patched; withdrawn, reverted; whatever is killed meanwhile."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.agent.conftest import NEW_ANSWER, OLD_ANSWER, SANDBOXED, AgentHost, clients, eventually_in
from tests.cli.test_feed import said
from tests.nobody import FEED, NOBODY, run_as_nobody
from tests.process.conftest import gcc, start

__all__ = ["start"]


def test_what_is_published_goes_in_while_clients_are_served_and_what_is_withdrawn_comes_out(host: AgentHost) -> None:
    services = [host.service() for _ in range(3)]
    host.up()
    with clients(services[0]) as answers:
        eventually_in(20, lambda: answers)
        assert set(answers) == {OLD_ANSWER}
        patch = host.publish()
        eventually_in(30, lambda: answers[-1] == NEW_ANSWER)
        eventually_in(30, lambda: {s.ask("a") for s in services[1:]} == {NEW_ANSWER})
        later = host.service()
        eventually_in(30, lambda: later.ask("a") == NEW_ANSWER)
        eventually_in(20, lambda: host.log("run").count(f"applied: {patch}"))
        status = host.status()
        assert [r["offer"]["patch"] for r in status["in_force"]] == [patch] and status["waiting"] == []
        text = said("agent", "status", *host.places())
        assert f"feed {host.url}, channel stable" in text and re.search(
            rf"^{patch} +libanswer.so .* in force$", text, re.M
        )
        host.withdraw(patch)
        eventually_in(30, lambda: answers[-1] == OLD_ANSWER)
        eventually_in(30, lambda: {s.ask("a") for s in (*services[1:], later)} == {OLD_ANSWER})
    assert set(answers) == {OLD_ANSWER, NEW_ANSWER}
    eventually_in(20, lambda: host.status()["in_force"] == [])
    again = host.service()
    eventually_in(20, lambda: host.log("run").count(f"withdrawn: {patch}"))
    assert again.ask("a") == OLD_ANSWER


@pytest.mark.parametrize("name", ["run", "apply-service"])
def test_a_part_that_was_killed_goes_on_where_it_was(host: AgentHost, name: str) -> None:
    service = host.service()
    host.up()
    host.kill(name)
    patch = host.publish()
    host.up(name)
    eventually_in(30, lambda: service.ask("a") == NEW_ANSWER)
    host.kill(name)
    later = host.service()
    host.up(name)
    eventually_in(30, lambda: later.ask("a") == NEW_ANSWER)
    host.kill(name)
    host.withdraw(patch)
    host.up(name)
    eventually_in(30, lambda: {service.ask("a"), later.ask("a")} == {OLD_ANSWER})


def test_the_part_that_fetches_needs_no_rights(host: AgentHost) -> None:
    """As nobody, who may read no other user's memory."""
    service = host.service()
    host.state.mkdir()
    os.chown(host.state, NOBODY, NOBODY)
    host.up("apply-service", user=NOBODY)
    patch = host.publish()
    words = ["agent", "run", "--once", *map(str, host.places()), "--socket", str(host.socket)]
    program = f"import sys; from suture.cli.main import main; sys.exit(main({words!r}))"
    done = run_as_nobody(program, host.folder, needed=FEED)
    assert done.returncode == 0, done.stderr
    assert f"applied: {patch}" in done.stderr and service.ask("a") == NEW_ANSWER
    host.withdraw(patch)
    again = run_as_nobody(program, host.folder, needed=FEED)
    assert f"withdrawn: {patch}" in again.stderr and service.ask("a") == OLD_ANSWER
    assert {p.stat().st_uid for p in host.state.rglob("*")} == {NOBODY}
    assert {p.stat().st_uid for p in host.kept.rglob("*")} == {os.geteuid()}


def test_a_service_in_a_sandbox_of_its_own_is_patched_and_the_privileged_part_is_in_one_too(host: AgentHost) -> None:
    """systemd's SystemCallFilter= and every container engine give services a filter."""
    library = host.program.with_name("libanswer.so")
    host.program = gcc(host.folder / "sandboxed", SANDBOXED, str(library), f"-Wl,-rpath,{host.folder}")
    service = host.service()
    assert service.ask("a") == OLD_ANSWER and "Seccomp:\t2" in Path(f"/proc/{service.pid}/status").read_text()
    host.up()
    part = host.parts["apply-service"].pid
    assert "Seccomp:\t2" in Path(f"/proc/{part}/status").read_text()
    host.publish()
    eventually_in(30, lambda: service.ask("a") == NEW_ANSWER)
    assert host.service().ask("a") == NEW_ANSWER, "held as it started"
    assert "refused:" not in host.log("apply-service")


def test_the_service_ends_when_what_traces_has_ended_and_does_not_lose_what_it_has(host: AgentHost) -> None:
    service = host.service()
    host.up()
    host.publish()
    eventually_in(30, lambda: service.ask("a") == NEW_ANSWER)
    part = host.parts["apply-service"]
    (hand,) = Path(f"/proc/{part.pid}/task/{part.pid}/children").read_text().split()[:1]
    os.kill(int(hand), signal.SIGKILL)
    eventually_in(30, lambda: part.poll() is not None)
    assert part.returncode == 1 and "what traces processes has ended" in host.log("apply-service")
    host.parts.pop("apply-service")
    later = host.service()
    host.up("apply-service")
    eventually_in(30, lambda: later.ask("a") == NEW_ANSWER)
