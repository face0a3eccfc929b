"""Stacks that no thread is on: coroutines that are suspended inside a function to be replaced, made as programs make
them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suture.patch.file import PatchFile
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.error import Busy
from suture.process.memory.maps import Maps, read_maps
from suture.process.stack.coroutine import SuspendedStacks, candidates

Start = Callable[..., Any]
Compile = Callable[..., Path]
Make = Callable[..., PatchFile]

HEAD = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
enum { SIZE = 1 << 18, PAGE = 4096 };
static void *new_stack(void) {
  char *p = mmap(0, SIZE + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (p == MAP_FAILED || mprotect(p, PAGE, PROT_NONE)) abort();
  return p + PAGE;
}
"""
UCONTEXT = (
    HEAD
    + r"""
static ucontext_t home, co;
static void yield(void) { swapcontext(&co, &home); }
__attribute__((noinline)) int f(int x) { if (x < 0) { yield(); __asm__ volatile(""); } return x * 3 + 1; }
static void body(void) { for (;;) { f(-1); yield(); } }
static void start(void) {
  getcontext(&co); co.uc_stack.ss_sp = new_stack(); co.uc_stack.ss_size = SIZE; co.uc_link = &home;
  makecontext(&co, body, 0);
}
static void resume(void) { swapcontext(&home, &co); }
"""
)
# as QEMU does it (util/coroutine-ucontext.c): ucontext only to get onto the new stack, then sigsetjmp and siglongjmp
SETJMP = (
    HEAD
    + r"""
struct co { void (*entry)(void); sigjmp_buf env; } *co;
union { void *p; int i[2]; } argument;
static sigjmp_buf home;
__attribute__((noinline)) void co_switch(sigjmp_buf *from, sigjmp_buf *to) {
    if (!sigsetjmp(*from, 0)) siglongjmp(*to, 1); }
static void yield(void) { co_switch(&co->env, &home); }
__attribute__((noinline)) int f(int x) { if (x < 0) { yield(); __asm__ volatile(""); } return x * 3 + 1; }
/* deep enough that what the coroutine does later does not write over what f has left */
static void body(void) { char pad[1024]; __asm__ volatile("" :: "r"(pad) : "memory"); f(-1); }
static void trampoline(int i0, int i1) {
  argument.i[0] = i0; argument.i[1] = i1;
  struct co *self = argument.p;
  if (!sigsetjmp(self->env, 0)) siglongjmp(home, 1);
  for (;;) { self->entry(); co_switch(&self->env, &home); }
}
__attribute__((noinline)) static void start(void) {
  static ucontext_t uc, old;
  argument.p = co = calloc(1, sizeof *co);
  co->entry = body;
  getcontext(&uc); uc.uc_stack.ss_sp = new_stack(); uc.uc_stack.ss_size = SIZE; uc.uc_link = &old;
  makecontext(&uc, (void (*)(void))trampoline, 2, argument.i[0], argument.i[1]);
  if (!sigsetjmp(home, 0)) swapcontext(&old, &uc);
}
static void resume(void) { co_switch(&home, &co->env); }
"""
)
MAIN = r"""
int main(void) {
  char line[64];
  setvbuf(stdout, 0, _IOLBF, 0);
  start();
  while (fgets(line, sizeof line, stdin)) {
    if (*line == 'r') resume();
    printf("%d\n", f(7));
  }
}
"""
NEW = "int f(int x) { return 1000; }"


@pytest.fixture
def build(gcc: Compile, make_patch: Make, tmp_path: Path) -> Callable[..., tuple[Path, PatchFile]]:
    def build(source: str, suspends: tuple[str, ...] = ()) -> tuple[Path, PatchFile]:
        program = gcc(tmp_path / "target", source, "-pthread", "-w")
        return program, make_patch(tmp_path, program, NEW, {"f": ["f"]}, suspends=suspends)

    return build


@pytest.mark.parametrize("source", [UCONTEXT, SETJMP], ids=["ucontext", "sigsetjmp"])
def test_a_coroutine_that_is_suspended_inside_means_busy(start: Start, build: Any, source: str) -> None:
    program, patch = build(source + MAIN)
    target = start(program)
    assert target.ask("x") == "22"
    assert target.ask("r") == "22"  # now the coroutine is suspended inside f
    with pytest.raises(Busy, match=r"a suspended stack|word at 0x[0-9a-f]+ .*leads into f"):
        apply(target.pid, patch, timeout=0.3)
    assert target.ask("x") == "22"


def test_a_coroutine_that_is_suspended_elsewhere_is_not_in_the_way(start: Start, build: Any) -> None:
    program, patch = build(UCONTEXT.replace("f(-1); yield();", "yield();") + MAIN)
    target = start(program)
    assert target.ask("r") == "22"
    for _ in range(20):
        result = apply(target.pid, patch)
        assert result.suspended_stacks == 1
        assert target.ask("r") == "1000"
        revert(target.pid, patch.id)
        assert target.ask("r") == "22"


def test_a_stack_that_appears_after_the_map_was_read_is_searched_too(start: Start, build: Any) -> None:
    program, patch = build(UCONTEXT + MAIN.replace("start();", "").replace("resume();", "start(), resume();"))
    target = start(program)
    assert target.ask("x") == "22"

    def meanwhile(step: str) -> None:
        if step == "seized" and not asked:
            asked.append(target.ask("r"))

    asked: list[str] = []
    with pytest.raises(Busy, match="suspended stack"):
        apply(target.pid, patch, timeout=0.1, on_step=meanwhile)
    assert asked == ["22"]


def test_remains_on_a_coroutine_that_is_kept_for_later_count_while_nobody_knows_where_it_stands(
    start: Start, build: Any
) -> None:
    program, patch = build(SETJMP + MAIN)
    target = start(program)
    assert [target.ask("r"), target.ask("r")] == ["22", "22"]  # into f, and out of it: its frame is no more
    with pytest.raises(Busy, match="suspended stack"):
        apply(target.pid, patch, timeout=0.3)


def test_remains_are_told_from_frames_where_the_patch_knows_what_suspends(start: Start, build: Any) -> None:
    program, patch = build(SETJMP + MAIN, ("co_switch",))
    target = start(program)
    for _ in range(5):
        assert target.ask("r") == "22"  # suspended in f
        with pytest.raises(Busy, match=r"a suspended stack \(coroutine\) is in f"):
            apply(target.pid, patch, timeout=0.2)
        assert target.ask("r") == "22"  # f has ended, what it left is still there
        assert apply(target.pid, patch, timeout=2).suspended_stacks == 1
        assert target.ask("x") == "1000"
        revert(target.pid, patch.id)


def test_remains_count_while_a_thread_is_on_another_stack_than_its_own(start: Start, build: Any) -> None:
    program, patch = build(
        SETJMP
        + r"""
    static void wait(void) { for (;;) pause(); }
    static void *away(void *a) { static ucontext_t uc, old; getcontext(&uc); uc.uc_stack.ss_sp = new_stack();
        uc.uc_stack.ss_size = SIZE;
      uc.uc_link = &old; makecontext(&uc, wait, 0); swapcontext(&old, &uc); }
    """
        + MAIN.replace("start();", "start(); pthread_t t; pthread_create(&t, 0, away, 0);"),
        ("co_switch",),
    )
    target = start(program)
    assert [target.ask("r"), target.ask("r")] == ["22", "22"]
    with pytest.raises(Busy, match="suspended stack"):
        apply(target.pid, patch, timeout=0.3)


def test_stacks_that_ended_threads_have_left_are_not_in_the_way(
    start: Start, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, patch = build(
        HEAD
        + r"""
    __attribute__((noinline)) void g(void) { usleep(1); }
    __attribute__((noinline)) int f(int x) { g(); __asm__ volatile(""); return x * 3 + 1; }
    static void *thread(void *a) { char pad[80 * (long)a]; __asm__ volatile("" :: "r"(pad) : "memory"); f(1);
        return 0; }
    int main(void) { char line[64]; setvbuf(stdout, 0, _IOLBF, 0); enum { N = 16 };
      pthread_t t[N]; for (long i = 0; i < N; i++) pthread_create(t + i, 0, thread, (void *)(i + 1));
      for (int i = 0; i < N; i++) pthread_join(t[i], 0);
      while (fgets(line, sizeof line, stdin)) printf("%d\n", f(7)); }"""
    )
    target = start(program)
    assert target.ask() == "22"
    assert len(candidates(read_maps(target.pid))) >= 4
    with monkeypatch.context() as without:
        without.setattr(SuspendedStacks, "_control_block", lambda *_: 0)
        with pytest.raises(Busy, match="suspended stack"):
            apply(target.pid, patch, timeout=0.1)
    assert apply(target.pid, patch, timeout=0.5).suspended_stacks == 0
    assert target.ask() == "1000"


def test_a_stack_has_a_guard_page_and_is_nobodys_file() -> None:
    maps = Maps(
        b"7f0000000000-7f0000001000 ---p 00000000 00:00 0 \n"
        b"7f0000001000-7f0000041000 rw-p 00000000 00:00 0 \n"
        b"7f0000041000-7f0000042000 ---p 00000000 00:00 0 \n"
        b"7f0000042000-7f0000082000 rw-s 00000000 00:01 7 /dev/zero\n"
        b"7f0000082000-7f0000083000 ---p 00001000 08:01 9 /lib/x.so\n"
        b"7f0000083000-7f0000084000 rw-p 00000000 00:00 0 \n"
        b"7f0000084000-7f0000085000 ---p 00000000 00:00 0 \n"
        b"7f0000085000-7f0000095000 rwxp 00000000 00:00 0 \n"
    )
    assert [m.start for m in candidates(maps)] == [0x7F0000001000]
