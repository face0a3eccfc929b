"""The traps of applying: what processes do and are while a patch goes in. Each program judges itself and answers on its
stdout."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from suture.error import SutureError
from suture.patch.file import PatchFile
from suture.process import syscall
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.error import AlreadyTraced, Busy, NoPermission, NoProcess, WrongTarget
from suture.process.memory.placed import State
from suture.process.see.find import find
from suture.process.see.status import status

Start = Callable[..., Any]
Compile = Callable[..., Path]
Make = Callable[..., PatchFile]

HEAD = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
__attribute__((noinline)) int f(int x) { __asm__ volatile(""); return x * 3 + 1; }
__attribute__((noinline)) void g(void) { __asm__ volatile(""); usleep(1); }
static volatile long rounds, wrong, extra;
static void check(void) { int v = f(7); if (v != 22 && v != 1000) wrong++; rounds++; }
static void answer(void) {
  char line[64];
  setvbuf(stdout, 0, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin)) printf("%d %ld %ld\n", f(7), wrong, extra);
}
"""
NEW = "int f(int x) { return 1000; }"
OLD_ANSWER, NEW_ANSWER = "22 0 0", "1000 0 0"


@pytest.fixture
def build(gcc: Compile, make_patch: Make, tmp_path: Path) -> Callable[..., tuple[Path, PatchFile]]:
    def build(body: str, new: str = NEW, groups: dict[str, list[str]] | None = None) -> tuple[Path, PatchFile]:
        program = gcc(tmp_path / "target", HEAD + body, "-pthread", "-w")
        return program, make_patch(tmp_path, program, new, groups or {"f": ["f"]})

    return build


def rounds(target: Any, patch: PatchFile, count: int, old: str = OLD_ANSWER, new: str = NEW_ANSWER) -> None:
    for _ in range(count):
        apply(target.pid, patch)
        assert target.ask() == new
        revert(target.pid, patch.id)
        assert target.ask() == old


def test_threads_that_are_born_and_end_all_the_time(start: Start, build: Any) -> None:
    program, patch = build(r"""
    static void *brief(void *a) { check(); return 0; }
    static void *storm(void *a) { for (;;) { pthread_t t[8];
      for (int i = 0; i < 8; i++) if (pthread_create(t + i, 0, brief, 0)) wrong++;
      for (int i = 0; i < 8; i++) pthread_join(t[i], 0); } }
    int main(void) { pthread_t t; for (int i = 0; i < 3; i++) pthread_create(&t, 0, storm, 0);
      answer(); }""")
    target = start(program)
    rounds(target, patch, 40)


def test_children_of_vfork_share_the_memory_and_are_stopped_too(start: Start, build: Any) -> None:
    program, patch = build(r"""
    static void *spawner(void *a) { char *v[] = {"/bin/true", 0}; for (;;) { pid_t p = vfork();
      if (!p) { for (int i = 0; i < 2000; i++) check(); execv(v[0], v); _exit(1); } int s; waitpid(p, &s, 0);
        if (s) wrong++; } }
    int main(void) { pthread_t t; pthread_create(&t, 0, spawner, 0); answer(); }""")
    target = start(program)
    rounds(target, patch, 25)


def test_a_parent_held_in_vfork_means_busy_and_later_works(start: Start, build: Any) -> None:
    program, patch = build(r"""
    int main(void) { setvbuf(stdout, 0, _IOLBF, 0); puts("up"); if (!vfork()) { sleep(1); _exit(0); } answer(); }""")
    target = start(program)
    assert target.line() == "up"
    child = Path(f"/proc/{target.pid}/task/{target.pid}/children").read_text().strip()
    with pytest.raises(Busy, match=rf"until its child {child} has executed a program or ended \(vfork\)"):
        apply(target.pid, patch, timeout=0.1)
    apply(target.pid, patch, timeout=5)
    assert target.ask() == NEW_ANSWER


def test_a_process_that_shares_the_memory_without_being_a_thread_is_stopped_too(start: Start, build: Any) -> None:
    program, patch = build(r"""
    static int sharer(void *a) { for (;;) { check(); extra = 0; } }
    int main(void) { char *s = malloc(65536); clone(sharer, s + 65536, CLONE_VM | CLONE_FILES | SIGCHLD, 0);
      answer(); }""")
    target = start(program)
    rounds(target, patch, 25)


def test_forked_children_keep_the_state_they_were_born_with(start: Start, build: Any) -> None:
    program, patch = build(r"""
    int main(void) { int up[2], down[2]; pipe(up); pipe(down); setvbuf(stdout, 0, _IOLBF, 0); char line[64];
      while (fgets(line, 64, stdin)) { if (line[0] == 'f') { if (!fork()) { for (;;) pause(); } }
        printf("%d 0 0\n", f(7)); } }""")
    target = start(program)
    apply(target.pid, patch)
    assert target.ask("f") == NEW_ANSWER
    children = [p for p in find(patch.manifest.target.build_id) if p != target.pid]
    assert len(children) == 1
    assert status(children[0]).patches[0].state is State.APPLIED
    revert(target.pid, patch.id)
    assert status(children[0]).patches[0].state is State.APPLIED
    revert(children[0], patch.id)
    assert status(children[0]).patches[0].state is State.REVERTED


def test_forks_while_a_patch_goes_in_and_out(start: Start, build: Any) -> None:
    program, patch = build(r"""
    static void *forker(void *a) { for (;;) { pid_t p = fork(); if (!p) { int v = f(7), w = f(7);
      _exit(v != w || (v != 22 && v != 1000)); }
      int s; waitpid(p, &s, 0); if (s) wrong++; } }
    int main(void) { pthread_t t; pthread_create(&t, 0, forker, 0); answer(); }""")
    target = start(program)
    rounds(target, patch, 25)


def test_no_signal_is_lost_and_none_comes_twice(start: Start, build: Any) -> None:
    program, patch = build(r"""
    static volatile long got, sum;
    static void handler(int s, siginfo_t *i, void *c) { __atomic_add_fetch(&got, 1, 0);
      __atomic_add_fetch(&sum, i->si_value.sival_int, 0); }
    static void *worker(void *a) { for (;;) { check(); if (rounds % 16 == 0) usleep(10); } }
    int main(void) { struct sigaction s = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
      sigaction(SIGRTMIN + 1, &s, 0);
      pthread_t t; for (int i = 0; i < 3; i++) pthread_create(&t, 0, worker, 0);
      char line[64]; setvbuf(stdout, 0, _IOLBF, 0); puts("up");
      while (fgets(line, 64, stdin)) printf("%ld %ld %ld\n", got, sum, wrong); }""")
    target = start(program)
    assert target.line() == "up"
    sent = 0
    total = 0
    ended = threading.Event()
    sender = subprocess.Popen(
        ["python3", "-c", f"""
import ctypes, os, sys, time, threading
libc = ctypes.CDLL(None, use_errno=True)
class V(ctypes.Union): _fields_ = [('i', ctypes.c_int), ('p', ctypes.c_void_p)]
libc.sigqueue.argtypes = [ctypes.c_int, ctypes.c_int, V]
n = total = 0
end = time.monotonic() + 2
while time.monotonic() < end:
    if libc.sigqueue({target.pid}, 35, V(n % 1000)) == 0:
        total += n % 1000; n += 1
        if n % 8 == 0: time.sleep(0.0002)
    else: time.sleep(0.001)
print(n, total)
"""], stdout=subprocess.PIPE, text=True)  # fmt: skip
    count = 0
    while sender.poll() is None:
        apply(target.pid, patch)
        revert(target.pid, patch.id)
        count += 1
    out, _ = sender.communicate()
    sent, total = (int(w) for w in out.split())
    assert sent > 1000 and count > 20
    deadline = time.monotonic() + 3
    while target.ask() != f"{sent} {total} 0":
        assert time.monotonic() < deadline, (target.ask(), sent, total)
    ended.set()


def test_a_stopped_process_is_patched_and_stays_stopped(start: Start, build: Any, eventually: Any) -> None:
    program, patch = build(
        "static void *w(void *a) { for (;;) rounds++; } int main(void) { pthread_t t; pthread_create(&t, 0, w, 0); "
        "answer(); }"
    )
    target = start(program)
    assert target.ask() == OLD_ANSWER
    os.kill(target.pid, signal.SIGSTOP)
    eventually(lambda: state_of(target.pid) == "T")
    apply(target.pid, patch)
    eventually(lambda: state_of(target.pid) == "T")
    time.sleep(0.1)
    assert state_of(target.pid) == "T"
    os.kill(target.pid, signal.SIGCONT)
    assert target.ask() == NEW_ANSWER


@pytest.fixture
def freezer() -> Iterator[Path]:
    """An empty control group of the second kind (Documentation/admin-guide/cgroup-v2.rst)."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    group = Path(next(m[1] for m in mounts if m[2] == "cgroup2")) / f"suture-{os.getpid()}"
    group.mkdir()
    yield group
    (group / "cgroup.freeze").write_text("0")
    for pid in (group / "cgroup.procs").read_text().split():
        (group.parent / "cgroup.procs").write_text(pid)
    group.rmdir()


def test_a_frozen_process_is_busy_stays_frozen_and_is_patched_once_it_thaws(
    start: Start, build: Any, freezer: Path, eventually: Any
) -> None:
    program, patch = build(
        "static void *w(void *a) { for (;;) rounds++; } int main(void) { pthread_t t; pthread_create(&t, 0, w, 0); "
        "answer(); }"
    )
    target = start(program)
    assert target.ask() == OLD_ANSWER
    (freezer / "cgroup.procs").write_text(str(target.pid))
    (freezer / "cgroup.freeze").write_text("1")
    eventually(lambda: "frozen 1" in (freezer / "cgroup.events").read_text())
    with pytest.raises(Busy):
        apply(target.pid, patch, timeout=0.2)
    spent = processor_time(target.pid)
    time.sleep(0.2)
    assert processor_time(target.pid) == spent
    (freezer / "cgroup.freeze").write_text("0")
    assert target.ask() == OLD_ANSWER
    apply(target.pid, patch)
    assert target.ask() == NEW_ANSWER
    assert not still_traced(target.pid)


def processor_time(pid: int) -> int:
    """In user mode, clock ticks (proc_pid_stat(5))."""
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11])


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


@contextlib.contextmanager
def tracer_of(pid: int) -> Iterator[int]:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        syscall.seize(pid)
        os.write(write, b"x")
        signal.pause()
    os.read(read, 1)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


def test_a_traced_process_is_refused_by_the_tracers_name(start: Start, program: Path, patch: PatchFile) -> None:
    target = start(program)
    assert target.ask("2") == "7 107 9"
    with tracer_of(target.pid) as tracer, pytest.raises(AlreadyTraced) as caught:
        apply(target.pid, patch)
    assert str(tracer) in caught.value.what
    assert "memfd" not in Path(f"/proc/{target.pid}/maps").read_text()
    assert target.ask("2") == "7 107 9"
    apply(target.pid, patch)


def test_seccomp_in_kill_mode(start: Start, build: Any) -> None:
    program, patch = build(r"""
    int main(void) { setvbuf(stdout, 0, _IOLBF, 0); puts("up");
      int ok[] = {SYS_read, SYS_write, SYS_rt_sigreturn, SYS_exit_group, SYS_newfstatat, SYS_brk};
        struct sock_filter p[32]; int n = 0;
      p[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
      for (int i = 0; i < 6; i++) { p[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ok[i], 0, 1);
        p[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW); }
      p[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
      struct sock_fprog g = {n, p}; prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &g)) return 1;
      char c; static char out[64]; while (read(0, &c, 1) == 1) { int k = snprintf(out, 64, "%d 0 0\n", f(7));
        write(1, out, k); } }""")
    target = start(program)
    assert target.line() == "up"
    assert target.ask() == OLD_ANSWER
    rounds(target, patch, 3)
    assert "Seccomp:\t2" in Path(f"/proc/{target.pid}/status").read_text()


@pytest.mark.parametrize(
    "at",
    [
        "borrow: at rest",
        "memfd_create: done",
        "contents written",
        "mmap: done",
        "close: done",
        "borrow: signals blocked",
    ],
)
def test_seccomp_in_kill_mode_with_a_killed_applier(start: Start, build: Any, at: str) -> None:
    program, patch = build(r"""
    int main(void) { setvbuf(stdout, 0, _IOLBF, 0); puts("up");
      if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &(struct sock_fprog){8, (struct sock_filter[]){
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 4, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)}})) return 1;
      char c; static char out[64]; while (read(0, &c, 1) == 1) { int k = snprintf(out, 64, "%d 0 0\n", f(7));
        write(1, out, k); } }""")
    target = start(program)
    assert target.line() == "up"
    child = os.fork()
    if child == 0:
        apply(target.pid, patch, on_step=lambda s: os.kill(os.getpid(), 9) if s == at else None)
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    assert target.ask() == OLD_ANSWER
    apply(target.pid, patch)
    assert target.ask() == NEW_ANSWER


def test_memory_deny_write_execute(start: Start, build: Any) -> None:
    program, patch = build(r"""
    int main(void) { if (prctl(65, 1, 0, 0, 0)) return 3;
      if (mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) return 4; answer(); }""")
    target = start(program)
    rounds(target, patch, 3)


def test_no_page_is_ever_writable_and_executable(start: Start, program: Path, patch: PatchFile) -> None:
    target = start(program)
    assert target.ask("2") == "7 107 9"
    seen = []

    def look(_: str) -> None:
        seen.append(
            any(line.split()[1].startswith("rwx") for line in Path(f"/proc/{target.pid}/maps").read_text().splitlines())
        )

    apply(target.pid, patch, on_step=look)
    assert len(seen) > 15 and not any(seen)


def test_a_process_in_other_namespaces_and_another_root(
    start: Start, gcc: Compile, make_patch: Make, tmp_path: Path
) -> None:
    program = gcc(tmp_path / "target", HEAD + "int main(void) { answer(); }", "-static", "-pthread", "-w")
    patch = make_patch(tmp_path, program, NEW, {"f": ["f"]})
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(program, root / "target")
    outer = start(
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--user",
        "--map-root-user",
        "--net",
        "--ipc",
        "chroot",
        root,
        "/target",
    )
    deadline = time.monotonic() + 5
    while not (inner := find(patch.manifest.target.build_id)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert outer.ask() == OLD_ANSWER
    assert len(inner) == 1
    apply(inner[0], patch)
    assert outer.ask() == NEW_ANSWER
    revert(inner[0], patch.id)
    assert outer.ask() == OLD_ANSWER


def test_the_file_may_be_deleted_or_replaced(
    start: Start, gcc: Compile, library: Path, patch: PatchFile, tmp_path: Path
) -> None:
    copy = tmp_path / "libanswer.so"
    shutil.copy(library, copy)
    source = (
        "#include <stdio.h>\n#include <stdlib.h>\nint answer(int), second(int), third(int); int main(void) { char "
        "l[64]; setvbuf(stdout, 0, _IOLBF, 0);"
        + ('while (fgets(l, 64, stdin)) { int x = atoi(l); printf("%d %d %d\\n", answer(x), second(x), third(x)); } }')
    )
    target = start(gcc(tmp_path / "asks", source, str(copy)))
    assert target.ask("2") == "7 107 9"
    copy.unlink()
    copy.write_bytes(b"something else")
    apply(target.pid, patch)
    assert target.ask("2") == "10 110 9"


def test_dlclose_and_dlopen_move_the_target(
    start: Start, gcc: Compile, library: Path, patch: PatchFile, tmp_path: Path
) -> None:
    program = gcc(tmp_path / "loads", HEAD.replace("int f(int", "int unused(int").replace("f(7)", "0") + r"""
    int main(int c, char **v) { char line[64]; setvbuf(stdout, 0, _IOLBF, 0); void *h = dlopen(v[1], RTLD_NOW);
      while (fgets(line, 64, stdin)) { if (line[0] == 'm') { dlclose(h);
        mmap(0, 1 << 20, 1, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
          mmap((void *)((long)main & ~0xfffL) - (1 << 24), 4096, 1, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            h = dlopen(v[1], RTLD_NOW); }
        if (line[0] == 'c') { dlclose(h); puts("closed"); continue; } int (*a)(int) = dlsym(h, "answer");
          printf("%d\n", a(2)); } }""", "-w")  # fmt: skip
    target = start(program, library)
    assert target.ask() == "7"
    apply(target.pid, patch)
    assert target.ask() == "10"
    assert target.ask("m") == "7"
    states = [p.state for p in status(target.pid).patches]
    assert State.APPLIED not in states
    apply(target.pid, patch)
    assert target.ask() == "10"
    assert target.ask("c") == "closed"
    assert {p.state for p in status(target.pid).patches} == {State.UNMAPPED}
    with pytest.raises(WrongTarget):
        apply(target.pid, patch)


def test_execve_during_the_work_leaves_the_new_program_alone(start: Start, build: Any) -> None:
    program, patch = build(r"""
    static void *other(void *a) { usleep(20000); char *v[] = {a, 0}; execv(a, v); return 0; }
    int main(int c, char **v) { pthread_t t; for (int i = 0; i < 4; i++) pthread_create(&t, 0, other, v[0]);
      for (;;) { check(); if (wrong) return 1; } }""")
    target = start(program)
    begin = time.monotonic()
    done = 0
    # two seconds of it; on a busy machine until one apply has come between two lives of the program
    while (passed := time.monotonic() - begin) < 2 or (not done and passed < 60):
        try:
            apply(target.pid, patch, timeout=0.2)
            done += 1
        except SutureError:  # gone, busy, or not loaded yet; nothing else may come out
            pass
        assert target.alive()
        assert not still_traced(target.pid)
    assert done > 0


def still_traced(pid: int) -> list[int]:
    """Threads that we have not let go of: their process would hang in its next execve."""
    found = []
    for status_file in Path(f"/proc/{pid}/task").glob("*/status"):
        with contextlib.suppress(OSError):
            if f"TracerPid:\t{os.getpid()}" in status_file.read_text():
                found.append(int(status_file.parent.name))
    return found


def test_the_main_thread_may_have_ended(start: Start, build: Any, eventually: Any) -> None:
    program, patch = build(r"""
    static void *w(void *a) { answer(); exit(0); } int main(void) { pthread_t t; pthread_create(&t, 0, w, 0);
      pthread_exit(0); }""")
    target = start(program)
    eventually(lambda: state_of(target.pid) == "Z")
    rounds(target, patch, 3)
    assert status(target.pid).patches[0].state is State.REVERTED


def test_dead_and_kernel_processes_are_told_plainly(start: Start, program: Path, patch: PatchFile) -> None:
    with pytest.raises(NoProcess):
        apply(2**22 - 3, patch)
    child = os.fork()
    if child == 0:
        os._exit(0)
    time.sleep(0.05)
    with pytest.raises(NoProcess):
        apply(child, patch)
    os.waitpid(child, 0)
    with pytest.raises(NoProcess):
        apply(2, patch)


def test_without_permission_nothing_is_touched(start: Start, program: Path, patch: PatchFile) -> None:
    target = start(program)
    assert target.ask("2") == "7 107 9"
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            apply(target.pid, patch)
        except NoPermission:
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert "memfd" not in Path(f"/proc/{target.pid}/maps").read_text()


def test_another_build_is_refused(start: Start, gcc: Compile, program: Path, patch: PatchFile, tmp_path: Path) -> None:
    other = gcc(
        tmp_path / "libanswer.so",
        "int counter; int answer(int x) { return 5; } int second(int x) { return 6; } int third(int x) { return 7; }",
        "-fPIC",
        "-shared",
    )
    target = start(program, env={"LD_PRELOAD": str(other)})
    with pytest.raises(WrongTarget) as caught:
        target.ask("2")
        apply(os.getpid(), patch)
    assert patch.manifest.target.build_id in caught.value.what


def test_changed_code_is_refused_though_the_build_id_fits(start: Start, program: Path, patch: PatchFile) -> None:
    target = start(program)
    assert target.ask("2") == "7 107 9"
    maps = [line for line in Path(f"/proc/{target.pid}/maps").read_text().splitlines() if "libanswer" in line]
    bias = int(maps[0].split("-")[0], 16)
    with open(f"/proc/{target.pid}/mem", "r+b", buffering=0) as mem:
        mem.seek(bias + patch.manifest.functions[0].address + patch.manifest.functions[0].size - 1)
        mem.write(b"\x90")
    with pytest.raises(WrongTarget):
        apply(target.pid, patch)
    assert "memfd" not in Path(f"/proc/{target.pid}/maps").read_text()


def busy_until_it_has_left(target: Any, patch: PatchFile) -> None:
    """The target is inside `h`; an l on its input makes it leave."""
    with pytest.raises(Busy) as caught:
        apply(target.pid, patch, timeout=0.2)
    assert "h" in caught.value.what
    target.process.stdin.write(b"l")
    target.process.stdin.flush()
    assert target.line() == "out"
    apply(target.pid, patch, timeout=1)


def test_a_coroutine_on_its_own_stack_counts_as_inside(start: Start, build: Any) -> None:
    program, patch = build(r"""
    static ucontext_t home, away; static char stack[1 << 16];
    __attribute__((noinline)) int slow(void) { char c; for (;;) { if (read(0, &c, 1) != 1) exit(0);
      if (c == 'l') return 1; printf("in\n"); } }
    __attribute__((noinline)) int h(void) { int v = slow(); __asm__ volatile("" : "+r"(v)); return v + 1; }
    __attribute__((noinline)) static void scrub(void) { char deep[4096]; memset(deep, 0, sizeof deep);
      __asm__ volatile("" :: "r"(deep) : "memory"); }
    static void run(void) { h(); scrub(); swapcontext(&away, &home); }
    int main(void) { setvbuf(stdout, 0, _IONBF, 0); setvbuf(stdin, 0, _IONBF, 0); getcontext(&away);
      away.uc_stack.ss_sp = stack; away.uc_stack.ss_size = sizeof stack; makecontext(&away, run, 0);
      swapcontext(&home, &away); puts("out"); char c;
        while (read(0, &c, 1) == 1) { if (c == '\n') printf("%d\n", h == 0); } }""",
        "int h(void) { return 5; }", {"h": ["h"]})  # fmt: skip
    target = start(program)
    target.process.stdin.write(b"x")
    target.process.stdin.flush()
    assert target.line() == "in"
    busy_until_it_has_left(target, patch)


def test_a_handler_on_the_alternate_stack_does_not_hide_who_is_inside(start: Start, build: Any) -> None:
    program, patch = build(r"""
    static char alt[1 << 16]; static volatile int leave;
    static void handler(int s) { puts("handler"); while (!leave) { struct timespec t = {0, 1000000}; nanosleep(&t, 0);
      char c; if (fcntl(0, F_GETFL) >= 0 && read(0, &c, 1) == 1 && c == 'l') leave = 1; } }
    __attribute__((noinline)) int h(void) { kill(getpid(), SIGUSR1); __asm__ volatile(""); return leave; }
    int main(void) { setvbuf(stdout, 0, _IOLBF, 0); stack_t s = {alt, 0, sizeof alt}; sigaltstack(&s, 0);
      struct sigaction a = {.sa_handler = handler, .sa_flags = SA_ONSTACK}; sigaction(SIGUSR1, &a, 0);
      h(); puts("out"); pause(); }""", "int h(void) { return 5; }", {"h": ["h"]})  # fmt: skip
    target = start(program)
    assert target.line() == "handler"
    busy_until_it_has_left(target, patch)


@pytest.mark.parametrize(
    "place", ["static char alt[1 << 16];", "char alt[1 << 16];"], ids=["elsewhere", "on the same stack"]
)
@pytest.mark.parametrize("thread", [False, True], ids=["main", "thread"])
def test_a_handler_does_not_hide_a_function_that_it_interrupted_further_down(
    start: Start, build: Any, place: str, thread: bool
) -> None:
    """The alternate stack lies above the interrupted frames when it is an array of an outer function's."""
    program, patch = build(r"""
    static volatile int leave;
    static void handler(int s) { puts("handler"); char c;
      while (!leave) if (read(0, &c, 1) == 1 && c == 'l') leave = 1; }
    __attribute__((noinline)) int h(void) { raise(SIGUSR1); __asm__ volatile(""); return leave; }
    static void *body(void *unused) { PLACE stack_t s = {alt, 0, sizeof alt}; sigaltstack(&s, 0);
      struct sigaction a = {.sa_handler = handler, .sa_flags = SA_ONSTACK}; sigaction(SIGUSR1, &a, 0);
      __asm__ volatile("" :: "r"(alt) : "memory"); h(); puts("out"); for (;;) pause(); return unused; }
    int main(void) { setvbuf(stdout, 0, _IOLBF, 0); pthread_t t; if (THREAD) { pthread_create(&t, 0, body, 0);
      for (;;) pause(); } body(0); }
    """.replace("PLACE", place).replace("THREAD", str(int(thread))),
        "int h(void) { return 5; }", {"h": ["h"]})  # fmt: skip
    target = start(program)
    assert target.line() == "handler"
    busy_until_it_has_left(target, patch)


def test_applying_uses_no_descriptor_and_two_mappings_of_the_target(
    start: Start, program: Path, patch: PatchFile
) -> None:
    target = start(program)
    assert target.ask("2") == "7 107 9"
    fds = os.listdir(f"/proc/{target.pid}/fd")
    lines = len(Path(f"/proc/{target.pid}/maps").read_text().splitlines())
    for _ in range(20):
        apply(target.pid, patch)
        revert(target.pid, patch.id)
    assert os.listdir(f"/proc/{target.pid}/fd") == fds
    # beside the two, the page with the entry keeps its protection, so nothing is split
    assert len(Path(f"/proc/{target.pid}/maps").read_text().splitlines()) == lines + 2
    assert ctypes.sizeof(ctypes.c_void_p) == 8
