"""A patch that makes its target crash goes into no further process, and out of those that have it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from suture.agent import health, register, suspect
from suture.process.see import tracepoint
from suture.report.agent import PatchInForce
from suture.report.reason import Reason
from tests.agent.conftest import LIBRARY, NEW, NEW_ANSWER, OLD_ANSWER, SERVICE, AgentHost, eventually_in, own
from tests.agent.test_service import Both
from tests.cli.test_feed import said
from tests.process.conftest import gcc, make_patch, start
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


SECOND_CRASHES = "int second(int x) { if (x == 'c') *(volatile int *)0 = 1; return x * 5 + 2; }"


@pytest.fixture
def two_holes(host: AgentHost, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Two services run with an older patch, and with a newer one under which a `c2` kills; both patches (ids)."""
    monkeypatch.setattr(suspect, "SETTLED_SECONDS", 0.5)
    library = host.program.with_name("libanswer.so")
    gcc(library, own(LIBRARY + " int second(int x) { return x * 5 + 1; }", host.folder), "-shared", "-fPIC")
    asks = SERVICE.replace("int answer(int x);", "int answer(int x); int second(int x);").replace(
        "answer(l[0])", "l[1] == '2' ? second(l[0]) : answer(l[0])"
    )
    gcc(host.program, asks, str(library), f"-Wl,-rpath,{host.folder}")
    older = make_patch(host.folder / "older", library, NEW, {"answer": ["answer"]})
    newer = make_patch(host.folder / "newer", library, SECOND_CRASHES, {"second": ["second"]}, name="newer")
    return str(older.object.name), str(newer.object.name)


def test_of_two_patches_the_one_that_ran_well_before_the_other_came_stays(
    host: AgentHost, tracing: None, two_holes: tuple[str, str]
) -> None:
    both = Both(host)
    first, second = host.service(), host.service()
    first.ask("a"), second.ask("a")
    ids = []
    for patch in two_holes:
        host.patch = Path(patch)
        ids.append(host.publish())
        both.look()
        time.sleep(0.6)
    assert (second.ask("a"), second.ask("a2")) == (NEW_ANSWER, str(ord("a") * 5 + 2))
    with pytest.raises((BrokenPipeError, AssertionError)):
        assert first.ask("c2") != ""
    rows = both.service.register.row

    def held() -> list[bool]:
        both.service.notice()
        return [row is not None and row.held for row in map(rows, ids)]

    eventually_in(10, lambda: held() == [False, True])
    assert (second.ask("a"), second.ask("a2")) == (NEW_ANSWER, str(ord("a") * 5 + 1))
    assert [e.what for e in both.service.journal.events if e.patch == ids[0]][-1] == "stays"
    later = host.service()
    assert later.ask("a") == NEW_ANSWER, "it goes into later processes too"
    time.sleep(0.6)
    second.process.send_signal(signal.SIGSEGV)
    eventually_in(10, lambda: held() == [True, True])
    assert later.ask("a") == OLD_ANSWER, "it is its turn when they die on"
    both.end()


def test_the_patch_that_one_had_replaced_comes_back_when_that_one_is_out(
    host: AgentHost, both: Both, tmp_path: Path
) -> None:
    library = host.program.with_name("libanswer.so")
    crashes, older = host.patch, make_patch(tmp_path / "older", library, NEW, {"answer": ["answer"]})
    first, second = host.service(), host.service()
    host.patch = Path(older.object.name)
    older_id = host.publish()
    both.look()
    assert (first.ask("a"), second.ask("a")) == (NEW_ANSWER, NEW_ANSWER)
    host.patch = crashes
    newer_id = host.publish()
    both.look()
    assert both.service.register.row(older_id) is None, "the newer one has all of its fixes"
    crash(first)
    eventually_in(10, lambda: noticed(both).held)
    assert second.ask("a") == OLD_ANSWER
    both.look()
    assert second.ask("a") == NEW_ANSWER and host.service().ask("a") == NEW_ANSWER
    register.allow(host.kept, newer_id)
    both.look()
    assert [r.offer.patch for r in both.service.register.content.in_force if not r.held] == [newer_id]
    crash(second)


@dataclass
class Supervised:
    """A unit as a service manager has it: a control group whose first process was started from outside."""

    host: AgentHost
    group: Path

    def begin(self, code: int) -> subprocess.Popen[str]:
        script = f"echo $$ > {self.group}/cgroup.procs && exec {self.host.program} {code}"
        return subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, code: int) -> None:
        """One run of the service, which answers with the new code and ends itself."""
        one = self.begin(code)
        answer, _ = one.communicate("a\n")
        assert (answer.strip(), one.returncode) == (NEW_ANSWER, code)


@pytest.fixture
def unit(host: AgentHost) -> Iterator[Supervised]:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    root = next(Path(m[1]) for m in mounts if m[2] == "cgroup2")
    group = root / f"suture-test-{os.getpid()}/system.slice/own/suture-{os.getpid()}.service"
    group.mkdir(parents=True, exist_ok=True)
    exits = SERVICE.replace("int main(void)", "int main(int n, char **v)").replace(
        "answer(l[0])); }", "answer(l[0])); exit(n > 1 ? atoi(v[1]) : 0); }"
    )
    library = host.program.with_name("libanswer.so")
    gcc(host.program, "#include <stdlib.h>\n" + exits, str(library), f"-Wl,-rpath,{host.folder}")
    yield Supervised(host, group)
    for folder in (group, *list(group.parents)[:3]):
        eventually_in(5, lambda folder=folder: gone(folder))


def gone(group: Path) -> bool:
    """Of a control group that has a process which is just ending."""
    try:
        group.rmdir()
    except OSError:
        return False
    return True


def settle(both: Both, unit: Supervised, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The service runs and is patched, when it has to have run for so many seconds; then it ends well."""
    monkeypatch.setattr(health, "SETTLED_SECONDS", seconds)
    one = unit.begin(0)
    assert one.stdin and one.stdout
    one.stdin.write("a\n")
    one.stdin.flush()
    one.stdout.readline()  # it has loaded all
    both.host.publish()
    both.look()
    one.stdin.close()
    assert one.wait() == 0


def test_a_service_that_ends_with_an_error_again_and_again_is_a_reason(
    host: AgentHost, both: Both, unit: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = host.service()
    settle(both, unit, monkeypatch, 0.0)
    for code in (3, 143, 143, 143, 0, 0, 0, 4):  # told to end, or well: no errors
        unit.run(code)
        noticed(both)
    assert not noticed(both).held and noticed(both).why is None
    unit.run(3)
    eventually_in(10, lambda: noticed(both).held)
    why = noticed(both).why
    assert why is not None and why.reason is Reason.AGENT_CRASHED
    assert f"{unit.group.name} ended 3 times with an error, last with exit code 3" in why.text
    assert running.ask("a") == OLD_ANSWER, "it is out again"


def test_one_that_had_not_run_well_before_is_none(
    host: AgentHost, both: Both, unit: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.service()
    settle(both, unit, monkeypatch, 60.0)
    for _ in range(4):
        unit.run(3)
        row = noticed(both)
    assert not row.held and row.why is None


def test_processes_that_are_not_the_first_of_a_service_may_fail(
    host: AgentHost, both: Both, unit: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.service()
    settle(both, unit, monkeypatch, 0.0)
    runs = f"for i in 1 2 3 4 5; do echo a | {host.program} 3; done; exit 0"
    subprocess.run(["sh", "-c", f"echo $$ > {unit.group}/cgroup.procs; {runs}"], check=True, stdout=subprocess.DEVNULL)
    row = noticed(both)
    assert not row.held and row.why is None


def test_the_status_says_what_is_not_seen(host: AgentHost, both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    host.service()
    host.publish()
    both.look()
    noticed(both)
    assert "health: crashes of patched processes are seen; services that end" in said("agent", "status", *host.places())
    monkeypatch.setattr(tracepoint, "_PLACES", (host.folder / "none",))
    both.begin()
    both.look()
    noticed(both)
    text = said("agent", "status", *host.places())
    assert "health: no crash is seen: " in text and "mount --types tracefs" in text
    found = both.status().health
    assert found is not None and not found.crashes and found.why[0].reason is Reason.NO_TRACEPOINT
