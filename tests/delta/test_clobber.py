"""The judge is the processor: each mixed world is linked, run, and compared with what the analysis says of it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from suture.delta.clobber import World, violations
from suture.elf.file import ElfFile

FLAGS = ["-g", "-ffunction-sections", "-fdata-sections", "-fno-pie"]

# Sends every call of old_F to new_F by a jump at its entry when started with an argument, then prints what run()
# returns.
DIVERT = """
#include <stdio.h>
#include <string.h>
#include <stdint.h>
#include <sys/mman.h>
void old_F(void); void new_F(void); long run(void);
int counter, data[64];
int main(int n, char **v) {
  char *at = (char *)old_F, *to = (char *)new_F; int distance = to - at - 5;
  if (n > 1) { mprotect((void *)((uintptr_t)at & ~4095ul), 8192, 7); *at = (char)0xe9; memcpy(at + 1, &distance, 4); }
  printf("%ld\\n", run());
}
"""


def compile_object(folder: Path, source: str, name: str, *flags: str) -> ElfFile:
    (folder / f"{name}.c").write_text(source)
    subprocess.run(["gcc", *FLAGS, *flags, "-c", f"{name}.c", "-o", f"{name}.o"], cwd=folder, check=True)
    return ElfFile.read(folder / f"{name}.o")


def run_mixed(folder: Path, function: str) -> tuple[str, str]:
    """What the program prints, all pre, and with one function of pre.o diverted to that of post.o."""
    for name, prefix in (("pre", "old"), ("post", "new")):
        subprocess.run(
            [
                "objcopy",
                f"--globalize-symbol={prefix}_F",
                f"--globalize-symbol={function}",
                f"--redefine-sym={function}={prefix}_F",
            ]
            + (["--weaken"] if name == "post" else [])
            + [f"{name}.o", f"{name}.mixed.o"],
            cwd=folder,
            check=True,
        )
    (folder / "divert.c").write_text(DIVERT)
    subprocess.run(
        ["gcc", "-O1", "-no-pie", "-w", "divert.c", "pre.mixed.o", "post.mixed.o", "-o", "mixed"],
        cwd=folder,
        check=True,
    )
    return run(folder / "mixed"), run(folder / "mixed", "divert")


def run(*argv: str | Path) -> str:
    """What a program prints, or how it ends when it does not end well."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=3)
    except subprocess.TimeoutExpired:
        return "hangs"
    return done.stdout if done.returncode == 0 else f"died with {done.returncode}"


TRAP = """
extern int data[64];
#ifdef FIX
#define CHECK if (x > 40) { data[3] = x * 7; data[5] ^= (x << 3) | (x % 11); }
#else
#define CHECK
#endif
static __attribute__((noinline)) void touch(int x) { CHECK data[x & 63] += x; }
__attribute__((noinline)) long work(long a, long b, long c, long d) { touch((int)a); return a + b * 3 + c * 5 + d * 7; }
long run(void) { return work(41, 2, 3, 4); }
"""


def test_a_caller_that_relies_on_a_register_that_the_new_callee_uses_is_caught_and_would_really_go_wrong(
    tmp_path: Path,
) -> None:
    pre, post = compile_object(tmp_path, TRAP, "pre", "-O2"), compile_object(tmp_path, TRAP, "post", "-O2", "-DFIX")
    right, wrong = run_mixed(tmp_path, "touch")
    assert right.strip() == str(41 + 2 * 3 + 3 * 5 + 4 * 7)
    assert wrong != right, "gcc no longer falls into the trap; make another example"
    found = violations(pre, post, frozenset({"touch"}), frozenset())
    assert [(v.caller, v.callee, v.world, v.section) for v in found] == [("work", "touch", World.PRE, ".text.work")]
    assert "rcx" in found[0].registers
    code = pre.bytes_of(next(s for s in pre.sections if s.name == ".text.work"))
    assert code[found[0].offset] == 0xE8


def test_replacing_the_caller_too_makes_it_safe_since_gcc_compiled_it_for_the_new_callee(tmp_path: Path) -> None:
    pre, post = compile_object(tmp_path, TRAP, "pre", "-O2"), compile_object(tmp_path, TRAP, "post", "-O2", "-DFIX")
    assert violations(pre, post, frozenset({"touch", "work"}), frozenset()) == ()


def test_replacing_the_caller_alone_is_caught_when_the_old_callee_uses_more_than_the_new_one(tmp_path: Path) -> None:
    pre, post = compile_object(tmp_path, TRAP, "pre", "-O2", "-DFIX"), compile_object(tmp_path, TRAP, "post", "-O2")
    found = violations(pre, post, frozenset({"work"}), frozenset())
    assert [(v.caller, v.callee, v.world) for v in found] == [("work", "touch", World.POST)]


def test_a_register_changed_by_what_the_callee_calls_counts(tmp_path: Path) -> None:
    source = TRAP.replace(
        "__attribute__((noinline)) long work",
        'static __attribute__((noinline)) void outer(int x) { touch(x); asm volatile("" ::: "memory"); }\n'
        "__attribute__((noinline)) long work",
    ).replace("{ touch((int)a);", "{ outer((int)a);")
    pre, post = compile_object(tmp_path, source, "pre", "-O2"), compile_object(tmp_path, source, "post", "-O2", "-DFIX")
    right, wrong = run_mixed(tmp_path, "touch")
    assert right != wrong
    assert ("work", "outer") in {(v.caller, v.callee) for v in violations(pre, post, frozenset({"touch"}), frozenset())}


# Each noinline function changes every call-clobbered register that is not an argument or result in its post version.
WORLD = """
#include <stdlib.h>
#include <string.h>
extern int counter, data[64];
#ifdef FIX
#define TRASH asm volatile("mov $77,%%ecx; mov $78,%%edx; mov $79,%%esi; mov $80,%%edi; mov $81,%%r8d;" \\
 "mov $82,%%r9d; mov $83,%%r10d; mov $84,%%r11d; movq %%rcx,%%xmm1; movq %%rcx,%%xmm2; movq %%rdx,%%xmm3;" \\
 "movaps %%xmm2,%%xmm4; movaps %%xmm2,%%xmm5;" \\
 ::: "ecx", "edx", "esi", "edi", "r8", "r9", "r10", "r11", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5");
#else
#define TRASH
#endif
#define N __attribute__((noinline, noclone)) static
N void add(int x) { TRASH counter += x; }
N void store(int x) { TRASH data[x & 63] = x; }
N void store_next(int x) { TRASH store(x + 1); counter ^= x; }
N int peek(int x) { TRASH return data[x & 63]; }
N void check(int x) { TRASH if (__builtin_expect(x > 1000, 0)) abort(); counter++; }
N long hash(const char *s) { TRASH long h = 5; while (*s) h = h * 33 + *s++; return h; }
N double half(double x) { TRASH counter++; return x * 0.5; }
N void tail(int x) { TRASH counter += 3; store(x); }
N int depth(int n) { TRASH return n <= 0 ? counter : 1 + depth(n - 2); }
N int pick(int n) { TRASH switch (n) { case 0: return 9; case 1: return counter; case 2: return n * counter;
    case 3: return 7;
  case 4: return data[2]; case 5: return 55; case 6: return counter / 3; default: return 1; } }
#define C __attribute__((noinline))
C long c_add(long a, long b, long c, long d) { add(a); return a + 3*b + 5*c + 7*d; }
C long c_store(long a, long b, long c) { for (int i = 0; i < 4; i++) { store(i); a += b ^ c; } return a; }
C long c_next(long a, long b) { store_next(a); if (b > 3) store_next(b); return a * b; }
C long c_peek(long a, long b) { return peek(a) + b * peek(b) + a; }
C long c_check(long a, long b, long c) { check(a); check(b); return a - b + c; }
C long c_hash(const char *s, long a, long b) { long h = hash(s); return h * a + b; }
C double c_half(double a, double b, double c) { return half(a) * b + c; }
C long c_tail(long a, long b) { tail(a); return a + b; }
C long c_depth(long a, long b, long c) { return depth(a) + b * c; }
C long c_pick(int a, long b, long c) { long r = pick(a); switch (a) { case 0: return b + r; case 1: return c;
    case 2: return b * c + r; case 3: return b - c;
  case 4: return r; case 5: return c * 9; case 6: return b / 3; default: return b + c + r; } }
C int c_library(void *to, const void *from, long n) { add(1); memcpy(to, from, n); return counter; }
C int c_quiet(int a) { add(a); store(2); return 5; }
long run(void) {
  long r = 0; char b[16];
  for (long i = 1; i < 40; i++) r = r * 31 + c_add(i, 2, 3, 4) + c_store(i, 5, 6) + c_next(i, i & 7) + c_peek(i,
      3) + c_check(i, i + 1, 9)
     + c_hash("suture", i, 4) + (long)c_half(i, 3.0, 4.0) + c_tail(i, 8) + c_depth(i, 3, 5) + c_pick(i & 7, i, 11)
     + c_library(b, "0123456789abcdef" + (i & 7), 8) + b[2] + c_quiet(i);
  return r;
}
"""
CALLEES = ["add", "store", "store_next", "peek", "check", "hash", "half", "tail", "depth", "pick"]


@pytest.mark.parametrize("flags", ["-O2", "-O3", "-Os", "-O2 -mavx2"])
def test_what_the_analysis_calls_safe_computes_the_same_and_what_goes_wrong_is_caught(
    tmp_path: Path, flags: str
) -> None:
    pre = compile_object(tmp_path, WORLD, "pre", *flags.split())
    post = compile_object(tmp_path, WORLD, "post", *flags.split(), "-DFIX")
    outcome, rights = {}, set()
    for callee in CALLEES:
        right, mixed = run_mixed(tmp_path, callee)
        rights.add(right)
        outcome[callee] = (right != mixed, bool(violations(pre, post, frozenset({callee}), frozenset())))
    assert all(caught for wrong, caught in outcome.values() if wrong), outcome
    assert not any(right.startswith(("died", "hangs")) for right in rights), rights
    assert sum(wrong for wrong, _ in outcome.values()) >= 4, outcome
    # every one that is caught here really goes wrong, but for values that the run does not show
    assert sum(caught and not wrong for wrong, caught in outcome.values()) <= 1, outcome


def test_callers_that_follow_the_calling_convention_are_never_accused(tmp_path: Path) -> None:
    pre = compile_object(tmp_path, WORLD, "pre", "-O2", "-fno-ipa-ra")
    post = compile_object(tmp_path, WORLD, "post", "-O2", "-DFIX")
    for callee in CALLEES:
        assert violations(pre, post, frozenset({callee}), frozenset()) == ()


def test_one_world_alone_never_counts_against_itself(tmp_path: Path) -> None:
    pre = compile_object(tmp_path, WORLD, "pre", "-O2")
    everything = frozenset(s.name for s in pre.symbols if s.type == 2)
    assert violations(pre, pre, frozenset(), frozenset()) == ()
    assert violations(pre, pre, everything, frozenset()) == ()
    assert violations(pre, pre, frozenset({"add", "c_pick"}), frozenset()) == ()


def test_a_void_callee_that_newly_changes_the_return_register_is_caught_only_where_the_value_is_needed(
    tmp_path: Path,
) -> None:
    source = """
    extern int counter, data[64];
    __attribute__((noinline)) static void bump(int x) { FIX counter += x; }
    __attribute__((noinline)) void last(int x) { counter++; bump(x); counter--; }
    long run(void) { last(3); return counter; }
    """
    fix = '-DFIX=asm volatile("mov $7, %%eax; mov $8, %%edx" ::: "eax", "edx");'
    pre, post = (
        compile_object(tmp_path, source, "pre", "-O2", "-DFIX="),
        compile_object(tmp_path, source, "post", "-O2", fix),
    )
    right, mixed = run_mixed(tmp_path, "bump")
    assert right == mixed
    assert violations(pre, post, frozenset({"bump"}), frozenset()) == ()


def test_a_unit_of_two_hundred_functions_is_checked_within_its_budget(tmp_path: Path) -> None:
    body = "".join(
        f"__attribute__((noinline)) static long f{n}(long a, long b) {{ for (int i = 0; i < a; i++) b += data[(a ^ "
        f"i) & 63] * {n}; data[{n % 64}] = b; return {'a' if n == 0 else f'f{n - 1}(b, a) + a'}; }}\n"
        f"long g{n}(long a, long b, long c) {{ return f{n}(a, b) * c; }}\n"
        for n in range(100)
    )
    source = "extern int data[64];\n" + body
    pre = compile_object(tmp_path, source, "pre", "-O2")
    post = compile_object(tmp_path, source.replace("^ i", "^ i ^ b"), "post", "-O2")
    start = time.process_time()
    violations(pre, post, frozenset({"f40", "f41", "f42"}), frozenset())
    assert time.process_time() - start < 0.6


STAYING = """
static volatile long turns, seen;
__attribute__((noinline)) static long check(long x) { if (x > 100) return -1; seen += x; return x + 5; }
__attribute__((noinline)) static void serve(long x) { for (;;) { long a = turns * 7; turns = check(a) + a * x; } }
long f(long x) { if (x > 77) serve(x); return check(x); }
"""
MANY = 'if (x > 64) __asm__ volatile("" ::: "rcx", "rsi", "rdi", "r8", "r9", "r10", "r11");'


def test_a_replaced_caller_counts_where_its_old_frames_go_on(tmp_path: Path) -> None:
    pre = compile_object(tmp_path, STAYING, "pre", "-O2")
    post = compile_object(tmp_path, STAYING.replace("if (x > 100)", MANY + " if (x > 90)"), "post", "-O2")
    both = frozenset({"check", "serve"})
    assert violations(pre, post, both, frozenset()) == ()
    found = violations(pre, post, both, frozenset(), old_frames=True)
    assert {(v.caller, v.callee, v.world) for v in found} == {("serve", "check", World.PRE)}
    # nothing leads old code to the new code of one that is not diverted
    assert violations(pre, post, frozenset({"serve"}), frozenset(), frozenset({"check"}), old_frames=True) == ()
    assert violations(pre, pre, both, frozenset(), old_frames=True) == ()


RECURSIVE = """
extern int usleep(unsigned);
static volatile long turns;
__attribute__((noinline)) static long walk(long x)
{
  long a = turns * 7;
  if (x > 0) a += walk(x - 1) * 3;
  turns = a;
  return a + x;
}
long f(long x) { return walk(x) + 2; }
"""


def test_an_old_frame_that_calls_itself_calls_the_new_code(tmp_path: Path) -> None:
    """The old code calls nothing else, so gcc lets it call itself with a stack at 8 of 16 bytes; what usleep needs is
    16. The call has no relocation, since it stays in its section."""
    pre = compile_object(tmp_path, RECURSIVE, "pre", "-O2", "-fno-optimize-sibling-calls")
    post = RECURSIVE.replace("if (x > 0)", "if (x > 99) usleep(3); if (x > 0)")
    fixed = compile_object(tmp_path, post, "post", "-O2", "-fno-optimize-sibling-calls")
    both = frozenset({"walk", "f"})
    assert violations(pre, fixed, both, frozenset()) == ()
    found = violations(pre, fixed, both, frozenset(), old_frames=True)
    assert ("walk", "walk", ()) in {(v.caller, v.callee, v.registers) for v in found}
    (row,) = (v for v in found if v.caller == "walk")
    section = pre.section(row.section)
    assert section is not None and pre.bytes_of(section)[row.offset - 1] == 0xE8
    assert violations(pre, pre, both, frozenset(), old_frames=True) == ()


def test_the_result_register_counts_like_any_other_where_the_old_callee_leaves_it_alone(tmp_path: Path) -> None:
    source = """
    extern int counter, data[64];
    __attribute__((noinline)) static void bump(int x) { FIX counter += x; }
    __attribute__((noinline)) long work(long a) { long r;
      asm volatile("lea (%1,%1,2), %0" : "=r"(r) : "r"(a)); bump((int)a); return r; }
    long run(void) { return work(5); }
    """
    fix = '-DFIX=asm volatile("mov $7, %%eax" ::: "eax");'
    pre = compile_object(tmp_path, source, "pre", "-O2", "-DFIX=")
    post = compile_object(tmp_path, source, "post", "-O2", fix)
    assert run_mixed(tmp_path, "bump") == ("15\n", "7\n"), "gcc no longer keeps the sum in rax; make another example"
    found = violations(pre, post, frozenset({"bump"}), frozenset())
    assert [(v.caller, v.callee, v.registers) for v in found] == [("work", "bump", ("rax",))]


def test_what_a_function_at_the_end_is_given_is_relied_on_until_the_jump_to_it(tmp_path: Path) -> None:
    source = TRAP.replace(
        "return a + b * 3 + c * 5 + d * 7; }",
        "return outside(a, b, c, d); }\n"
        "__attribute__((noinline)) long outside(long a, long b, long c, long d) { return a + b * 3 + c * 5 + d * 7; }",
    ).replace("static __attribute__", "long outside(long, long, long, long);\nstatic __attribute__", 1)
    flags = ("-O2", "-fno-ipa-icf", "-fno-inline")
    pre, post = (
        compile_object(tmp_path, source, "pre", *flags),
        compile_object(tmp_path, source, "post", *flags, "-DFIX"),
    )
    right, wrong = run_mixed(tmp_path, "touch")
    assert right.strip() == str(41 + 2 * 3 + 3 * 5 + 4 * 7) and wrong != right
    found = violations(pre, post, frozenset({"touch"}), frozenset())
    assert [(v.caller, v.callee) for v in found] == [("work", "touch")] and "rcx" in found[0].registers


def test_new_code_that_uses_vectors_needs_a_stack_that_old_frames_did_not_align(tmp_path: Path) -> None:
    """It calls nothing; a value of sixteen bytes is stored at an aligned place of its frame."""
    flags = ("-O2", "-fno-optimize-sibling-calls")
    pre = compile_object(tmp_path, RECURSIVE, "pre", *flags)
    vectors = 'if (x > 99) { __asm__ volatile("pxor %%xmm1, %%xmm1" ::: "xmm1"); } if (x > 0)'
    fixed = compile_object(tmp_path, RECURSIVE.replace("if (x > 0)", vectors), "post", *flags)
    found = violations(pre, fixed, frozenset({"walk", "f"}), frozenset(), old_frames=True)
    assert ("walk", "walk", ()) in {(v.caller, v.callee, v.registers) for v in found}
    scalar = compile_object(tmp_path, RECURSIVE.replace("if (x > 0)", "if (x > 9) turns++; if (x > 0)"), "post", *flags)
    found = violations(pre, scalar, frozenset({"walk", "f"}), frozenset(), old_frames=True)
    assert () not in {v.registers for v in found}
