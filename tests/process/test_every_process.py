"""One patch in all processes at once: those that can be patched are, the others are told with the reason, and none is
harmed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from suture.error import ExitCode, Unsupported
from suture.patch.file import PatchFile
from suture.process import everywhere
from suture.process.change.apply import apply
from suture.process.change.result import Result
from suture.process.change.revert import revert
from suture.process.error import Busy
from suture.process.everywhere import Failure, Outcome, apply_everywhere, in_each
from suture.process.memory.placed import State
from suture.process.see.find import find
from suture.process.see.population import Population
from suture.process.see.status import status
from suture.process.tracee import Tracee
from suture.process.urgency import hurry

Start = Callable[..., Any]
Compile = Callable[..., Path]
Make = Callable[..., PatchFile]
HEAD = r"""
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
__attribute__((noinline)) int f(int x) { __asm__ volatile(""); return x * 3 + 1; }
static void answer(void) {
  char line[64];
  setvbuf(stdout, 0, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin)) printf("%d %d\n", f(7), geteuid());
}
"""
NEW = "int f(int x) { return 1000; }"
OLD_ANSWER, NEW_ANSWER = f"22 {os.geteuid()}", f"1000 {os.geteuid()}"


@pytest.fixture
def build(gcc: Compile, make_patch: Make, tmp_path: Path) -> Callable[..., tuple[Path, PatchFile]]:
    def build(body: str) -> tuple[Path, PatchFile]:
        program = gcc(tmp_path / "target", HEAD + body, "-static", "-w")
        return program, make_patch(tmp_path, program, NEW, {"f": ["f"]})

    return build


@pytest.fixture
def traced() -> Iterator[Callable[[int], None]]:
    """A debugger for a process, until the test ends."""
    debuggers: list[subprocess.Popen[str]] = []

    def attach(pid: int) -> None:
        argv = [
            "gdb",
            "--nx",
            "--quiet",
            "--batch",
            f"--pid={pid}",
            "--eval-command=echo here\\n",
            "--eval-command=shell cat",
        ]
        gdb = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        debuggers.append(gdb)
        assert gdb.stdout is not None
        assert any("here" in line for line in gdb.stdout)

    yield attach
    for gdb in debuggers:
        gdb.communicate()


def by_pid(outcomes: tuple[Outcome, ...]) -> dict[int, Outcome]:
    return {o.pid: o for o in outcomes}


def test_one_run_covers_all_and_tells_who_was_left_out(start: Start, build: Any, traced: Any, eventually: Any) -> None:
    program, patch = build(r"""
    int main(int c, char **v) {
      if (c > 1 && !strcmp(v[1], "zombie")) { if (!fork()) _exit(0); }
      if (c > 1 && !strcmp(v[1], "vfork")) { if (!vfork()) { for (;;) pause(); } }
      answer(); }""")
    plain = [start(program) for _ in range(6)]
    zombie, debugged, uninterruptible = start(program, "zombie"), start(program), start(program, "vfork")
    assert all(t.ask() == OLD_ANSWER for t in [*plain, zombie, debugged])
    eventually(lambda: ") D " in Path(f"/proc/{uninterruptible.pid}/stat").read_text())
    traced(debugged.pid)
    run = apply_everywhere(patch, timeout=0.5, jobs=2)
    found = by_pid(run.outcomes)
    for target in [*plain, zombie]:
        assert isinstance(found[target.pid], Result)
        assert target.ask() == NEW_ANSWER
    told = found[debugged.pid]
    assert isinstance(told, Failure) and told.exit_code is ExitCode.REFUSED and "traced by" in told.error
    waiting = found[uninterruptible.pid]
    assert (
        isinstance(waiting, Failure) and waiting.exit_code is ExitCode.BUSY and "cannot be interrupted" in waiting.error
    )
    assert "suture:" not in Path(f"/proc/{debugged.pid}/maps").read_text()
    assert all(p.state is not State.APPLIED for p in status(uninterruptible.pid).patches)


def test_processes_that_start_meanwhile_are_found_by_looking_again(start: Start, build: Any) -> None:
    program, patch = build("int main(void) { answer(); }")
    first = [start(program) for _ in range(3)]
    late: list[Any] = []

    def told(done: int, of: int) -> None:
        if not late:
            late.append(start(program))

    run = apply_everywhere(patch, report=told)
    assert run.passes == 2
    assert [t.ask() for t in (*first, *late)] == [NEW_ANSWER] * 4
    assert {o.pid for o in run.outcomes} == {t.pid for t in (*first, *late)}


@pytest.mark.parametrize("itself", [True, False], ids=["itself", "another"])
def test_a_process_that_executes_a_program_during_the_work_is_not_taken_for_ended(
    start: Start, build: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, itself: bool
) -> None:
    """What it executes may have loaded the binary too: it is looked at again."""
    program, patch = build(r"""
    static char **own;
    static void go(int s) { if (own[1]) execv("/bin/sleep", (char *[]){"sleep", "60", 0}); execv(own[0], own); }
    int main(int c, char **v) { own = v; sigset_t all; sigfillset(&all); sigprocmask(SIG_UNBLOCK, &all, 0);
      signal(SIGUSR1, go); setvbuf(stdout, 0, _IOLBF, 0); puts("up"); answer(); }""")
    target = start(program, *([] if itself else ["away"]))
    assert target.line() == "up"
    mark = tmp_path / "executed"

    def executes_first(pid: int, *args: Any, **more: Any) -> Result:
        if pid == target.pid and not mark.exists():
            mark.touch()
            with Tracee(pid) as tracee:
                assert tracee.memory >= 0
                os.kill(pid, signal.SIGUSR1)
                time.sleep(0.5)
                tracee.check_same()
        return apply(pid, *args, **more)

    monkeypatch.setattr(everywhere, "apply", executes_first)
    run = apply_everywhere(patch, timeout=5, jobs=1)
    assert mark.exists() and run.ended == ()
    if itself:
        assert [type(o) for o in run.outcomes] == [Result] and run.executed == ()
        assert target.line() == "up" and target.ask() == NEW_ANSWER
    else:
        assert run.outcomes == () and run.executed == (target.pid,)


def test_children_of_patched_parents_are_told_as_patched_already(start: Start, build: Any) -> None:
    program, patch = build(r"""
    int main(void) { setvbuf(stdout, 0, _IOLBF, 0); char l[64]; while (fgets(l, 64, stdin)) {
        if (!fork()) for (;;) pause(); printf("%d\n", f(7)); } }""")
    target = start(program)
    apply(target.pid, patch)
    assert target.ask() == "1000"
    run = apply_everywhere(patch)
    assert len(run.outcomes) == 2
    assert all(isinstance(o, Result) and not o.changed and o.exit_code is ExitCode.OK for o in run.outcomes)


def test_a_worker_that_is_killed_costs_the_process_that_it_was_at_and_no_other(start: Start, build: Any) -> None:
    program, patch = build("int main(void) { answer(); }")
    targets = [start(program) for _ in range(8)]

    def change(pid: int, seconds: float, population: Population) -> Result:
        if pid == targets[1].pid:
            os.kill(os.getpid(), signal.SIGKILL)
        return apply(pid, patch, timeout=seconds, population=population)

    outcomes = in_each([t.pid for t in targets], change, timeout=1, jobs=2)
    assert [o.pid for o in outcomes] == [t.pid for t in targets]
    assert [isinstance(o, Failure) for o in outcomes] == [n == 1 for n in range(8)]
    assert [t.ask() for t in targets] == [OLD_ANSWER if n == 1 else NEW_ANSWER for n in range(8)]


def test_a_defect_in_one_process_is_told_and_the_others_go_on(start: Start, build: Any) -> None:
    program, patch = build("int main(void) { answer(); }")
    targets = [start(program) for _ in range(3)]

    def change(pid: int, seconds: float, population: Population) -> Result:
        if pid == targets[0].pid:
            raise ZeroDivisionError("here")
        return apply(pid, patch, timeout=seconds, population=population)

    outcomes = in_each([t.pid for t in targets], change, timeout=1, jobs=1)
    assert [o.exit_code for o in outcomes] == [ExitCode.FAILED, ExitCode.OK, ExitCode.OK]


def test_a_busy_process_holds_up_no_other(start: Start, gcc: Compile, make_patch: Make, tmp_path: Path) -> None:
    program = gcc(tmp_path / "target", HEAD + r"""
    __attribute__((noinline)) int h(int x) { if (x) sleep(100); __asm__ volatile(""); return x; }
    int main(int c, char **v) { setvbuf(stdout, 0, _IOLBF, 0); puts("up"); h(c > 1); answer();
        }""", "-static", "-w")  # fmt: skip
    patch = make_patch(tmp_path, program, "int h(int x) { return 5; }", {"h": ["h"]})
    busy = [start(program, "busy") for _ in range(4)]
    free = [start(program) for _ in range(4)]
    assert all(t.line() == "up" for t in (*busy, *free))
    begin = time.monotonic()
    run = apply_everywhere(patch, timeout=1.5, jobs=1)
    found = by_pid(run.outcomes)
    assert all(isinstance(found[t.pid], Result) for t in free)
    assert all(found[t.pid].exit_code is ExitCode.BUSY for t in busy)
    # one after the other they would have been waited for 6 seconds
    assert time.monotonic() - begin < 5


@contextlib.contextmanager
def loops(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Busy loops, each in a session of its own, so that each has a whole share of the processors (sched(7),
    autogroup)."""
    started = [subprocess.Popen(["sh", "-c", "while :; do :; done"], start_new_session=True) for _ in range(count)]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def test_a_loaded_machine_makes_neither_the_work_nor_the_pause_long(start: Start, build: Any) -> None:
    program, patch = build('int main(void) { setvbuf(stdout, 0, _IOLBF, 0); puts("up"); answer(); }')
    processes = [start(program) for _ in range(40)]
    assert all(p.line() == "up" for p in processes)
    with loops(20):
        time.sleep(0.5)
        run = apply_everywhere(patch)
    assert [o.pid for o in run.outcomes if isinstance(o, Result)] == [p.pid for p in processes]
    assert run.seconds < 5, "without hurry it takes 11 seconds"
    pauses = sorted(us for o in run.outcomes if isinstance(o, Result) for us in o.pauses_us)
    assert pauses[len(pauses) * 9 // 10] < 5000


def test_many_that_are_worked_on_take_no_more_than_half_of_a_loaded_machine(start: Start, build: Any) -> None:
    program, _ = build("int main(void) { answer(); }")
    pids = [start(program).pid for _ in range(20)]

    def change(pid: int, seconds: float, population: Population) -> Result:
        with hurry():
            until = time.thread_time() + 0.05
            while time.thread_time() < until:
                pass
        raise Busy(f"pid {pid}: busy", "-")

    jobs = len(os.sched_getaffinity(0))
    with loops(3 * jobs):
        time.sleep(0.5)
        begin = time.monotonic()
        in_each(pids, change, timeout=everywhere._FIRST_SECONDS)
        seconds = time.monotonic() - begin
    share = len(pids) * 0.05 / (seconds * jobs)
    assert share < 0.6
    assert seconds < 10, "and no less than a loaded machine would leave them"


def test_a_setuid_program_keeps_who_it_is(start: Start, build: Any, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes a program of another user setuid")
    program, patch = build("int main(void) { answer(); }")
    open_place = Path("/var/tmp") / f"suture-setuid-{os.getpid()}"
    shutil.copy(program, open_place)
    try:
        os.chown(open_place, 65534, 65534)
        open_place.chmod(0o4755)
        target = start("setpriv", "--reuid=1", "--regid=1", "--clear-groups", open_place)
        assert target.ask() == "22 65534"
        (outcome,) = apply_everywhere(patch).outcomes
        assert outcome.pid == target.pid and isinstance(outcome, Result)
        assert target.ask() == "1000 65534"
        revert(target.pid, patch.id)
        assert target.ask() == "22 65534"
    finally:
        open_place.unlink()


def test_init_of_a_pid_namespace_survives(start: Start, build: Any, eventually: Any) -> None:
    program, patch = build("int main(void) { answer(); }")
    target = start("unshare", "--pid", "--fork", "--mount-proc", "--user", "--map-root-user", program)
    assert target.ask().startswith("22 ")
    (inside,) = find(patch.manifest.target.build_id)
    assert Path(f"/proc/{inside}/status").read_text().split("NSpid:")[1].split("\n")[0].split()[-1] == "1"
    for _ in range(5):
        (outcome,) = apply_everywhere(patch).outcomes
        assert isinstance(outcome, Result)
        assert target.ask().startswith("1000 ")
        revert(inside, patch.id)
        assert target.ask().startswith("22 ")
    assert target.alive()


def test_all_hardening_at_once(start: Start, build: Any) -> None:
    program, patch = build(r"""
    int main(void) { setvbuf(stdout, 0, _IOLBF, 0); puts("up"); prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
      if (prctl(65 /* PR_SET_MDWE */, 1, 0, 0, 0)) return 3;
      if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &(struct sock_fprog){8, (struct sock_filter[]){
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 4, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn,
            2, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}})) return 1;
      char c; static char out[64]; while (read(0, &c, 1) == 1) { int k = snprintf(out, 64, "%d\n", f(7));
          write(1, out, k); } }""")
    target = start(program)
    assert target.line() == "up" and target.ask() == "22"
    (outcome,) = apply_everywhere(patch).outcomes
    assert isinstance(outcome, Result), outcome
    assert target.ask() == "1000"


def is_executing(pid: int, name: str) -> bool:
    return name in os.readlink(f"/proc/{pid}/exe") and any(Path(f"/proc/{pid}/auxv").read_bytes())


def test_a_32_bit_process_is_refused_with_the_reason(start: Start, build: Any, tmp_path: Path, eventually: Any) -> None:
    _, patch = build("int main(void) { answer(); }")
    source = tmp_path / "pause.s"
    # pause(2) by int 0x80, again and again
    source.write_text(".globl _start\n_start: mov $29, %eax\n int $0x80\n jmp _start\n")
    subprocess.run(["as", "--32", "-o", tmp_path / "pause.o", source], check=True)
    subprocess.run(["ld", "-m", "elf_i386", "-o", tmp_path / "pause", tmp_path / "pause.o"], check=True)
    process = subprocess.Popen([tmp_path / "pause"])
    try:
        # the vector is written when all else of an execve is done
        eventually(lambda: process.poll() is not None or is_executing(process.pid, "pause"))
        if process.poll() is not None:
            pytest.skip("this kernel runs no 32-bit programs")
        with pytest.raises(Unsupported) as caught:
            apply(process.pid, patch)
        assert "32-bit process" in caught.value.what
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_who_shares_memory_is_known_before_and_after_a_birth(start: Start, build: Any) -> None:
    program, _ = build(r"""
    static int sharer(void *a) { for (;;) pause(); }
    int main(void) { char l[64]; setvbuf(stdout, 0, _IOLBF, 0);
      while (fgets(l, 64, stdin)) { char *s = malloc(65536);
          printf("%d\n", clone(sharer, s + 65536, CLONE_VM | SIGCHLD, 0)); } }""")
    target, alone = start(program), start(program)
    first = int(target.ask())
    population = Population()
    with Tracee(target.pid, population) as tracee, Tracee(alone.pid, population) as other:
        assert tracee.memory_sharers() == [first]
        assert other.memory_sharers() == []
        second = int(target.ask())
        assert sorted(tracee.memory_sharers()) == sorted([first, second])
        time.sleep(1.2)  # a number that is known for longer than a birth takes
        for _ in range(2):
            assert sorted(tracee.memory_sharers()) == sorted([first, second])
            assert other.memory_sharers() == []
        os.kill(first, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(first, 0)
        deadline = time.monotonic() + 5
        while tracee.memory_sharers() != [second]:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_the_time_given_is_for_all_together_and_a_worker_that_never_comes_back_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(everywhere, "GRACE", 0.3)
    sleeping = [subprocess.Popen(["sleep", "1000"]) for _ in range(4)]
    stuck, *busy = [p.pid for p in sleeping]

    def change(pid: int, seconds: float, population: Population) -> Result:
        if pid == stuck:
            time.sleep(1000)
        time.sleep(seconds)
        raise Busy(f"pid {pid}: waited {seconds:.1f} s", "try again")

    began = time.monotonic()
    outcomes = in_each([stuck, *busy], change, timeout=1.0, jobs=1)
    for process in sleeping:
        process.kill()
        process.wait()
    assert time.monotonic() - began < 30
    assert [o.exit_code for o in outcomes] == [ExitCode.FAILED, *[ExitCode.BUSY] * 3]
    assert isinstance(outcomes[0], Failure) and "did not return" in outcomes[0].error
