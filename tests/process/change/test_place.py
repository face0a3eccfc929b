"""Where a patch's memory is made: what stands under a descriptor's number, or what a thread's number means, is not
taken on trust."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suture.error import Refused
from suture.patch.file import PatchFile
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.error import Busy, Hostile, NoProcess
from suture.process.memory.maps import read_maps
from suture.process.memory.placed import find_placed
from suture.process.stop import borrow as borrowing
from suture.process.tracee import Tracee, read_stat
from suture.report.reason import Reason
from tests.process.test_tracee import end, reborn

HEAD = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
__attribute__((noinline)) int f(int x) { __asm__ volatile(""); return x * 3 + 1; }
static volatile sig_atomic_t signals;
static int other;
static void on(int s) { signals++; }
static void answer(void) {
  char line[256];
  setvbuf(stdout, 0, _IOLBF, 0);
  while (fgets(line, sizeof line, stdin)) { ORDERS printf("%d %d\n", f(7), (int)signals); }
}
"""
NEW = "int f(int x) { return 1000; }"


@pytest.fixture
def build(gcc: Any, make_patch: Any, tmp_path: Path) -> Callable[..., tuple[Path, PatchFile]]:
    def build(body: str, orders: str = "") -> tuple[Path, PatchFile]:
        program = gcc(tmp_path / "target", HEAD + body, "-pthread", "-w", f"-DORDERS={orders}")
        return program, make_patch(tmp_path, program, NEW, {"f": ["f"]})

    return build


def test_a_thread_with_a_table_of_its_own_costs_no_file_of_the_others(start: Any, build: Any, tmp_path: Path) -> None:
    program, patch = build(r"""
    static volatile int up;
    static void *own(void *a) { unshare(CLONE_FILES); up = 1; for (;;) pause(); }
    int main(int n, char **v) { pthread_t t; pthread_create(&t, 0, own, 0); while (!up) usleep(100);
      int d = open(v[1], O_RDWR); signal(SIGUSR1, on); sigset_t s; sigemptyset(&s); printf("%d\n", d); fflush(stdout);
      for (volatile long i = 0; ; i++) f(i); }""")
    data = tmp_path / "data"
    data.write_bytes(b"precious" * 2048)
    target = start(program, data)
    assert target.line()
    apply(target.pid, patch)
    assert data.read_bytes() == b"precious" * 2048
    maps = read_maps(target.pid)
    assert [p.record.id for p in find_placed(target.pid, maps)[0]] == [patch.id]
    for task in os.listdir(f"/proc/{target.pid}/task"):
        links = [
            os.readlink(f"/proc/{target.pid}/task/{task}/fd/{fd}")
            for fd in os.listdir(f"/proc/{target.pid}/task/{task}/fd")
        ]
        assert not any("suture" in link for link in links)


SWAP = r"""
    void *quiet(void *);
    int main(int n, char **v) { other = open(v[1], O_PATH); pthread_t t;
      pthread_create(&t, 0, quiet, 0); answer(); }
    void *quiet(void *a) { for (;;) pause(); }"""


@pytest.mark.parametrize("at", ["memfd_create: done", "contents written"])
def test_a_descriptor_that_is_swapped_leads_root_to_no_other_file(
    start: Any, build: Any, tmp_path: Path, at: str
) -> None:
    program, patch = build(SWAP, "if (line[0] == 's') dup2(other, atoi(line + 1));")
    rooted = tmp_path / "rooted"
    rooted.write_bytes(b"root's own" * 2000)
    target = start(program, rooted)
    assert target.ask() == "22 0"
    other = next(t for t in os.listdir(f"/proc/{target.pid}/task") if int(t) != target.pid)

    def swap(step: str) -> None:
        if step == at:
            for fd in os.listdir(f"/proc/{target.pid}/fd"):
                if "suture" in os.readlink(f"/proc/{target.pid}/fd/{fd}"):
                    assert target.ask(f"s {fd}").startswith("22")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(borrowing, "_candidates", lambda *_: [int(other)])
        with pytest.raises((Hostile, Refused)) as caught:
            apply(target.pid, patch, on_step=swap)
    assert "suture" not in Path(f"/proc/{target.pid}/maps").read_text()
    assert rooted.read_bytes() == b"root's own" * 2000
    assert "place of the patch's memory" in str(caught.value) or "cannot be had" in str(caught.value)
    assert target.ask() == "22 0"


@pytest.mark.parametrize("kind", ["same name", "foreign memfd", "fifo"])
def test_what_stands_in_the_place_of_the_memfd_is_looked_at_without_being_opened(
    start: Any, build: Any, tmp_path: Path, kind: str
) -> None:
    make = {
        "same name": "other = -1;",
        "foreign memfd": r'int m = syscall(SYS_memfd_create, "another", 2); other = m;',
        "fifo": r'mkfifo("fifo", 0600); other = open("fifo", O_PATH);',
    }[kind]
    program, patch = build(
        "#include <sys/stat.h>\nvoid *quiet(void *); int main(int n, char **v) { chdir(v[1]); "
        + make
        + r"""
        pthread_t t; pthread_create(&t, 0, quiet, 0); answer(); }
        void *quiet(void *a) { for (;;) pause(); }""",
        """if (line[0] == 's') { if (other < 0) { other = syscall(SYS_memfd_create, getenv("NAME"), 2);
      write(other, "theirs", 6); }
           dup2(other, atoi(line + 1)); }""".replace("\n", ""),
    )
    target = start(program, tmp_path, env={"NAME": f"suture:{patch.id}"})
    assert target.ask() == "22 0"
    other = next(t for t in os.listdir(f"/proc/{target.pid}/task") if int(t) != target.pid)
    known = set(os.listdir(f"/proc/{target.pid}/fd"))

    def swap(step: str) -> None:
        if step == "memfd_create: done":
            for fd in set(os.listdir(f"/proc/{target.pid}/fd")) - known:
                target.ask(f"s {fd}")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(borrowing, "_candidates", lambda *_: [int(other)])
        with pytest.raises(Hostile, match="in the place of"):
            apply(target.pid, patch, on_step=swap)
    assert target.ask() == "22 0"


STACK = 0x200000000000  # far from where kernels put heaps and libraries: this process needs the place too
REUSED = r"""
    #define STACK 0x200000000000
    static int first(void *a) { for (;;) { usleep(100); if (access("go", F_OK) == 0) syscall(SYS_exit, 0); } }
    static int second(void *a) { syscall(SYS_arch_prctl, 0x1002, STACK + (1 << 20) - 4096); for (;;) pause(); }
    int main(int n, char **v) { chdir(v[1]);
      int flags = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_FS | CLONE_FILES;
      char *a = mmap((void *)STACK, 1 << 20, 3,
          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), *b = malloc(1 << 20); f(1);
      int one = clone(first, b + (1 << 20) - 4096, flags, 0), two = clone(second, a + (1 << 20) - 65536, flags, 0);
      printf("%d %d\n", one, two); fflush(stdout); syscall(SYS_exit, 0); }"""


def test_a_thread_number_that_another_program_bears_by_now_leads_to_nothing_of_that_program(
    start: Any, build: Any, tmp_path: Path, eventually: Any
) -> None:
    """The main thread has ended, so that another one stands for the memory. That one ends while we work."""
    program, _ = build(REUSED)
    target = start(program, tmp_path)
    first, second = (int(n) for n in target.line().split())
    eventually(lambda: read_stat(target.pid).state == "Z")
    at = ctypes.CDLL(None).mmap
    at.restype, at.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    own = at(STACK, 1 << 20, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x100000, -1, 0)
    assert own == STACK
    ctypes.memset(own, 0x5A, 1 << 20)
    bystander = 0

    def take_over(step: str) -> None:
        nonlocal bystander
        if step == "borrow: stopped" and not bystander:
            (tmp_path / "go").touch()
            eventually(lambda: not Path(f"/proc/{first}").exists())
            bystander = reborn(first)

    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(borrowing, "_candidates", lambda *_: [second])
            with Tracee(target.pid) as tracee:
                assert tracee.via == first
                with pytest.raises((NoProcess, Busy)), borrowing.borrow(tracee, read_maps(tracee.via), take_over):
                    pass
        assert bystander
        with open(f"/proc/{bystander}/mem", "rb", buffering=0) as memory:
            memory.seek(own)
            assert memory.read(1 << 20) == b"\x5a" * (1 << 20)
    finally:
        ctypes.CDLL(None).munmap(ctypes.c_void_p(own), ctypes.c_size_t(1 << 20))
        if bystander:
            end(bystander)


def test_memory_that_was_opened_before_another_program_was_executed_is_not_that_programs(
    start: Any, build: Any, tmp_path: Path
) -> None:
    program, patch = build(
        'int main(int n, char **v) { if (n > 1) { printf("again\\n"); fflush(stdout); } answer(); }',
        r"""if (line[0] == 'e') { char *v[] = {"/proc/self/exe", "x", 0}; execv(v[0], v); }""",
    )
    target = start(program)
    target.ask()
    executed: list[str] = []

    def execute(step: str) -> None:
        if step == "borrow: given back" and not executed:
            executed.append(target.ask("e"))

    with pytest.raises(NoProcess, match="another program") as raised:
        apply(target.pid, patch, on_step=execute)
    assert executed == ["again"] and raised.value.reason is Reason.EXECUTED
    assert target.ask() == "22 0"


@pytest.mark.parametrize("limit", [0, 4096])
@pytest.mark.parametrize("handled", [False, True])
def test_a_limit_on_the_size_of_files_is_not_met(start: Any, build: Any, limit: int, handled: bool) -> None:
    program, patch = build(r"""int main(int n, char **v) { if (atoi(v[2])) signal(SIGXFSZ, on);
      struct rlimit l = {atoi(v[1]), atoi(v[1])}; setrlimit(RLIMIT_FSIZE, &l); answer(); }""")
    target = start(program, limit, int(handled))
    apply(target.pid, patch)
    assert target.ask() == "1000 0"
    revert(target.pid, patch.id)
    assert target.ask() == "22 0"
