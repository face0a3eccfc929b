"""The part that runs as root believes nothing that it is told; and the loop with it, in one process, look by look."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from suture import whole_file
from suture.agent import register
from suture.agent.decision import local_now
from suture.agent.journal import Journal
from suture.agent.loop import Loop
from suture.agent.register import Register
from suture.agent.request import AgentAnswer, AgentRequest, Work
from suture.agent.service import Service
from suture.agent.standing import standing
from suture.elf.file import ElfFile
from suture.error import ExitCode
from suture.process.stop.borrow import OnStep
from suture.report.agent import AgentVerdict
from suture.report.document import AgentReport
from suture.report.reason import Reason
from tests.agent.conftest import NEW_ANSWER, OLD_ANSWER, AgentHost, own
from tests.cli.test_feed import run
from tests.killed import killed_after
from tests.process.conftest import Running, gcc, make_patch, start

__all__ = ["start"]


@dataclass
class Both:
    """Both parts in this process. `asked`: what crossed between them. `deaf`: nothing that is to be applied is."""

    host: AgentHost
    deaf: bool = False

    def __post_init__(self) -> None:
        self.asked: list[tuple[AgentRequest, AgentAnswer]] = []
        self.begin()

    def begin(self) -> None:
        """As after a start."""
        own = self.host
        self.end()
        self.service = Service(own.policy, own.state / "spool", Register(own.kept), Journal())
        self.loop = Loop(own.policy, own.state, self._ask, lambda: register.allowed(own.kept), local_now)

        self.service.begin()

    def end(self) -> None:
        if hasattr(self, "service"):
            self.service.close()

    def _ask(self, one: AgentRequest) -> AgentAnswer:
        deaf = self.deaf and one.work is Work.APPLY
        found = AgentAnswer(AgentVerdict.WAIT, None, ()) if deaf else self.service.answer(one)
        self.asked.append((one, found))
        return found

    def look(self) -> AgentReport:
        self.loop._next_fetch = 0.0
        self.loop.look()
        return self.status()

    def status(self) -> AgentReport:
        from suture.agent import policy

        return standing(policy.load(self.host.policy), self.host.state, self.host.kept, local_now())

    def apply(self, patch: str, sha256: str) -> AgentAnswer:
        return self.service.answer(AgentRequest(Work.APPLY, f"{patch}.suture.o", sha256))

    def apply_requests(self) -> list[AgentAnswer]:
        return [a for r, a in self.asked if r.work is Work.APPLY]


@pytest.fixture
def both(host: AgentHost) -> Iterator[Both]:
    found = Both(host)
    yield found
    found.end()


def reasons(report: AgentReport) -> list[Reason]:
    return [w.why.reason for w in report.waiting]


def test_a_patch_that_passed_no_trial_is_neither_asked_for_nor_taken(host: AgentHost, both: Both) -> None:
    service = host.service()
    host.publish()
    host.say(untried=False)
    report = both.look()
    assert reasons(report) == [Reason.NOT_SAFE] and both.apply_requests() == []
    host.say()
    both.look()
    (row,) = register.read(host.kept).in_force
    assert service.ask("a") == NEW_ANSWER
    # a part that was taken over asks for what the policy does not allow
    shutil.rmtree(host.kept)
    host.say(untried=False)
    both.begin()
    other = host.service()
    found = both.apply(row.offer.patch, row.offer.sha256)
    assert found.verdict is AgentVerdict.REFUSE and found.why and found.why.reason is Reason.NOT_SAFE
    assert other.ask("a") == OLD_ANSWER and register.read(host.kept).in_force == ()


def test_what_the_feed_has_not_signed_is_not_taken(host: AgentHost, both: Both) -> None:
    service = host.service()
    patch = host.publish()
    both.deaf = True
    both.look()
    both.deaf = False
    spool = host.state / "spool"
    good = (spool / f"{patch}.suture.o").read_bytes()
    sha256 = digest(good)
    shown = (spool / f"{patch}.evidence").read_bytes()
    (spool / f"{patch}.evidence").unlink()
    assert both.apply(patch, sha256).verdict is AgentVerdict.REFUSE
    (spool / f"{patch}.evidence").write_bytes(b"{}")
    assert both.apply(patch, sha256).verdict is AgentVerdict.REFUSE
    for text in ('{"signed":' + "[" * 600 + "]" * 600 + "}", '{"signed":{"_type":"timestamp"}}', "{}"):
        read = json.loads(shown) | {"chain": [text] * 4, "roots": [text]}
        (spool / f"{patch}.evidence").write_text(json.dumps(read))
        assert both.apply(patch, sha256).verdict is AgentVerdict.REFUSE
    (spool / f"{patch}.evidence").write_bytes(shown)
    (spool / f"{patch}.suture.o").write_bytes(good + b"x")
    assert both.apply(patch, sha256).verdict is AgentVerdict.REFUSE
    assert both.apply(patch, digest(good + b"x")).verdict is AgentVerdict.REFUSE
    assert service.ask("a") == OLD_ANSWER and register.read(host.kept).in_force == ()
    (spool / f"{patch}.suture.o").write_bytes(good)
    assert both.apply(patch, sha256).verdict is AgentVerdict.APPLY and service.ask("a") == NEW_ANSWER


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_only_the_feed_takes_a_patch_out_and_nothing_older_brings_it_back(host: AgentHost, both: Both) -> None:
    service = host.service()
    patch = host.publish()
    (row,) = both.look().in_force
    assert service.ask("a") == NEW_ANSWER
    found = both.service.answer(AgentRequest(Work.REVERT, patch=patch))
    assert found.verdict is AgentVerdict.REFUSE and found.why and "has not withdrawn" in found.why.text
    assert service.ask("a") == NEW_ANSWER
    spool = host.state / "spool"
    before = (spool / f"{patch}.evidence").read_bytes()
    host.withdraw(patch)
    assert both.look().in_force == () and service.ask("a") == OLD_ANSWER
    (spool / f"{patch}.evidence").write_bytes(before)
    replayed = both.apply(patch, row.offer.sha256)
    assert replayed.why and replayed.why.reason is Reason.FEED_ROLLED_BACK and service.ask("a") == OLD_ANSWER


def test_a_patch_on_hold_stays_and_goes_no_further_until_it_is_offered_again(host: AgentHost, both: Both) -> None:
    service = host.service()
    patch = host.publish()
    both.look()
    host.withdraw(patch, "--hold")
    (row,) = both.look().in_force
    later = host.service()
    both.look()
    assert row.held and service.ask("a") == NEW_ANSWER and later.ask("a") == OLD_ANSWER
    reverts = [r for r, _ in both.asked if r.work is Work.REVERT]
    assert len(reverts) == 1
    forced = both.apply(patch, row.offer.sha256)
    assert forced.why and forced.why.reason is Reason.AGENT_HELD and later.ask("a") == OLD_ANSWER
    host.withdraw(patch, "--again")
    (row,) = both.look().in_force
    assert not row.held and later.ask("a") == NEW_ANSWER


def killed_at(step: int, both: Both) -> bool:
    """A look in a child that is killed before its nth change of the disk; False when it was done before that."""

    def look(on_step: OnStep) -> None:
        def counted(change: Callable[..., None]) -> Callable[..., None]:
            def work(*words: Any, **more: Any) -> None:
                on_step(change.__name__)
                change(*words, **more)

            return work

        os.replace, os.fsync = counted(os.replace), counted(os.fsync)
        both.look()

    return killed_after(step + 1, look) is not None


def test_killed_at_each_change_of_the_disk_it_goes_on(host: AgentHost, both: Both) -> None:
    service = host.service()
    patch = host.publish()
    step = 0
    while killed_at(step, both):
        step += 1
        assert service.ask("a") in (OLD_ANSWER, NEW_ANSWER)
        both.begin()
    assert step > 8 and service.ask("a") == NEW_ANSWER
    host.withdraw(patch)
    step = 0
    while killed_at(step, both):
        step += 1
        both.begin()
    both.begin()
    assert step > 4 and service.ask("a") == OLD_ANSWER and both.look().in_force == ()


def test_where_the_policy_asks_an_administrator_allows(host: AgentHost, both: Both) -> None:
    service = host.service()
    patch = host.publish()
    host.say('mode = "ask"')
    report = both.look()
    assert reasons(report) == [Reason.POLICY_ASK] and report.exit_code == ExitCode.PARTIAL
    assert report.waiting[0].why.remedy == f"suture agent allow {patch}" and service.ask("a") == OLD_ANSWER
    forced = both.apply(patch, report.waiting[0].offer.sha256)
    assert forced.why and forced.why.reason is Reason.POLICY_ASK and service.ask("a") == OLD_ANSWER
    register.allow(host.kept, patch)
    assert both.look().exit_code == ExitCode.OK and service.ask("a") == NEW_ANSWER


def test_who_is_excluded_is_left_alone(host: AgentHost, both: Both) -> None:
    copy = host.program.with_name("other-service")
    shutil.copy(host.program, copy)
    host.say(f'[exclude]\npaths = ["{copy}"]')
    left, taken = host.start(copy), host.service()
    host.publish()
    both.look()
    assert (left.ask("a"), taken.ask("a")) == (OLD_ANSWER, NEW_ANSWER)
    later = host.start(copy)
    both.look()
    both.look()
    assert later.ask("a") == OLD_ANSWER
    assert len(both.apply_requests()) == 1, "what is left out on purpose is not asked for at each look"


def spoil(service: Running, library: Path) -> None:
    """Another code in the place of the old one, as nobody has made it."""
    service.ask("a")  # it has loaded the library by then
    symbol = next(s for s in ElfFile.read(library).symbols if s.name == "answer")
    lines = Path(f"/proc/{service.pid}/maps").read_text().splitlines()
    base = next(int(line.split("-")[0], 16) for line in lines if line.endswith(library.name))
    with open(f"/proc/{service.pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(base + symbol.st_value + 1)
        memory.write(b"\x90")


@pytest.mark.parametrize(("on_failure", "later"), [("go-on", NEW_ANSWER), ("hold", OLD_ANSWER), ("revert", OLD_ANSWER)])
def test_what_to_do_on_failure(host: AgentHost, both: Both, on_failure: str, later: str) -> None:
    host.say(f'on_failure = "{on_failure}"')
    good, bad = host.service(), host.service()
    spoil(bad, host.program.with_name("libanswer.so"))
    host.publish()
    report = both.look()
    assert report.exit_code == ExitCode.PARTIAL and report.in_force[0].held == (on_failure != "go-on")
    assert report.in_force[0].why and report.in_force[0].why.reason is Reason.CODE_DIFFERS
    assert good.ask("a") == (OLD_ANSWER if on_failure == "revert" else NEW_ANSWER)
    after = host.service()
    both.look()
    assert after.ask("a") == later
    asked = len(both.apply_requests())
    both.look()
    both.look()
    assert len(both.apply_requests()) == asked, "one that refuses is not tried at each look"


def test_a_policy_that_others_may_write_is_none_for_root(host: AgentHost, both: Both) -> None:
    host.policy.chmod(0o666)
    report = both.look()
    assert any("others than root may write it" in p.text for p in report.problems)
    assert report.exit_code == ExitCode.PARTIAL


def test_a_feed_that_cannot_be_reached_leaves_what_is_there(host: AgentHost, both: Both) -> None:
    service = host.service()
    host.publish()
    before = both.look()
    host.say(url="http://127.0.0.1:9/")
    both.begin()
    later = host.service()
    report = both.look()
    assert [p.reason for p in report.problems] == [Reason.FEED_UNREACHABLE]
    assert (report.version, report.fetched, report.exit_code) == (before.version, before.fetched, ExitCode.PARTIAL)
    assert service.ask("a") == later.ask("a") == NEW_ANSWER, "what was taken goes into later processes too"
    host.say()
    assert both.look().problems == ()


def test_a_full_disk_is_said_and_mends_itself(
    host: AgentHost, both: Both, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    service = host.service()
    host.publish()

    def full(path: Path, data: bytes, mode: int = 0) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(whole_file, "replace_durably", full)
        both.look()
        assert "No space left on device" in capfd.readouterr().err and service.ask("a") == OLD_ANSWER
    assert both.look().exit_code == ExitCode.OK and service.ask("a") == NEW_ANSWER


@pytest.mark.parametrize("days", [400, -400])
def test_a_clock_that_jumps_takes_nothing_away_and_mends_itself(host: AgentHost, both: Both, days: int) -> None:
    service = host.service()
    patch = host.publish()
    both.look()
    assert service.ask("a") == NEW_ANSWER

    def elsewhere() -> datetime:
        return local_now() + timedelta(days=days)

    both.service.clock = both.loop.clock = elsewhere
    host.withdraw(patch)
    both.look()
    if days > 0:  # all that the feed says has expired by then
        assert (service.ask("a"), host.service().ask("a")) == (NEW_ANSWER, NEW_ANSWER)
    both.service.clock = both.loop.clock = local_now
    both.look()
    assert (service.ask("a"), host.service().ask("a")) == (OLD_ANSWER, OLD_ANSWER)
    assert register.read(host.kept).in_force == ()


def test_what_a_newer_version_has_kept_is_read_by_an_older_one(host: AgentHost, both: Both) -> None:
    """As after a downgrade; an upgrade is the same with fields that are not there yet."""
    service = host.service()
    host.publish()
    both.look()
    place = host.kept / "register.json"
    kept = json.loads(place.read_text())
    kept["new_field"] = kept["in_force"][0]["new_field"] = {"a": 1}
    place.write_text(json.dumps(kept))
    both.begin()
    later = host.service()
    report = both.look()
    assert (service.ask("a"), later.ask("a")) == (NEW_ANSWER, NEW_ANSWER) and report.exit_code == 0


def test_a_wrong_policy_is_told_and_the_last_good_one_holds(host: AgentHost, both: Both) -> None:
    both.look()
    good = host.policy.read_text()
    host.policy.write_text(good + "nonsense = 1\n")
    both.loop.look()
    host.policy.write_text(good)
    assert any("nonsense" in p.text for p in both.status().problems)
    assert both.look().problems == ()


def test_a_newer_patch_takes_the_place_of_an_older_one(host: AgentHost, both: Both) -> None:
    service = host.service()
    older = host.publish()
    both.look()
    assert service.ask("a") == NEW_ANSWER
    library = host.program.with_name("libanswer.so")
    new = "int answer(int x) { return x * 3 + 3; }"
    made = make_patch(host.folder / "newer", library, new, {"answer": ["answer"]}, supersedes=(older,))
    host.patch = Path(made.object.name)
    newer = host.publish()
    assert [r.offer.patch for r in both.look().in_force] == [newer] != [older]
    later = host.service()
    both.look()
    assert service.ask("a") == later.ask("a") == str(ord("a") * 3 + 3)
    host.withdraw(newer)
    both.look()
    assert service.ask("a") in (OLD_ANSWER, NEW_ANSWER)


def test_the_inventory_has_what_runs_with_its_package(host: AgentHost, both: Both) -> None:
    first, second = host.service(), host.service()
    found = {b.build_id: b for b in both.look().binaries}
    own = found[host.build_id]
    assert (own.path, own.processes, own.package) == (str(host.program.with_name("libanswer.so")), 2, "")
    maps = Path("/proc/self/maps").read_text().split()
    path = Path(next(word for word in maps if word.endswith("/libc.so.6")))
    libc = found[ElfFile.read(path).build_id or ""]
    asked = ["dpkg-query", "--show", "--showformat=${Version}", "libc6"]
    version = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert (libc.package, libc.version) == ("libc6", version) and libc.processes >= 3
    before = (host.state / "inventory.json").stat().st_ino
    both.look()
    assert first.alive() and second.alive()
    again = {b.build_id for b in both.status().binaries}
    assert again == set(found) or (host.state / "inventory.json").stat().st_ino != before


def test_what_was_kept_and_is_damaged_is_made_again(host: AgentHost, both: Both) -> None:
    service = host.service()
    patch = host.publish()
    both.look()
    (host.kept / "register.json").write_bytes(b"{")
    (host.state / "state.json").write_bytes(b"")
    both.begin()
    report = both.look()
    assert [r.offer.patch for r in report.in_force] == [patch] and service.ask("a") == NEW_ANSWER


TWICE = """
#include <stdio.h>
int answer(int x); int second(int x);
int main(void) { char l[64]; setvbuf(stdout, 0, _IOLBF, 0);
  while (fgets(l, 64, stdin)) printf("%d %d\\n", answer(l[0]), second(l[0])); }
"""
OLD_PAIR, NEW_PAIR = f"{OLD_ANSWER} {ord('a') * 7 + 1}", f"{NEW_ANSWER} 5"


def with_a_second_library(host: AgentHost) -> Path:
    """Its patch, which is a part of the same fix; the service loads both."""
    folder, first = host.folder, host.program.with_name("libanswer.so")
    source = own("int second(int x) { return x * 7 + 1; }", folder)
    library = gcc(folder / "libsecond.so", source, "-shared", "-fPIC")
    host.program = gcc(folder / "twice", TWICE, str(first), str(library), f"-Wl,-rpath,{folder}")
    made = make_patch(folder / "second", library, "int second(int x) { return 5; }", {"second": ["second"]})
    return Path(made.object.name)


def publish_both(host: AgentHost, second: Path) -> tuple[str, str]:
    first, one = host.patch, host.publish()
    host.patch = second
    other = host.publish()
    host.patch = first
    return one, other


@pytest.mark.parametrize("feed_knows", [True, False])
def test_the_parts_of_one_fix_go_in_and_out_in_one_stop(host: AgentHost, both: Both, feed_knows: bool) -> None:
    second = with_a_second_library(host)
    service = host.service()
    assert service.ask("a") == OLD_PAIR
    both.deaf = True
    ids = publish_both(host, second)
    both.look()
    assert service.ask("a") == OLD_PAIR
    both.deaf = False
    both.look()
    assert service.ask("a") == NEW_PAIR
    (asked,) = [r for r, a in both.asked if r.work is Work.APPLY and a.in_force]
    assert {n.partition(".")[0] for n in (asked.name, *asked.companions)} == set(ids)
    from suture.process.see.status import status

    assert {p.id: p.companions for p in status(service.pid).patches} == {ids[0]: ids[1:], ids[1]: ids[:1]}
    later = host.service()
    both.look()
    assert later.ask("a") == NEW_PAIR
    run("feed", "withdraw", ids[1], *host.feed[:2], "--revert", "--reason", "it fails")
    if not feed_knows:  # a feed of an older version, which says nothing of the other part
        (Path(host.feed[1]) / "staged" / f"withdraw-{ids[0]}.json").unlink()
    run("feed", "publish", *host.feed)
    (row,) = both.look().in_force
    assert service.ask("a") == later.ask("a") == OLD_PAIR
    assert (row.offer.patch, row.held) == (ids[0], True) and row.why
    assert row.why.reason is (Reason.WITHDRAWN if feed_knows else Reason.APPLIED_TOGETHER)
    assert host.service().ask("a") == OLD_PAIR


def test_where_one_part_cannot_go_in_none_does(host: AgentHost, both: Both) -> None:
    host.say('on_failure = "go-on"')
    second = with_a_second_library(host)
    good, bad = host.service(), host.service()
    spoil(bad, host.program.with_name("libanswer.so"))
    publish_both(host, second)
    both.look()
    assert good.ask("a") == NEW_PAIR
    assert "memfd:suture" not in Path(f"/proc/{bad.pid}/maps").read_text()


def test_what_is_no_part_of_the_fix_is_not_taken_with_it(
    host: AgentHost, both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = with_a_second_library(host)
    service = host.service()
    both.deaf = True
    one, other = publish_both(host, second)
    both.look()
    monkeypatch.setattr("suture.agent.beside.is_beside", lambda one, other: False)
    asked = AgentRequest(Work.APPLY, f"{one}.suture.o", digest(host.patch.read_bytes()), "", (f"{other}.suture.o",))
    found = both.service.answer(asked)
    assert found.verdict is AgentVerdict.REFUSE and found.why and "no parts of its fix" in found.why.text
    assert service.ask("a") == OLD_PAIR and register.read(host.kept).in_force == ()
