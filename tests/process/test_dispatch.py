"""Threads whose calls are not all the kernel's: Syscall User Dispatch, and seccomp filters that do not know
restart_syscall."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suture.error import Unsupported
from suture.patch.file import PatchFile
from suture.process import syscall
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.memory.maps import read_maps
from suture.process.stop import borrow as borrowing
from suture.process.stop import seccomp
from suture.process.syscall import Registers
from suture.process.tracee import Tracee
from suture.process.x86_64 import SYS_RESTART_SYSCALL
from tests.killed import applying, killed_after

DISPATCHED = r"""
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
__attribute__((noinline)) int f(int x) { __asm__ volatile(""); return x * 3 + 1; }
static volatile char selector;
static volatile int caught;
extern char gate_start[], gate_end[], back[];
long gate(long n, long a, long b, long c);
/* calls from here are let through; with RETURN there is a way back from signals too */
__asm__(".globl gate\ngate_start:\ngate:\n mov %rdi,%rax\n mov %rsi,%rdi\n mov %rdx,%rsi\n mov %rcx,%rdx\n"
        " syscall\n ret\n" RETURN
        "gate_end:\nback:\n mov $15,%eax\n syscall\n");
static void on(int s) { caught++; }
struct action { void *handler; unsigned long flags; void *restorer; unsigned long mask; };
int main(int n, char **v) {
  struct action a = {(void *)on, 0x04000000, back, 0};
  char line[64];
  syscall(SYS_rt_sigaction, SIGSYS, &a, 0, 8);
  if (prctl(59, 1, gate_start, gate_end - gate_start, &selector)) return 1;
  selector = atoi(v[1]);
  while (gate(SYS_read, 0, (long)line, sizeof line) > 0) gate(SYS_write,
      1, (long)line, sprintf(line, "%d %d\n", f(7), caught));
}
"""
RETURN = r'" mov $15,%eax\n syscall\n nop\n"'


@pytest.fixture
def build(gcc: Any, make_patch: Any, tmp_path: Path) -> Callable[..., tuple[Path, PatchFile]]:
    def build(source: str, *flags: str) -> tuple[Path, PatchFile]:
        program = gcc(tmp_path / "target", source, "-w", *flags)
        return program, make_patch(tmp_path, program, "int f(int x) { return 1000; }", {"f": ["f"]})

    return build


def test_a_thread_that_handles_its_calls_itself_is_not_borrowed(start: Any, build: Any) -> None:
    program, patch = build(DISPATCHED, '-DRETURN=""')
    target = start(program, 1)
    assert target.ask() == "22 0"
    began = time.monotonic()
    with pytest.raises(Unsupported, match="Syscall User Dispatch"):
        apply(target.pid, patch)
    assert time.monotonic() - began < 5
    assert target.ask() == "22 0"


@pytest.mark.parametrize(("flags", "selector"), [('-DRETURN=""', 0), (f"-DRETURN={RETURN}", 1)])
def test_calls_are_made_where_they_are_let_through(start: Any, build: Any, flags: str, selector: int) -> None:
    program, patch = build(DISPATCHED, flags)
    target = start(program, selector)
    assert target.ask() == "22 0"
    apply(target.pid, patch)
    assert target.ask() == "1000 0"
    revert(target.pid, patch.id)
    assert target.ask() == "22 0"


def test_a_dead_applier_leaves_a_thread_that_handles_its_calls_itself_at_work(start: Any, build: Any) -> None:
    program, patch = build(DISPATCHED, f"-DRETURN={RETURN}")
    for step in range(1, 20):
        target = start(program, 1)
        assert target.ask() == "22 0"
        name = killed_after(step, applying(target.pid, patch))
        assert target.ask() in ("22 0", "1000 0"), name
    assert name


def test_where_the_kernel_does_not_tell_a_handler_of_sigsys_counts(
    start: Any, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(_: int) -> None:
        raise OSError(errno.EIO, "ptrace")

    monkeypatch.setattr(syscall, "get_user_dispatch", unknown)
    program, patch = build(DISPATCHED, '-DRETURN=""')
    target = start(program, 1)
    assert target.ask() == "22 0"
    with pytest.raises(Unsupported, match="Syscall User Dispatch"):
        apply(target.pid, patch)
    assert target.ask() == "22 0"


FILTERED = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
__attribute__((noinline)) int f(int x) { __asm__ volatile(""); return x * 3 + 1; }
static volatile int caught, woken, failed, up;
static void on(int s) { caught++; }
static void *sleeper(void *a) {
  for (up = 1;;) { struct timespec t = {0, 300000000}; if (syscall(SYS_nanosleep, &t, 0)) failed = errno; woken++; }
}
int main(int n, char **v) {
  int forbid = atoi(v[1]);
  char line[64];
  struct sock_filter f_[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_restart_syscall, 4, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write,
        4, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 3, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_nanosleep, 2, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    BPF_STMT(BPF_RET | BPF_K, strtoul(v[1], 0, 0)), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  struct sock_fprog p = {8, f_};
  pthread_t t;
  signal(SIGSYS, on);
  pthread_create(&t, 0, sleeper, 0);
  while (!up) usleep(1000);
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 1, &p)) return 1;
  while (read(0, line, sizeof line) > 0) write(1, line, sprintf(line, "%d %d %d %d\n", f(7), caught,
      failed, woken > 0));
}
"""
KILL, TRAP, ERRNO, ALLOW = "0x80000000", "0x00030000", "0x00050001", "0x7fff0000"


@pytest.mark.parametrize("action", [KILL, TRAP, ERRNO, ALLOW])
def test_a_sleep_goes_on_whatever_a_filter_says_of_restart_syscall(start: Any, build: Any, action: str) -> None:
    program, patch = build(FILTERED, "-pthread")
    target = start(program, action)
    assert target.ask().startswith("22 0 0")
    for _ in range(5):
        apply(target.pid, patch)
        assert target.ask().startswith("1000 0 0")
        revert(target.pid, patch.id)
        assert target.ask().startswith("22 0 0")
    time.sleep(0.4)
    assert target.ask() == "22 0 0 1"


@pytest.mark.parametrize("action", [KILL, ALLOW])
def test_a_borrowed_sleeper_goes_back_to_its_sleep_under_its_filter(
    start: Any, build: Any, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    program, _ = build(FILTERED, "-pthread")
    target = start(program, action)
    assert target.ask().startswith("22 0 0")
    with Tracee(target.pid) as tracee:
        sleeper = max(tracee.threads())
        monkeypatch.setattr(borrowing, "_candidates", lambda *_: [sleeper])
        for _ in range(5):
            with borrowing.borrow(tracee, read_maps(target.pid)) as thread:
                assert thread.call("getpid", 39) == target.pid
    time.sleep(0.4)
    assert target.ask() == "22 0 0 1"


@pytest.mark.parametrize(("action", "allowed"), [(KILL, False), (TRAP, False), (ERRNO, False), (ALLOW, True)])
def test_a_filter_is_read_and_run_as_the_kernel_runs_it(start: Any, build: Any, action: str, allowed: bool) -> None:
    program, _ = build(FILTERED, "-pthread")
    target = start(program, action)
    assert target.ask()
    syscall.seize(target.pid)
    syscall.interrupt(target.pid)
    syscall.waitpid(target.pid)
    registers = syscall.get_registers(target.pid)
    assert seccomp.allows(target.pid, registers, SYS_RESTART_SYSCALL) is allowed
    assert seccomp.allows(target.pid, registers, 1)
    assert not seccomp.allows(target.pid, registers, 2)
    syscall.detach(target.pid)
    assert target.ask()


def bpf(*instructions: tuple[int, int, int, int], number: int = 5, **values: int) -> int:
    registers = Registers(**values)
    return seccomp._run(list(instructions), seccomp._seccomp_data(registers, number))


def test_each_instruction_of_a_filter() -> None:
    ret_a = (0x16, 0, 0, 0)
    load = (0x20, 0, 0, 0)
    assert bpf((0x06, 0, 0, 42)) == 42
    assert bpf(load, ret_a) == 5
    assert bpf((0x20, 0, 0, 4), ret_a) == 0xC000003E
    assert bpf((0x20, 0, 0, 16), ret_a, rdi=0x1122334455667788) == 0x55667788
    assert bpf((0x20, 0, 0, 20), ret_a, rdi=0x1122334455667788) == 0x11223344
    assert bpf((0x20, 0, 0, 8), ret_a, rip=77) == 77
    assert bpf((0x80, 0, 0, 0), ret_a) == 64  # the length
    assert bpf(load, (0x07, 0, 0, 0), (0x00, 0, 0, 9), (0x0C, 0, 0, 0), ret_a) == 14  # tax, ld 9, add x
    assert bpf((0x01, 0, 0, 3), (0x87, 0, 0, 0), ret_a) == 3  # ldx 3, txa
    assert bpf(load, (0x02, 0, 0, 7), (0x00, 0, 0, 0), (0x60, 0, 0, 7), ret_a) == 5  # st, ld from memory
    assert bpf((0x01, 0, 0, 8), (0x03, 0, 0, 1), (0x60, 0, 0, 1), ret_a) == 8  # stx
    for operation, value in ((0x14, 3), (0x24, 10), (0x34, 2), (0x44, 7), (0x54, 0), (0x64, 20), (0x74, 1), (0xA4, 7)):
        assert bpf(load, (operation, 0, 0, 2), ret_a) == value, hex(operation)
    assert bpf(load, (0x84, 0, 0, 0), ret_a) == 2**32 - 5  # neg
    assert bpf(load, (0x34, 0, 0, 0), ret_a) == 0  # a division by nothing ends in 0, which kills
    for test, k, taken in ((0x15, 5, True), (0x25, 5, False), (0x35, 5, True), (0x45, 4, True), (0x45, 2, False)):
        assert bpf(load, (test, 0, 1, k), (0x06, 0, 0, 1), (0x06, 0, 0, 2)) == (1 if taken else 2), hex(test)
    assert bpf((0x05, 0, 0, 1), (0x06, 0, 0, 1), (0x06, 0, 0, 2)) == 2  # ja
    assert bpf((0x20, 0, 0, 64), ret_a) == 0 and bpf((0x05, 0, 0, 9)) == 0 and bpf((0x28, 0, 0, 1), ret_a) == 0
