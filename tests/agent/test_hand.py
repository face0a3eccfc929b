"""What traces is another process: what is told crosses to it, and what came of it back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from suture.agent.hand import HandGone, OtherHand
from suture.agent.journal import Journal
from suture.error import ExitCode, SutureError
from suture.host.recipient import ApplyOptions
from suture.report.reason import Reason
from tests.agent.conftest import LIBRARY, NEW, NEW_ANSWER, OLD_ANSWER, SANDBOXED, SERVICE, eventually_in
from tests.process.conftest import Start, gcc, make_patch, start

__all__ = ["start"]


@pytest.fixture
def hand(tmp_path: Path) -> Iterator[OtherHand]:
    folder = tmp_path / "patches"
    folder.mkdir()
    one = OtherHand(folder, Journal())
    yield one
    one.close()


def test_patches_are_put_in_and_taken_out_by_it(tmp_path: Path, hand: OtherHand, start: Start) -> None:
    library = gcc(tmp_path / "libanswer.so", LIBRARY, "-shared", "-fPIC")
    program = gcc(tmp_path / "service", SERVICE, str(library), f"-Wl,-rpath,{tmp_path}")
    made = make_patch(tmp_path / "made", library, NEW, {"answer": ["answer"]})
    name = f"{made.id}.suture.o"
    (tmp_path / "patches" / name).write_bytes(Path(made.object.name).read_bytes())
    service = start(program)
    assert service.ask("a") == OLD_ANSWER
    report = hand.target([name]).apply([service.pid], ApplyOptions())
    assert [(p.pid, p.patch) for p in report.processes if p.changed] == [(service.pid, made.id)]
    assert service.ask("a") == NEW_ANSWER
    report_back = hand.target([name]).revert([], "", ApplyOptions())
    assert [p.pid for p in report_back.processes if p.changed] == [service.pid] and service.ask("a") == OLD_ANSWER


def test_what_it_cannot_do_is_raised_here(hand: OtherHand) -> None:
    with pytest.raises(SutureError) as caught:
        hand.target(["0123456789abcdef.suture.o"])
    assert caught.value.exit_code is ExitCode.NOT_FOUND and hand.is_there
    with pytest.raises(SutureError) as caught:
        hand.target(["../../etc/passwd"])
    assert caught.value.reason is Reason.DEFECT and hand.is_there


def test_that_it_has_ended_is_noticed(hand: OtherHand) -> None:
    os.kill(hand.pid, signal.SIGKILL)
    with pytest.raises(HandGone):
        hand.target(["0123456789abcdef.suture.o"])
    assert not hand.is_there


PROGRAM = """
import os, signal, sys
from pathlib import Path
from suture.agent import confinement
from suture.agent.hand import OtherHand
from suture.agent.journal import Journal
hand = OtherHand(Path("/is/not/there"), Journal())
hand.watch(confinement.confine())
print(hand.pid, flush=True)
for _ in range(3):
    try:
        os.execv("/bin/sh", ["sh", "-c", "echo a shell"])
    except OSError as problem:
        print(problem.errno, flush=True)
print(open("/proc/self/status").read().partition("CapEff:")[2].split()[0], flush=True)
sys.stdin.readline()
"""


def test_calls_that_the_filter_refuses_are_told_of_once_and_it_has_no_filter_itself() -> None:
    words = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as one:
        assert one.stdout and one.stdin and one.stderr
        hand = int(one.stdout.readline())
        assert [one.stdout.readline() for _ in range(3)] == ["1\n"] * 3
        capabilities = int(one.stdout.readline(), 16)
        assert "Seccomp:\t2" in Path(f"/proc/{one.pid}/status").read_text()
        assert "Seccomp:\t0" in Path(f"/proc/{hand}/status").read_text()
        assert not capabilities >> 16 & 1 and not capabilities >> 12 & 1, "CAP_SYS_MODULE, CAP_NET_ADMIN"
        one.stdin.close()
        told = one.stderr.read()
    assert told.count("called execve, which the privileged part may not") == 1 and f"pid {one.pid} " in told
    eventually_in(5, lambda: not Path(f"/proc/{hand}").exists())


def test_it_ends_with_who_made_it_also_when_that_is_killed(tmp_path: Path) -> None:
    words = [sys.executable, "-c", PROGRAM.replace("sys.stdin.readline()", "os.kill(os.getpid(), signal.SIGKILL)")]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    hand = int(done.stdout.split()[0])
    eventually_in(5, lambda: not Path(f"/proc/{hand}").exists())


FILTERED = """
import sys
from pathlib import Path
from suture.agent.hand import OwnHand
from suture.error import SutureError
from suture.host.recipient import ApplyOptions
from suture.process import syscall
if sys.argv[1] == "filtered":
    syscall.no_new_privileges()
    syscall.seccomp_filter([(0x06, 0, 0, 0x7FFF0000)], listener=False)  # all is allowed
try:
    report = OwnHand(Path(sys.argv[2])).target([sys.argv[3]]).apply([int(sys.argv[4])], ApplyOptions())
    print(*[f.reason.value for f in report.failed], len([p for p in report.processes if p.changed]))
except SutureError as problem:
    print(problem.reason.value)
"""


def test_what_traces_with_any_filter_could_not_patch_what_has_one(tmp_path: Path, start: Start) -> None:
    """Why it has none: the day that this fails, it may have one."""
    library = gcc(tmp_path / "libanswer.so", LIBRARY, "-shared", "-fPIC")
    program = gcc(tmp_path / "service", SANDBOXED, str(library), f"-Wl,-rpath,{tmp_path}")
    made = make_patch(tmp_path / "made", library, NEW, {"answer": ["answer"]})
    name = f"{made.id}.suture.o"
    (tmp_path / name).write_bytes(Path(made.object.name).read_bytes())
    service = start(program)
    assert service.ask("a") == OLD_ANSWER

    def applied(how: str) -> str:
        words = [sys.executable, "-c", FILTERED, how, str(tmp_path), name, str(service.pid)]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    assert applied("filtered") == Reason.DENIED_SECCOMP.value and service.ask("a") == OLD_ANSWER
    assert applied("free") == "1" and service.ask("a") == NEW_ANSWER
