"""Memory without the shape of a stack: what is searched, what counts in it, and what is too much."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suture.error import Unsupported
from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.error import Busy
from suture.process.memory.maps import Maps, read_maps
from suture.process.stack.elsewhere import spans
from suture.process.stack.switching import may_switch_stacks

Start = Callable[..., Any]
Build = Callable[..., Any]

HEAD = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
"""
ASKS = r"""
int main(int argc, char **argv) {
  char line[64]; setvbuf(stdout, 0, _IOLBF, 0); prepare(argc > 1 ? atol(argv[1]) : 0);
  while (fgets(line, sizeof line, stdin)) printf("%d\n", f(7));
}
"""
SWITCHES = "static ucontext_t a, b; void unused(void) { swapcontext(&a, &b); }\n"
NEW = "int f(int x) { return 1000; }"
MAPPED = r"""
__attribute__((noinline)) int g(int x) { __asm__ volatile("" : "+r"(x)); return x; }
__attribute__((noinline)) int f(int x) { return g(x * 3) + 1; }
static void prepare(long mib) { char *p = mmap(0, mib << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
    -1, 0); memset(p, 7, mib << 20); }
"""
# the word at `kept` in memory from malloc is what an argument says: f's address and a number of bytes
KEPT = r"""
__attribute__((noinline)) int g(int x) { __asm__ volatile("" : "+r"(x)); return x; }
__attribute__((noinline)) int f(int x) { return g(x * 3) + 1; }
static void prepare(long distance) { char **kept = malloc(4096); kept[40] = (char *)f + distance;
    __asm__ volatile("" :: "r"(kept) : "memory"); }
"""


@pytest.fixture
def build(gcc: Any, make_patch: Any, tmp_path: Path) -> Build:
    def build(source: str, *flags: str) -> Any:
        program = gcc(tmp_path / "target", HEAD + source + ASKS, "-w", *flags)
        return program, make_patch(tmp_path, program, NEW, {"f": ["f"]})

    return build


def test_what_a_sanitizer_reserves_is_a_lasting_reason_and_no_time_is_waited(
    start: Start, build: Build, make_patch: Any, tmp_path: Path
) -> None:
    program, patch = build(SWITCHES + MAPPED, "-fsanitize=address")
    target = start(program, 1)
    assert target.ask() == "22"
    began = time.monotonic()
    with pytest.raises(Unsupported, match="more than 256 GiB that are reserved") as caught:
        apply(target.pid, patch, timeout=20)
    assert time.monotonic() - began < 15
    assert "try again" not in caught.value.remedy and "restart the program" in caught.value.remedy
    assert target.ask() == "22"
    relaxed = make_patch(tmp_path / "relaxed", program, NEW, {"f": ["f"]}, relaxed="old frames may finish")
    apply(target.pid, relaxed, timeout=5)
    assert target.ask() == "1000"


def test_more_memory_than_can_be_searched_means_busy(
    start: Start, build: Build, make_patch: Any, tmp_path: Path
) -> None:
    program, patch = build(SWITCHES + MAPPED)
    target = start(program, 70)
    assert target.ask() == "22"
    with pytest.raises(
        Busy, match="a suspended stack may lie anywhere in 70 MiB, and no more than 64 MiB can be searched"
    ) as caught:
        apply(target.pid, patch, timeout=0.1)
    assert "--relaxed" in caught.value.remedy and "memory back" in caught.value.remedy
    assert target.ask() == "22"
    relaxed = make_patch(tmp_path / "relaxed", program, NEW, {"f": ["f"]}, relaxed="old frames may finish")
    apply(target.pid, relaxed, timeout=5)  # only the few bytes of the entry must be free, and no function returns there
    assert target.ask() == "1000"
    small = start(program, 8)
    assert small.ask() == "22"
    apply(small.pid, patch, timeout=5)
    assert small.ask() == "1000"


def test_where_no_code_leaves_a_stack_the_size_does_not_matter(start: Start, build: Build) -> None:
    program, patch = build(MAPPED)
    target = start(program, 70)
    assert target.ask() == "22"
    apply(target.pid, patch, timeout=5)
    assert target.ask() == "1000"


def test_an_address_inside_the_function_counts_and_that_of_the_function_does_not(start: Start, build: Build) -> None:
    program, patch = build(SWITCHES + KEPT)
    inside = start(program, 3)
    assert inside.ask() == "22"
    with pytest.raises(Busy, match=r"the word at 0x[0-9a-f]+ \(\[heap\]\) leads into f"):
        apply(inside.pid, patch, timeout=0.05)
    assert inside.ask() == "22"
    pointer = start(program, 0)
    assert pointer.ask() == "22"
    apply(pointer.pid, patch, timeout=5)
    assert pointer.ask() == "1000"


# what leads off the thread's own stack is not seen in the code: a handler changes the stack pointer that the signal's
# end restores
BY_SIGNAL = r"""
#include <signal.h>
static char *own;
static volatile int runs;
static void rest(void);
__attribute__((noinline)) int f(int x) { if (x < 0) { rest(); __asm__ volatile(""); } return x * 3 + 1; }
static void body(void) { f(-1); }
static void ask(void) { char line[64]; while (fgets(line, sizeof line, stdin)) printf("%d\n", f(7)); exit(0); }
static char third[1 << 16] __attribute__((aligned(16)));
static void on(int n, siginfo_t *i, void *context) {
  ucontext_t *c = context;
  (void)n; (void)i;
  char *stack = runs++ ? third : own;
  c->uc_mcontext.gregs[REG_RSP] = (long)(stack + (1 << 16) - 8);
  c->uc_mcontext.gregs[REG_RIP] = (long)(stack == own ? body : ask);
}
static void rest(void) { raise(SIGUSR1); }
static void prepare(long n) { own = malloc(1 << 16); struct sigaction a = {0}; a.sa_sigaction = on;
    a.sa_flags = SA_SIGINFO; sigaction(SIGUSR1, &a, 0); if (n) raise(SIGUSR1); }
"""


def test_a_thread_that_is_met_on_a_strange_stack_tells_that_there_may_be_others(start: Start, build: Build) -> None:
    program, patch = build(BY_SIGNAL)
    target = start(program, 1)  # f is on one stack, and the thread has gone on to another
    assert target.ask() == "22"
    assert not may_switch_stacks(target.pid, read_maps(target.pid))
    with pytest.raises(Busy, match=r"the word at 0x[0-9a-f]+ \(\[heap\]\) leads into f"):
        apply(target.pid, patch, timeout=0.05)
    assert target.ask() == "22"
    with_none = start(program, 0)
    assert with_none.ask() == "22"
    apply(with_none.pid, patch, timeout=5)
    assert with_none.ask() == "1000"


def test_exceptions_that_were_caught_in_the_function_are_not_in_the_way(
    start: Start, make_patch: Any, tmp_path: Path
) -> None:
    """The C++ runtime keeps the address of the landing pad in the exception, and it stays in the memory when that is
    freed."""
    import subprocess

    source = tmp_path / "target.cc"
    source.write_text(
        HEAD
        + SWITCHES
        + r"""
    struct Large { char text[200]; };
    extern "C" __attribute__((noinline)) void g(int x) { __asm__ volatile("" : "+r"(x)); if (x > 0) throw Large{}; }
    extern "C" __attribute__((noinline)) int f(int x) { try { g(x); } catch (Large &l) { return x * 3 + 1; } return 0; }
    static void prepare(long) { for (int i = 0; i < 10; i++) f(1); }
    """
        + ASKS
    )
    program = tmp_path / "target"
    subprocess.run(["g++", "-O2", "-w", "-Wl,--build-id", "-o", str(program), str(source)], check=True)
    patch = make_patch(tmp_path, program, NEW, {"f": ["f"]})
    target = start(program)
    assert target.ask() == "22"
    apply(target.pid, patch, timeout=0.5)
    assert target.ask() == "1000"
    revert(target.pid, patch.id, timeout=0.5)
    assert target.ask() == "22"


def test_searched_is_private_memory_that_is_nobody_elses() -> None:
    maps = Maps(
        b"55f000000000-55f000001000 rw-p 00003000 fe:00 9 /bin/x\n"
        b"55f000002000-55f000003000 r--p 00003000 fe:00 9 /bin/x\n"
        b"55f000004000-55f000005000 rw-p 00000000 00:00 0 [heap]\n"
        b"7f0000000000-7f0000001000 ---p 00000000 00:00 0 \n"
        b"7f0000001000-7f0000041000 rw-p 00000000 00:00 0 \n"
        b"7f0000042000-7f0000082000 rw-s 00000000 00:01 7 /dev/zero (deleted)\n"
        b"7f0000083000-7f0000084000 rw-p 00000000 00:00 0 \n"
        b"7f0000085000-7f0000086000 rw-p 00001000 00:01 8 /memfd:suture:0123 (deleted)\n"
        b"7fff00000000-7fff00021000 rw-p 00000000 00:00 0 [stack]\n"
    )
    stacks = {0x7F0000001000}
    assert [start for start, _ in spans(maps, stacks)] == [0x55F000000000, 0x55F000004000, 0x7F0000083000]
