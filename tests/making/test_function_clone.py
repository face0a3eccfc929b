"""Functions that the compiler splits, clones, inlines and gives several names."""

from __future__ import annotations

import os
import signal
from typing import Any

from suture.error import ExitCode
from suture.process.change.apply import apply
from suture.process.memory.placed import State

CLONED = """
#include <stdio.h>
#include <stdlib.h>
struct box { long a, b, c; };
static int state;
__attribute__((noinline)) static long sum(struct box *b, long k, int mode) {
  long r = 0;
  for (long n = 0; n < k; n++) r += b->a * n + b->b;
  if (mode) r += state;
  return r;
}
long first(long x) { struct box b = {x, 2, 3}; state++; return sum(&b, 5, 1); }
long second(long x) { struct box b = {x, 7, 3}; return sum(&b, 5, 1) + 1; }
long third(long x) { struct box b = {x, 9, 3}; return sum(&b, 5, 1) * 2; }
"""


def test_callers_of_a_clone_whose_convention_changes_are_replaced_with_it(package: Any) -> None:
    made = package(
        CLONED, CLONED.replace("r += b->a * n + b->b;", "r += b->a * n + b->b - b->c;"), "first second third"
    )
    patch = made.patch()
    target = made.start()
    assert [target.ask(f, 2) for f in ("first", "second", "third")] == [31, 57, 132]
    target.apply(patch)
    assert [target.ask(f, 2) for f in ("first", "second", "third")] == [17, 43, 104]
    target.revert(patch)
    assert [target.ask(f, 2) for f in ("first", "second", "third")] == [33, 59, 136]


SPLIT = """
#include <stdio.h>
#include <string.h>
static long total;
__attribute__((noinline)) static void log_it(long x) { char b[64]; snprintf(b, sizeof b, "%ld", x);
    total += strlen(b); }
static long work(long *p, long x) {
  log_it(x); log_it(x + 1); log_it(x * 3);
  for (int n = 0; n < 4; n++) { p[n] += x * n; log_it(p[n]); }
  return p[1] + p[2] + total;
}
long one(long x) { long p[4] = {1, 2, 3, 4}; return work(p, x); }
long two(long x) { long p[4] = {4, 3, 2, 1}; return work(p, x) + 5; }
"""


def test_an_added_early_return_that_splits_a_function_is_carried_into_its_callers(package: Any) -> None:
    fixed = SPLIT.replace("long x) {\n  log_it(x);", "long x) {\n  if (x < 0) return -1;\n  log_it(x);")
    assert fixed != SPLIT
    made = package(SPLIT, fixed, "one two")
    patch = made.patch()
    target = made.start()
    # total counts the digits that were logged
    before = target.ask("one", 5)
    assert before == 2 + 5 + 3 + 10 + total(5, [1, 2, 3, 4])
    target.apply(patch)
    assert target.ask("two", -3) == 4
    assert target.ask("one", -3) == -1
    assert target.ask("two", 5) == 3 + 5 + 2 + 10 + total(5, [1, 2, 3, 4]) + total(5, [4, 3, 2, 1]) + 5


def total(x: int, p: list[int]) -> int:
    return sum(len(str(v)) for v in (x, x + 1, x * 3, *(q + x * n for n, q in enumerate(p))))


COLD = """
#include <stdio.h>
#include <stdlib.h>
__attribute__((cold, noinline)) static long fail(const char *why, long x) { return why[0] * 1000 + x; }
long check(long x) {
  if (x > 100) { char b[100]; snprintf(b, sizeof b, "too large %ld", x); return fail(b, x) + fail("t", 1); }
  if (x < 0) { return fail("negative", x); }
  return x * 2;
}
"""


def test_a_cold_part_is_replaced_and_checked_with_its_function(package: Any) -> None:
    made = package(COLD, ("x > 100", "x > 50"), "check")
    patch = made.patch()
    assert {p.name for g in patch.manifest.groups for p in g.parts} == {"check.cold"}
    part = patch.manifest.groups[0].parts[0]
    nm = made.symbols()
    assert (part.address, part.size) == nm["check.cold"]
    target = made.start()
    assert target.ask("check", 70) == 140
    target.apply(patch)
    assert target.ask("check", 70) == ord("t") * 2000 + 71
    assert target.ask("check", -7) == ord("n") * 1000 - 7
    assert target.ask("check", 30) == 60


WAITS = """
#include <signal.h>
#include <unistd.h>
__attribute__((cold, noinline)) static long stop(long x) { if (x == 200) kill(getpid(), SIGSTOP); return x; }
long check(long x) {
  if (x > 100) { long r = stop(x); return stop(r + 1) * 2 + 1000 + getppid() * 0; }
  return x * 2;
}
long apart(long x) { return x + 1; }
"""


def test_a_thread_inside_the_old_cold_part_keeps_the_group_from_switching_and_no_other(package: Any) -> None:
    """It waits in the cold part: nothing on its stack lies in the part that gets the jump."""
    fixed = WAITS.replace("x * 2", "x * 3").replace("+ 1000", "+ 2000").replace("x + 1;", "x + 5;")
    made = package(WAITS, fixed, "check apart")
    made.request = {"apart": ("the functions have nothing to do with one another",)}
    patch = made.patch()
    assert {p.name for g in patch.manifest.groups for p in g.parts} == {"check.cold"}
    target = made.start()
    pid = target.process.pid
    target.process.stdin.write(b"check 200\n")
    target.process.stdin.flush()
    assert os.waitid(os.P_PID, pid, os.WSTOPPED) is not None
    result = apply(pid, patch, timeout=0.3)
    assert result.exit_code is ExitCode.PARTIAL
    assert {g.name: g.state for g in result.groups} == {"check": State.NEVER_APPLIED, "apart": State.APPLIED}
    os.kill(pid, signal.SIGCONT)
    assert target.read("check") == 201 * 2 + 1000
    assert (target.ask("check", 7), target.ask("apart", 7)) == (14, 12)
    target.apply(patch)
    assert target.ask("check", 7) == 21


def test_all_functions_that_inlined_a_changed_header_function_change_in_all_units(package: Any) -> None:
    header = "static inline long limit(long x) { return x > 100 ? 100 : x; }\n"
    files = {
        "limit.h": header,
        "a.c": '#include "limit.h"\nlong one(long x) { return limit(x) + 1; }\nlong same(long x) { return x ^ 5; }\n',
        "b.c": (
            '#include "limit.h"\nlong two(long x) { return limit(x * 2) + 2; }\n'
            "long three(long x) { return 3 - limit(x); }\n"
        ),
    }
    made = package(files, {"limit.h": header.replace("100", "50")}, "one two three same")
    made.request = {"apart": ("the functions have nothing to do with one another",)}
    patch = made.patch()
    assert {f.name for f in patch.manifest.functions} == {"one", "two", "three"}
    assert len(patch.manifest.groups) == 3
    target = made.start()
    target.apply(patch)
    assert [target.ask(f, 300) for f in ("one", "two", "three", "same")] == [51, 52, -47, 300 ^ 5]


ALIAS = """
long api(long x) { long r = 1; for (long n = 0; n < x; n++) r = r * 3 + n; return r; }
extern __typeof(api) api_internal __attribute__((alias("api"), visibility("hidden")));
extern __typeof(api) old_api __attribute__((alias("api")));
long user(long x) { return api_internal(x) + 1; }
"""


def test_a_function_with_several_names_is_cut_once_and_all_its_names_get_the_new_code(package: Any) -> None:
    made = package(ALIAS, ("r * 3 + n", "r * 2 + n"), "api old_api user")
    patch = made.patch()
    addresses = [f.address for f in patch.manifest.functions]
    assert len(addresses) == len(set(addresses))
    target = made.start()
    assert [target.ask(f, 3) for f in ("api", "old_api", "user")] == [32, 32, 33]
    target.apply(patch)
    assert [target.ask(f, 3) for f in ("api", "old_api", "user")] == [12, 12, 13]


SHORT = """
static long shown = 4;
__attribute__((noinline, noclone)) static void bump(void) { __asm__ volatile(""); }
__attribute__((noinline, noclone)) static long read_it(void) { return shown; }
long big(long x) { shown = x; bump(); long r = 0; for (int n = 0; n < 3; n++) r += read_it() * n; return r; }
"""


def test_a_function_too_short_to_divert_goes_in_when_all_its_callers_are_replaced(package: Any) -> None:
    fixed = SHORT.replace('volatile("")', 'volatile("incq %0" : "+m"(shown))').replace("x; bump", "x + 1; bump")
    made = package(SHORT, fixed, "big")
    assert made.symbols()["bump"][1] < 5
    patch = made.patch()
    assert {f.name for f in patch.manifest.functions} == {"big"}
    assert [p.name for p in patch.manifest.groups[0].parts] == ["bump"]
    target = made.start()
    assert target.ask("big", 10) == 30
    target.apply(patch)
    assert target.ask("big", 10) == 36


def test_a_short_function_that_others_still_call_is_refused(package: Any) -> None:
    source = """
long shown = 4;
__attribute__((noinline, noclone)) static void bump(void) { __asm__ volatile(""); }
long a(long x) { bump(); return shown + x; }
long b(long x) { bump(); return shown - x; }
"""
    made = package(source, ('volatile("")', 'volatile("nop; nop; nop; nop; nop; nop")'), "a b")
    built = made.build()
    assert built.data is None
    assert {r.function for r in built.refused} == {"bump"} and "too short" in built.refused[0].reason
