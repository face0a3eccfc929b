"""A coroutine that is suspended inside an old function keeps it from being replaced, whatever its stack and however it
left it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suture.patch.file import PatchFile
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.error import Busy

Start = Callable[..., Any]
Compile = Callable[..., Path]
Make = Callable[..., PatchFile]

PROGRAM = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
enum { SIZE = 1 << 16, PAGE = 4096 };
void hand_switch(void **from, void *to);
__asm__(".text\n.type hand_switch,@function\n"
        "hand_switch: push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
        "mov %rsp, (%rdi); mov %rsi, %rsp\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp; ret\n.size hand_switch, .-hand_switch\n");
static ucontext_t home, co;
static jmp_buf home_jump, co_jump;
static void *home_sp, *co_sp;
static char how;
static int at_home; /* f is called on the thread's own stack, and the loop runs in the coroutine */
static char *place;
__attribute__((noinline)) static void yield(void) {
  if (how == 'u') swapcontext(&co, &home);
  else if (how == 'h') hand_switch(&co_sp, home_sp);
  else if (!_setjmp(co_jump)) _longjmp(home_jump, 1);
}
__attribute__((noinline)) static void resume(void) {
  if (how == 'u') swapcontext(&home, &co);
  else if (how == 'h') hand_switch(&home_sp, co_sp);
  else if (!_setjmp(home_jump)) _longjmp(co_jump, 1);
}
__attribute__((noinline)) static void away(void) { at_home ? resume() : yield(); }
__attribute__((noinline)) int f(int x) { if (x < 0) { away(); __asm__ volatile(""); } return x * 3 + 1; }
/* so that nothing is left of f's frame */
__attribute__((noinline)) static void scrub(void) { char deep[8192]; memset(deep, 0, sizeof deep);
    __asm__ volatile("" :: "r"(deep) : "memory"); }
static void loop(void) {
  char line[64];
  while (fgets(line, sizeof line, stdin)) {
    if (*line == 'r') at_home ? yield() : resume();
    printf("%d\n", f(7));
  }
  exit(0);
}
static void in_and_out(void) { for (;;) { f(-1); scrub(); away(); } }
static void body(void) { at_home ? loop() : in_and_out(); }
static void first(void) { if (how == 's') { if (!_setjmp(co_jump)) swapcontext(&co, &home); } body(); }
static void handler(int n) { (void)n; if (_setjmp(co_jump)) body(); }
static void make(char *stack, int on_signal_stack) {
  if (on_signal_stack) {
    stack_t s = {stack, 0, SIZE}, none = {0, SS_DISABLE, 0};
    struct sigaction a = {0};
    a.sa_handler = handler; a.sa_flags = SA_ONSTACK;
    sigaltstack(&s, 0); sigaction(SIGUSR1, &a, 0); raise(SIGUSR1); sigaltstack(&none, 0);
  } else if (how == 'h') {
    void **top = (void **)(stack + SIZE) - 1;
    *top = 0; *--top = body; top -= 6; memset(top, 0, 48); co_sp = top;
  } else {
    getcontext(&co); co.uc_stack.ss_sp = stack; co.uc_stack.ss_size = SIZE; co.uc_link = &home;
    makecontext(&co, first, 0);
    if (how == 's') swapcontext(&home, &co);
  }
}
static char in_an_array[SIZE] __attribute__((aligned(16)));
static char *map(size_t size, int guard) {
  char *p = mmap(0, size + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (guard) mprotect(p, PAGE, PROT_NONE);
  return p + PAGE;
}
static void *start(void *unused) {
  char here[SIZE] __attribute__((aligned(16)));
  __asm__ volatile("" :: "r"(here) : "memory");
  char *stack = here;
  if (!strcmp(place, "malloc")) stack = malloc(SIZE);
  if (!strcmp(place, "array")) stack = in_an_array;
  if (!strcmp(place, "plain")) stack = map(SIZE, 0);
  if (!strcmp(place, "guarded") || !strcmp(place, "signal")) stack = map(SIZE, 1);
  if (!strcmp(place, "huge")) stack = map(80 << 20, 1);
  if (!strcmp(place, "pool")) stack = map(2 * SIZE, 1);
  make(stack, !strcmp(place, "signal"));
  if (at_home) { away(); in_and_out(); }
  if (!strcmp(place, "pool")) {
    static ucontext_t back, upper;
    getcontext(&upper); upper.uc_stack.ss_sp = stack + SIZE; upper.uc_stack.ss_size = SIZE; upper.uc_link = &back;
    makecontext(&upper, loop, 0); swapcontext(&back, &upper);
  }
  loop();
}
int main(int argc, char **argv) {
  setvbuf(stdout, 0, _IOLBF, 0);
  how = argv[1][0];
  place = argv[2];
  at_home = argc > 3 && !!strchr(argv[3], 'h');
  pthread_t t;
  if (argc > 3 && strchr(argv[3], 't')) { pthread_create(&t, 0, start, 0); for (;;) pause(); }
  start(0);
}
"""
NEW = "int f(int x) { return 1000; }"
STAYS = 'void away(void); int f(int x) { if (x < 0) { away(); __asm__ volatile(""); } return %d; }'
WAYS = {"ucontext": "u", "hand": "h", "setjmp": "s"}
PLACES = ["malloc", "array", "plain", "guarded", "here", "huge"]


@pytest.fixture(scope="module", params=["-O0", "-O2"])
def built(
    request: pytest.FixtureRequest, gcc: Compile, make_patch: Make, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, PatchFile]:
    folder = tmp_path_factory.mktemp("stacks")
    program = gcc(folder / "target", PROGRAM, "-w", "-pthread", request.param)
    return program, make_patch(folder, program, NEW, {"f": ["f"]})


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", WAYS)
def test_a_stack_suspended_inside_means_busy_until_it_has_left(
    start: Start, built: tuple[Path, PatchFile], way: str, place: str
) -> None:
    busy_then_applied(start(built[0], WAYS[way], place), built[1])


def test_a_coroutine_made_of_a_signal_stack(start: Start, built: tuple[Path, PatchFile]) -> None:
    busy_then_applied(start(built[0], "s", "signal"), built[1])


@pytest.mark.parametrize("thread", ["", "t"], ids=["main", "thread"])
@pytest.mark.parametrize("place", ["malloc", "array", "plain", "guarded"])
@pytest.mark.parametrize("way", WAYS)
def test_a_thread_that_runs_on_a_coroutine_has_a_stack_at_home(
    start: Start, built: tuple[Path, PatchFile], way: str, place: str, thread: str
) -> None:
    busy_then_applied(start(built[0], WAYS[way], place, "h" + thread), built[1])


@pytest.mark.parametrize("way", WAYS)
def test_a_thread_on_one_of_two_stacks_in_a_mapping_does_not_hide_the_other(
    start: Start, built: tuple[Path, PatchFile], way: str
) -> None:
    busy_then_applied(start(built[0], WAYS[way], "pool"), built[1])


def busy_then_applied(target: Any, patch: PatchFile) -> None:
    assert target.ask("x") == "22"
    assert target.ask("r") == "22"  # the coroutine is suspended inside f
    with pytest.raises(Busy, match=r"a suspended stack|leads into f|is in f"):
        apply(target.pid, patch, timeout=0.05)
    assert target.ask("x") == "22"
    assert target.ask("r") == "22"  # and has left it
    apply(target.pid, patch, timeout=2)
    assert [target.ask("r"), target.ask("r"), target.ask("x")] == ["1000"] * 3
    revert(target.pid, patch.id, timeout=2)
    assert [target.ask("r"), target.ask("x")] == ["22"] * 2


@pytest.mark.parametrize("place", ["malloc", "guarded"])
def test_a_stack_that_enters_after_the_first_look_is_found_in_the_stop(
    start: Start, built: tuple[Path, PatchFile], place: str
) -> None:
    target = start(built[0], "h", place)
    assert target.ask("x") == "22"
    asked: list[str] = []

    def meanwhile(step: str) -> None:
        if step == "seized" and not asked:
            asked.append(target.ask("r"))

    with pytest.raises(Busy, match=r"a suspended stack|leads into f"):
        apply(target.pid, patch=built[1], timeout=0.1, on_step=meanwhile)
    assert asked == ["22"]


@pytest.mark.parametrize("place", ["malloc", "guarded", "here"])
@pytest.mark.parametrize("way", WAYS)
def test_a_patch_whose_code_a_stack_is_suspended_in_is_neither_reverted_nor_replaced(
    start: Start, staying: tuple[Path, PatchFile, PatchFile], way: str, place: str
) -> None:
    program, patch, other = staying
    target = start(program, WAYS[way], place)
    assert target.ask("x") == "22"
    apply(target.pid, patch, timeout=2)
    assert target.ask("r") == "1000"  # suspended inside the new function
    with pytest.raises(Busy, match=patch.id):
        revert(target.pid, patch.id, timeout=0.05)
    with pytest.raises(Busy, match=patch.id):
        apply(target.pid, other, timeout=0.05, replace=True)
    assert target.ask("x") == "1000"
    assert target.ask("r") == "1000"
    apply(target.pid, other, timeout=2, replace=True)
    assert target.ask("r") == "2000"
    with pytest.raises(Busy, match=other.id):
        revert(target.pid, other.id, timeout=0.05)
    assert target.ask("r") == "2000"
    revert(target.pid, other.id, timeout=2)
    assert [target.ask("r"), target.ask("x")] == ["22"] * 2


@pytest.fixture(scope="module")
def staying(
    built: tuple[Path, PatchFile], make_patch: Make, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, PatchFile, PatchFile]:
    folder = tmp_path_factory.mktemp("stays")
    made = [make_patch(folder / str(n), built[0], STAYS % n, {"f": ["f"]}, name=f"p{n}") for n in (1000, 2000)]
    return built[0], made[0], made[1]


# 40 coroutines of two threads go in and out of f, which must see one version from its beginning to its end
CROWD = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
enum { SIZE = 1 << 16, EACH = 20 };
void hand_switch(void **from, void *to);
__asm__(".text\n.type hand_switch,@function\n"
        "hand_switch: push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
        "mov %rsp, (%rdi); mov %rsi, %rsp\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp; ret\n.size hand_switch, .-hand_switch\n");
struct crowd { void *home, *sp[EACH]; int inside[EACH], now; unsigned seed; };
static __thread struct crowd *mine;
static volatile long mixed, done;
__attribute__((noinline)) struct crowd *own(void) { return mine; }
__attribute__((noinline)) void yield(void) { struct crowd *c = own(); hand_switch(&c->sp[c->now], c->home); }
__attribute__((noinline)) int version(void) { __asm__ volatile(""); return 1; }
__attribute__((noinline)) void f(void) {
  int before = version(); yield();
  if (version() != before) mixed++;
  __atomic_add_fetch(&done, 1, 5);
}
__attribute__((noinline)) static void scrub(void) { char deep[8192]; memset(deep, 0, sizeof deep);
    __asm__ volatile("" :: "r"(deep) : "memory"); }
static void body(void) { for (;;) { struct crowd *c = own(); c->inside[c->now] = 1; f(); c = own();
    c->inside[c->now] = 0; scrub(); yield(); } }
static void resume(struct crowd *c, int i) { c->now = i; hand_switch(&c->home, c->sp[i]); }
static void *crowd(void *a) {
  struct crowd *c = mine = calloc(1, sizeof *c); c->seed = (long)a;
  for (int i = 0; i < EACH; i++) {
    char *stack = i % 2 ? malloc(SIZE) : mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void **top = (void **)(stack + SIZE) - 1; *top = 0; *--top = body; top -= 6; memset(top, 0, 48); c->sp[i] = top;
  }
  for (;;) {
    for (int n = rand_r(&c->seed) % 2000; n; n--) resume(c, rand_r(&c->seed) % EACH);
    if (rand_r(&c->seed) % 4) for (int i = 0; i < EACH; i++) if (c->inside[i]) resume(c, i);
    usleep(rand_r(&c->seed) % 8000);
  }
  return 0;
}
int main(void) {
  char line[64]; pthread_t t; setvbuf(stdout, 0, _IOLBF, 0);
  for (long n = 1; n <= 2; n++) pthread_create(&t, 0, crowd, (void *)n);
  while (fgets(line, sizeof line, stdin)) printf("%d %ld %ld\n", version(), mixed, done);
}
"""
NEWER = r"""
struct crowd; extern volatile long mixed, done; void yield(void);
__attribute__((noinline)) int version(void) { __asm__ volatile(""); return 2; }
void f(void) { int before = version(); yield(); if (version() != before) mixed++; __atomic_add_fetch(&done, 1, 5); }
"""


def test_no_coroutine_of_a_crowd_ever_sees_two_versions(
    start: Start, gcc: Compile, make_patch: Make, tmp_path: Path
) -> None:
    program = gcc(tmp_path / "target", CROWD, "-w", "-pthread")
    patch = make_patch(tmp_path, program, NEWER, {"both": ["f", "version"]})
    target = start(program)
    switched = 0
    for _ in range(6):
        changes: tuple[Callable[[], Any], ...] = (
            lambda: apply(target.pid, patch, timeout=1),
            lambda: revert(target.pid, patch.id, timeout=1),
        )
        for change in changes:
            try:
                switched += change().changed
            except Busy:
                continue
    _, mixed, done = target.ask().split()
    assert mixed == "0" and int(done) > 100
    assert switched >= 2
