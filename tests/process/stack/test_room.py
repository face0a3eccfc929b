"""Borrowing a thread writes nowhere but into room that is surely nobody's, also when the thread runs on a stack of a
few KiB."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suture.patch.file import PatchFile
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.error import Busy
from suture.process.memory.maps import read_maps
from suture.process.stop.borrow import borrow
from suture.process.tracee import Tracee

PROGRAM = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <ucontext.h>
#include <unistd.h>
__attribute__((noinline)) int f(int x) { return x * 3 + 1; }
enum { BELOW = 64 * 1024 };
static unsigned char *area;
static int damaged(void) { int n = 0; for (int i = 0; i < BELOW; i++) n += area[i] != 0xA5; return n; }
/* without stdio, which would need more room than there is */
static int number(char *to, int v) { char t[12]; int n = 0, k = 0; do t[n++] = '0' + v % 10; while (v /= 10);
    while (n) to[k++] = t[--n]; return k; }
static void loop(void) {
  static char b[64];
  char c;
  while (read(0, &c, 1) == 1) if (c == '\n') {
    int n = number(b, f(7)); b[n++] = ' '; n += number(b + n, damaged()); b[n++] = '\n';
    if (write(1, b, n) < 0) break;
  }
  _exit(0);
}
static void on(int s) { (void)s; loop(); }
static void off(unsigned char *memory, int stack, int by_signal) {
  area = memory; memset(area, 0xA5, BELOW);
  if (by_signal) {
    stack_t s = {area + BELOW, 0, stack}; struct sigaction a = {0};
    a.sa_handler = on; a.sa_flags = SA_ONSTACK; sigaltstack(&s, 0); sigaction(SIGUSR1, &a, 0); raise(SIGUSR1);
  }
  static ucontext_t c, back; getcontext(&c);
  c.uc_stack.ss_sp = area + BELOW; c.uc_stack.ss_size = stack; c.uc_link = &back;
  makecontext(&c, loop, 0); swapcontext(&back, &c);
}
static unsigned char array[BELOW + 65536];
static void deep(int n) { char pad[4096]; memset(pad, n, sizeof pad); __asm__ volatile("" :: "r"(pad) : "memory");
    if (n) deep(n - 1); __asm__ volatile(""); }
static void *thread(void *a) { unsigned char here[BELOW + 16384]; if (*(char *)a == 't') off(here, 16384, 0); loop();
    return 0; }
int main(int argc, char **argv) {
  int stack = argc > 2 ? atoi(argv[2]) : 0;
  unsigned char here[BELOW + 65536] __attribute__((aligned(16)));
  area = array; memset(array, 0xA5, sizeof array);
  switch (*argv[1]) {
  case 'm': off(malloc(BELOW + stack), stack, 0);
  case 'p': off(mmap(0, BELOW + stack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), stack, 0);
  case 'a': off(mmap(0, BELOW + stack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), stack, 1);
  case 's': off(array, stack, 0);
  case 'h': off(here, stack, 0);
  case 'H': off(here, stack, 1);
  case 'd': deep(500); loop(); /* all of its stack has been used */
  case 't': case 'u': { pthread_t t; pthread_create(&t, 0, thread, argv[1]); for (;;) pthread_join(t, 0), pause(); }
  }
}
"""
KINDS = ["m 8192", "p 8192", "p 2048", "a 16384", "a 6144", "s 4096", "d", "t", "u"]


@pytest.fixture(scope="module")
def built(gcc: Any, make_patch: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PatchFile]:
    folder = tmp_path_factory.mktemp("room")
    program = gcc(folder / "target", PROGRAM, "-w", "-pthread")
    return program, make_patch(folder, program, "int f(int x) { return 1000; }", {"f": ["f"]})


@pytest.mark.parametrize("kind", KINDS)
def test_a_patch_goes_in_and_nothing_of_others_is_written(
    start: Callable[..., Any], built: tuple[Path, PatchFile], kind: str
) -> None:
    program, patch = built
    target = start(program, *kind.split())
    target.ask()
    answer, damaged = target.ask().split()  # the program itself may need more than it has
    assert answer == "22"
    apply(target.pid, patch, timeout=2)
    assert target.ask() == f"1000 {damaged}"
    revert(target.pid, patch.id, timeout=2)
    assert target.ask() == f"22 {damaged}"


@pytest.mark.parametrize("kind", ["h 8192", "H 6144"])
def test_a_stack_inside_the_threads_own_leaves_no_room(
    start: Callable[..., Any], built: tuple[Path, PatchFile], kind: str
) -> None:
    """All of [stack] is in use, and what lies below the stack pointer is an array of the function that has set this
    up."""
    program, patch = built
    target = start(program, *kind.split())
    target.ask()
    before = target.ask()
    with pytest.raises(Busy, match="no room on its stack that is surely free"):
        apply(target.pid, patch, timeout=0.1)
    assert target.ask() == before


def test_room_that_was_used_is_used_again(start: Callable[..., Any], built: tuple[Path, PatchFile]) -> None:
    target = start(built[0], "m", "8192")
    answer = target.ask()
    before = 0
    for n in range(60):
        with Tracee(target.pid) as tracee, borrow(tracee, read_maps(target.pid)) as thread:
            assert thread.call("getpid", 39) == target.pid
        if n == 3:
            before = resident_kib(target.pid)
    assert resident_kib(target.pid) <= before + 16
    assert target.ask() == answer


def resident_kib(pid: int) -> int:
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], check=True, capture_output=True, text=True)
    return int(done.stdout)
