"""Which calls are made again after a stop. On processes: tests/process/test_interrupted.py."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from suture.process import syscall, x86_64
from suture.process.error import NoProcess
from suture.process.stop import interrupted, seccomp
from suture.process.stop.interrupted import has_filter, repair_interrupted
from suture.process.syscall import Registers
from suture.process.tracee import Status

STOP = 0x80 << 16 | signal.SIGTRAP << 8 | 0x7F
EINTR, RESTART = (1 << 64) - 4, (1 << 64) - 516
EPOLL_WAIT, IOCTL, NANOSLEEP = 232, 16, 35


def signals(*numbers: int) -> int:
    return sum(1 << (n - 1) for n in numbers)


class Thread:
    """What is known of a thread: its signals, whether some wait for it, whether it has a filter and what that says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.status: Status | None = Status("S", 0, 0, 0, 0, 0, 0, 0, "")
        self.own = self.shared = False
        self.allows = True
        self.asked = 0
        monkeypatch.setattr(interrupted, "read_status", self._read)
        monkeypatch.setattr(syscall, "has_pending", lambda tid, shared: self.shared if shared else self.own)
        monkeypatch.setattr(seccomp, "allows", self._allows)

    def _read(self, tid: int) -> Status:
        if self.status is None:
            raise NoProcess(tid)
        return self.status

    def _allows(self, tid: int, registers: Registers, number: int) -> bool:
        assert (tid, number) == (7, 219)
        self.asked += 1
        return self.allows

    def set(self, **fields: int) -> None:
        values = {"blocked": 0, "ignored": 0, "caught": 0, "pending": 0, "shared_pending": 0, "seccomp": 0, **fields}
        self.status = Status("S", 0, values.pop("seccomp"), features="", **values)

    def repeated(
        self, number: int = EPOLL_WAIT, rax: int = EINTR, rsi: int = 0, status: int = STOP, filtered: bool | None = None
    ) -> bool:
        registers = Registers(rip=0x1002, rax=rax, orig_rax=number, rsi=rsi)
        done = repair_interrupted(7, registers, status, filtered)
        again = (registers.rip, registers.rax, registers.orig_rax) == (0x1000, number, x86_64.NO_SYSCALL)
        assert done == again
        if not done:
            assert (registers.rip, registers.rax, registers.orig_rax) == (0x1002, rax, number)
        return done


@pytest.fixture
def thread(monkeypatch: pytest.MonkeyPatch) -> Thread:
    return Thread(monkeypatch)


def test_a_call_that_our_stop_alone_ended_is_made_again(thread: Thread) -> None:
    assert thread.repeated()
    assert thread.repeated(IOCTL, rsi=0x5409)
    assert not thread.repeated(IOCTL, rsi=1)
    assert not thread.repeated(NANOSLEEP)
    assert not thread.repeated(rax=0)
    registers = Registers(rip=0x1002, rax=EINTR, orig_rax=x86_64.NO_SYSCALL)
    assert not repair_interrupted(7, registers, STOP)


def test_what_the_kernel_goes_on_with_is_made_anew_where_a_filter_forbids_that(thread: Thread) -> None:
    thread.allows = False
    assert not thread.repeated(NANOSLEEP, RESTART)
    assert thread.asked == 0
    thread.set(seccomp=2)
    assert thread.repeated(NANOSLEEP, RESTART)
    assert not thread.repeated(NANOSLEEP, RESTART, filtered=False)
    thread.set(seccomp=1)
    assert not thread.repeated(NANOSLEEP, RESTART)
    assert thread.repeated(NANOSLEEP, RESTART, filtered=True)
    thread.allows = True
    assert not thread.repeated(NANOSLEEP, RESTART, filtered=True)
    assert thread.asked == 3


def test_a_signal_that_is_handled_keeps_its_eintr(thread: Thread) -> None:
    usr1 = signals(signal.SIGUSR1)
    delivered = signal.SIGUSR1 << 8 | 0x7F
    thread.set(caught=usr1)
    assert not thread.repeated(status=delivered)
    thread.set()  # its default action ends the process
    assert not thread.repeated(status=delivered)
    thread.set(ignored=usr1)
    assert thread.repeated(status=delivered)
    # in a stop of ours the number is that of the stop
    thread.set()
    assert thread.repeated(status=0x80 << 16 | signal.SIGUSR1 << 8 | 0x7F)


def test_signals_that_wait_count_when_they_are_not_blocked(thread: Thread) -> None:
    usr1, usr2 = signals(signal.SIGUSR1), signals(signal.SIGUSR2)
    thread.set(pending=usr1)
    assert thread.repeated()  # the kernel has none for it any more
    for own, shared in ((True, False), (False, True)):
        thread.own, thread.shared = own, shared
        thread.set(pending=usr1)
        assert not thread.repeated()
        thread.set(shared_pending=usr1)
        assert not thread.repeated()
        thread.set(pending=usr1, blocked=usr1)
        assert thread.repeated()
        thread.set(pending=usr1, blocked=usr2)
        assert not thread.repeated()
        thread.set(pending=usr1, shared_pending=usr2, blocked=usr1)
        assert not thread.repeated()
        thread.set(pending=usr1, ignored=usr1 | usr2)
        assert thread.repeated()
        thread.set()
        assert thread.repeated()


def test_signals_that_are_ignored_by_default_count_when_they_are_caught(thread: Thread) -> None:
    for number in (signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH, signal.SIGCONT):
        thread.set()
        assert thread.repeated(status=number << 8 | 0x7F)
        thread.set(caught=signals(number))
        assert not thread.repeated(status=number << 8 | 0x7F)
        thread.set(caught=signals(signal.SIGUSR1))
        assert thread.repeated(status=number << 8 | 0x7F)
    for number in (signal.SIGHUP, signal.SIGTSTP, signal.SIGALRM, signal.SIGTTIN):
        thread.set()
        assert not thread.repeated(status=number << 8 | 0x7F)


def test_a_thread_that_is_gone_has_no_filter_and_is_left_as_it_is(thread: Thread) -> None:
    thread.set(seccomp=2)
    assert has_filter(7)
    thread.status = None
    assert not has_filter(7)
    assert not thread.repeated(status=signal.SIGUSR1 << 8 | 0x7F)


def test_the_page_and_the_code_name_the_same_calls() -> None:
    """The kernel's own header has the numbers."""
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text()
    numbers = {name: int(n) for name, n in re.findall(r"#define __NR_(\w+) (\d+)", header)}
    page = (Path(__file__).parents[3] / "docs/reference/interrupted-calls.md").read_text()
    rows = page.partition("## Made again by Suture")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in rows.splitlines() if line.startswith("| ") and " ioctl " not in line]
    named = {w for c in cells[1:] for w in re.findall(r"[a-z_0-9]+", re.split(r" on | of |\(", c)[0])}
    assert named <= numbers.keys()
    assert {numbers[w] for w in named} == x86_64.REPEATED_AFTER_EINTR
