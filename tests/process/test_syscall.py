"""Each wrapper of a system call, on a process of its own; /proc and the process's own behaviour are the judges."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from suture.process import syscall

# Waits at a place where every register is known, until something changes %r12; then ends with it as its exit status.
WAITER = r"""
#include <signal.h>
#include <stdio.h>
#include <unistd.h>
const char words[32] __attribute__((aligned(16))) = "sixteen bytes ..more of them ...";
volatile char spins;
int main(void) {
  alarm(120); /* it spins: nothing may keep it when its test is killed */
  sigset_t held; sigemptyset(&held); sigaddset(&held, SIGUSR1); sigprocmask(SIG_BLOCK, &held, 0);
  printf("%p %p\n", (const void *)words, (const void *)&spins); fflush(stdout);
  __asm__ volatile("movdqa %0, %%xmm5\n movq $0x1234567, %%r12\n movq $0x765, %%r13\n movb $1, %1\n"
    "1: cmpq $0x1234567, %%r12\n je 1b\n movq %%r12, %%rdi\n movq $231, %%rax\n syscall\n" :: "m"(words), "m"(spins));
}
"""
FORKS = (
    "#include <unistd.h>\n#include <sys/wait.h>\nint main(void) { getchar(); int p = fork(); if (!p) _exit(3); "
    "waitpid(p, 0, 0); return 0; }\n"
)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def tracer(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("TracerPid:")[1].split()[0])


@contextmanager
def stopped(pid: int, options: int = 0) -> Iterator[None]:
    """Seized and interrupted; let go at the end."""
    syscall.seize(pid, options)
    syscall.interrupt(pid)
    assert syscall.waitpid(pid) == (pid, 0x7F | signal.SIGTRAP << 8 | syscall.PTRACE_EVENT_STOP << 16)
    yield
    syscall.detach(pid)


@pytest.fixture
def waiter(start: Callable[..., Any], gcc: Callable[..., Path], tmp_path: Path, eventually: Callable[..., None]) -> Any:
    """A program that spins; `words` is the address of its text."""
    program = gcc(tmp_path / "waiter", WAITER)
    target = start(program)
    target.words, spins = (int(word, 16) for word in target.line().split())
    eventually(lambda: syscall.process_vm_readv(target.pid, spins, 1) == b"\1")
    return target


def test_a_call_that_fails_raises_its_errno() -> None:
    with pytest.raises(OSError, match="ptrace") as raised:
        syscall.ptrace(syscall.PTRACE_INTERRUPT, os.getppid())
    assert raised.value.errno == errno.ESRCH


def test_seize_attaches_without_a_stop_and_interrupt_stops_and_detach_lets_go(waiter: Any) -> None:
    syscall.seize(waiter.pid)
    assert tracer(waiter.pid) == os.getpid() and state(waiter.pid) == "R"
    syscall.interrupt(waiter.pid)
    syscall.waitpid(waiter.pid)
    assert state(waiter.pid) == "t"
    syscall.detach(waiter.pid)
    assert tracer(waiter.pid) == 0 and state(waiter.pid) == "R"
    with pytest.raises(ProcessLookupError):
        syscall.interrupt(waiter.pid)


def test_what_may_not_be_traced_is_refused_with_the_kernels_errno() -> None:
    with pytest.raises(PermissionError):
        syscall.seize(os.getpid())


def test_cont_goes_on_and_hands_on_a_signal(waiter: Any, eventually: Callable[..., None]) -> None:
    with stopped(waiter.pid):
        syscall.cont(waiter.pid)
        eventually(lambda: state(waiter.pid) == "R")
        os.kill(waiter.pid, signal.SIGTERM)
        assert syscall.waitpid(waiter.pid) == (waiter.pid, 0x7F | signal.SIGTERM << 8)
        syscall.cont(waiter.pid)
        eventually(lambda: state(waiter.pid) == "R")
        syscall.interrupt(waiter.pid)
        syscall.waitpid(waiter.pid)
    assert waiter.alive()
    syscall.seize(waiter.pid)
    os.kill(waiter.pid, signal.SIGTERM)
    syscall.waitpid(waiter.pid)
    syscall.cont(waiter.pid, signal.SIGTERM)
    assert os.WTERMSIG(syscall.waitpid(waiter.pid)[1]) == signal.SIGTERM


def test_cont_to_syscall_stops_at_the_next_call(waiter: Any) -> None:
    with stopped(waiter.pid, syscall.PTRACE_O_TRACESYSGOOD):
        registers = syscall.get_registers(waiter.pid)
        registers.r12 = 9
        syscall.set_registers(waiter.pid, registers)
        syscall.cont_to_syscall(waiter.pid)
        assert syscall.waitpid(waiter.pid) == (waiter.pid, 0x7F | (signal.SIGTRAP | 0x80) << 8)
        assert syscall.get_registers(waiter.pid).orig_rax == 231
    waiter.process.wait()
    assert waiter.process.returncode == 9


def test_options_make_a_fork_an_event_whose_message_is_the_child(
    start: Callable[..., Any], gcc: Callable[..., Path], tmp_path: Path
) -> None:
    target = start(gcc(tmp_path / "forks", FORKS, "-w"))
    with stopped(target.pid):
        syscall.set_options(target.pid, syscall.PTRACE_O_TRACEFORK)
        syscall.cont(target.pid)
        target.process.stdin.write(b"\n")
        target.process.stdin.flush()
        _, status = syscall.waitpid(target.pid)
        assert status >> 16 == syscall.PTRACE_EVENT_FORK
        child = syscall.get_event_message(target.pid)
        assert f"PPid:\t{target.pid}\n" in Path(f"/proc/{child}/status").read_text()
        syscall.waitpid(child)
        syscall.detach(child)
    assert target.process.wait() == 0


def test_registers_are_the_threads_own_and_what_is_set_counts(waiter: Any) -> None:
    with stopped(waiter.pid):
        registers = syscall.get_registers(waiter.pid)
        assert (registers.r12, registers.r13) == (0x1234567, 0x765)
        assert syscall.get_registers(waiter.pid).rip == registers.rip
        registers.r12 = 42
        syscall.set_registers(waiter.pid, registers)
        assert syscall.get_registers(waiter.pid).r12 == 42
    assert waiter.process.wait() == 42


def test_the_extended_register_set_holds_the_vector_registers(waiter: Any) -> None:
    with stopped(waiter.pid):
        area = syscall.get_register_set(waiter.pid, syscall.NT_X86_XSTATE)
        assert len(area) >= 576  # legacy area and XSAVE header (Intel SDM volume 1, 13.4)
        assert area[160 + 5 * 16 : 160 + 6 * 16] == b"sixteen bytes .."
        assert syscall.get_register_set(waiter.pid, syscall.NT_X86_XSTATE, 576) == area[:576]


def test_pending_signals_are_seen_for_the_thread_and_for_the_process(waiter: Any) -> None:
    def pending() -> list[bool]:
        return [syscall.has_pending(waiter.pid, shared) for shared in (False, True)]

    with stopped(waiter.pid):
        assert pending() == [False, False]
        os.kill(waiter.pid, signal.SIGUSR1)
        assert pending() == [False, True]
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.syscall(ctypes.c_long(234), waiter.pid, waiter.pid, int(signal.SIGUSR1)) == 0  # tgkill
        assert pending() == [True, True]


def test_the_signal_mask_is_read_and_set(waiter: Any) -> None:
    usr1, usr2 = (1 << (s - 1) for s in (signal.SIGUSR1, signal.SIGUSR2))

    def blocked() -> int:
        return int(Path(f"/proc/{waiter.pid}/status").read_text().split("SigBlk:")[1].split()[0], 16)

    with stopped(waiter.pid):
        assert syscall.get_signal_mask(waiter.pid) == blocked() == usr1
        syscall.set_signal_mask(waiter.pid, usr1 | usr2)
        assert syscall.get_signal_mask(waiter.pid) == blocked() == usr1 | usr2


def test_the_rseq_area_is_where_the_c_library_registered_it(
    start: Callable[..., Any], gcc: Callable[..., Path], tmp_path: Path
) -> None:
    source = r"""
    #include <stdio.h>
    #include <stddef.h>
    extern const ptrdiff_t __rseq_offset; extern const unsigned __rseq_size;
    int main(void) { printf("%lx\n", __rseq_size ? (long)((char *)__builtin_thread_pointer() + __rseq_offset) : 0);
        fflush(stdout); getchar(); }"""
    program = gcc(tmp_path / "rseq", source)
    for env in ({}, {"GLIBC_TUNABLES": "glibc.pthread.rseq=0"}):
        target = start(program, env=env)
        expected = int(target.line(), 16)
        assert bool(expected) is not bool(env)
        with stopped(target.pid):
            assert syscall.get_rseq_area(target.pid) == expected


def test_waitpid_without_blocking_says_that_nothing_is_there(waiter: Any) -> None:
    syscall.seize(waiter.pid)
    assert syscall.waitpid(waiter.pid, block=False) == (0, 0)
    syscall.interrupt(waiter.pid)
    deadline = time.monotonic() + 5
    while (found := syscall.waitpid(waiter.pid, block=False)) == (0, 0):
        assert time.monotonic() < deadline
    assert found[0] == waiter.pid and found[1] >> 16 == syscall.PTRACE_EVENT_STOP
    syscall.detach(waiter.pid)


def test_waitpid_of_what_is_no_tracee_raises() -> None:
    with pytest.raises(ChildProcessError):
        syscall.waitpid(os.getppid())


def test_a_blocking_waitpid_is_woken_in_time_in_any_thread_and_no_timer_stays(waiter: Any) -> None:
    said: list[Any] = []

    def wait() -> None:
        syscall.seize(waiter.pid)
        began = time.monotonic()
        try:
            with syscall.wake_after(0.05):
                syscall.waitpid(waiter.pid)
        except InterruptedError:
            said.append(time.monotonic() - began)
        said.append(Path("/proc/self/timers").read_text())
        syscall.interrupt(waiter.pid)
        syscall.waitpid(waiter.pid)
        syscall.detach(waiter.pid)

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(10)
    assert not thread.is_alive() and len(said) == 2
    assert 0.05 <= said[0] < 5 and said[1] == ""


def test_a_time_that_is_over_at_once_still_wakes(waiter: Any) -> None:
    syscall.seize(waiter.pid)
    for _ in range(20):
        with pytest.raises(InterruptedError), syscall.wake_after(0):
            time.sleep(0.001)
            syscall.waitpid(waiter.pid)
    syscall.interrupt(waiter.pid)
    syscall.waitpid(waiter.pid)
    syscall.detach(waiter.pid)


def test_held_signals_come_afterwards_and_the_mask_is_as_before() -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        with syscall.signals_held():
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)  # a process may have a thread that takes it
            time.sleep(0.01)
            assert came == []
            assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        assert came == [signal.SIGUSR2]
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_the_timer_goes_off_though_signals_are_held(waiter: Any) -> None:
    syscall.seize(waiter.pid)
    with syscall.signals_held(), pytest.raises(InterruptedError), syscall.wake_after(0.01):
        syscall.waitpid(waiter.pid)
    syscall.interrupt(waiter.pid)
    syscall.waitpid(waiter.pid)
    syscall.detach(waiter.pid)


def last_mapped(pid: int, address: int) -> int:
    """The end of the mappings that follow one another from the one that holds an address."""
    end = 0
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        low, high = (int(x, 16) for x in line.split()[0].split("-"))
        if low <= address < high or low == end:
            end = high
    return end


def test_memory_is_read_up_to_where_it_ends(waiter: Any) -> None:
    text = b"sixteen bytes ..more of them ..."
    assert syscall.process_vm_readv(waiter.pid, waiter.words, 32) == text
    end = last_mapped(waiter.pid, waiter.words)
    assert len(syscall.process_vm_readv(waiter.pid, end - 4096, 8192)) == 4096
    with pytest.raises(OSError, match="process_vm_readv") as raised:
        syscall.process_vm_readv(waiter.pid, end, 8)
    assert raised.value.errno == errno.EFAULT
    with pytest.raises(ProcessLookupError):
        syscall.process_vm_readv(2**22 - 1, waiter.words, 8)


def test_more_ranges_than_one_call_takes_are_read_one_behind_the_other(waiter: Any) -> None:
    text = b"sixteen bytes ..more of them ..."
    ranges = [(waiter.words + n % 29, 1 + n % 3) for n in range(3 * syscall.IOV_MAX + 7)]
    expected = b"".join(text[a - waiter.words : a - waiter.words + n] for a, n in ranges)
    buffer = ctypes.create_string_buffer(len(expected) + 8)
    flat = array("Q", [x for pair in ranges for x in pair])
    assert syscall.process_vm_readv_into(waiter.pid, ctypes.addressof(buffer), flat) == len(expected)
    assert buffer.raw == expected + bytes(8)


@pytest.mark.parametrize("place", [0, 5, syscall.IOV_MAX, syscall.IOV_MAX + 5])
def test_reading_ranges_ends_at_the_first_that_is_not_mapped(waiter: Any, place: int) -> None:
    ranges = [(waiter.words, 3)] * (2 * syscall.IOV_MAX)
    ranges[place] = (0x1000, 3)
    buffer = ctypes.create_string_buffer(3 * len(ranges))
    flat = array("Q", [x for pair in ranges for x in pair])
    assert syscall.process_vm_readv_into(waiter.pid, ctypes.addressof(buffer), flat) == 3 * place
    assert buffer.raw[: 3 * place] == b"six" * place and not any(buffer.raw[3 * place :])


def test_reading_ranges_of_no_process_raises() -> None:
    with pytest.raises(ProcessLookupError):
        syscall.process_vm_readv_into(2**22 - 1, ctypes.addressof(ctypes.create_string_buffer(8)), array("Q", [1, 8]))


def test_threads_share_memory_and_forked_processes_do_not(
    start: Callable[..., Any], gcc: Callable[..., Path], tmp_path: Path
) -> None:
    program = gcc(
        tmp_path / "shares",
        "#define _GNU_SOURCE\n#include <sched.h>\n#include <stdio.h>\n#include <unistd.h>\nstatic char s[65536];\n"
        "static int f(void *a) { pause(); return 0; }\n"
        'int main(void) { int a = clone(f, s + 65536, CLONE_VM, 0), b = fork(); if (!b) pause(); printf("%d %d\\n'
        '", a, b); fflush(stdout); pause(); }',
        "-w",
    )
    target = start(program)
    shares, copy = map(int, target.line().split())
    assert syscall.kcmp_same_memory(target.pid, shares) is True
    assert syscall.kcmp_same_memory(target.pid, copy) is False
    assert syscall.kcmp_same_memory(copy, copy) is True
    with pytest.raises(ProcessLookupError):
        syscall.kcmp_same_memory(target.pid, 2**22 - 1)


def test_a_pidfd_is_of_a_process_that_is_there(waiter: Any) -> None:
    pidfd = syscall.pidfd_open(waiter.pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        assert waiter.process.wait() == -signal.SIGKILL
    finally:
        os.close(pidfd)
    with pytest.raises(ProcessLookupError):
        syscall.pidfd_open(2**22 - 1)


def test_the_unchecked_calls_say_minus_one(waiter: Any) -> None:
    status = ctypes.c_int()
    assert syscall.ptrace_fast(syscall.PTRACE_INTERRUPT, os.getppid(), None, None) == -1
    assert syscall.waitpid_fast(os.getppid(), ctypes.c_void_p(ctypes.addressof(status)), syscall.WALL) == -1
    syscall.seize(waiter.pid)
    assert syscall.ptrace_fast(syscall.PTRACE_INTERRUPT, waiter.pid, None, None) == 0
    assert syscall.waitpid_fast(waiter.pid, ctypes.c_void_p(ctypes.addressof(status)), syscall.WALL) == waiter.pid
    assert status.value >> 16 == syscall.PTRACE_EVENT_STOP
    registers = syscall.Registers()
    assert (
        syscall.ptrace_fast(syscall.PTRACE_GETREGS, waiter.pid, None, ctypes.c_void_p(ctypes.addressof(registers))) == 0
    )
    assert registers.r13 == 0x765
    syscall.detach(waiter.pid)


def test_the_room_imports_nothing_but_the_standard_library() -> None:
    program = (
        "import importlib, pkgutil, sys; import suture.process\nbefore = set(sys.modules)\n"
        "for m in pkgutil.walk_packages(suture.process.__path__, 'suture.process.'): "
        "importlib.import_module(m.name)\nprint([m for m in set(sys.modules) - before if 'site-packages' in "
        "(getattr(sys.modules[m], '__file__', '') or '')])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
