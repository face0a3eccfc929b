"""What switches together, what stands alone, and what one refusal takes with it."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from suture.patch.file import parse_patch
from suture.process.change.apply import apply
from suture.process.error import Busy

APART = {"apart": ("the functions have nothing to do with one another",)}
UNITS = {
    "a.c": """
long b_step(long);
__attribute__((noinline)) static long same_name(long x) { long r = 0; for (int n = 0; n < 4; n++) r = r * 5 + x;
    return r; }
long a_entry(long x) { return same_name(x) + b_step(x); }
long alone(long x) { return x * 7 + 1; }
""",
    "b.c": """
static long memory = 2;
__attribute__((noinline)) static long same_name(long x) { long r = 9; for (int n = 0; n < 3;
    n++) r = r * 4 - x + memory; return r; }
long b_step(long x) { return same_name(x) - 1; }
long apart(long x) { return x * 9 + memory; }
""",
}


def same_a(x: int, k: int = 5) -> int:
    r = 0
    for _ in range(4):
        r = r * k + x
    return r


def same_b(x: int, k: int = 4) -> int:
    r = 9
    for _ in range(3):
        r = r * k - x + 2
    return r


def test_static_functions_of_one_name_in_two_units_are_both_replaced(package: Any) -> None:
    fix = {"a.c": UNITS["a.c"].replace("r * 5", "r * 6"), "b.c": UNITS["b.c"].replace("r * 4", "r * 3")}
    made = package(UNITS, fix, "a_entry b_step")
    patch = made.patch()
    assert [f.name for f in patch.manifest.functions] == ["same_name", "same_name"]
    target = made.start()
    assert target.ask("a_entry", 3) == same_a(3) + same_b(3) - 1
    target.apply(patch)
    assert target.ask("a_entry", 3) == same_a(3, 6) + same_b(3, 3) - 1
    assert target.ask("b_step", 4) == same_b(4, 3) - 1
    target.revert(patch)
    assert target.ask("a_entry", 3) == same_a(3) + same_b(3) - 1


def test_functions_that_call_one_another_across_units_switch_together_and_others_alone(package: Any) -> None:
    fix = {
        "a.c": UNITS["a.c"].replace("+ b_step(x)", "+ b_step(x + 1)").replace("* 7", "* 8"),
        "b.c": UNITS["b.c"].replace("- 1;", "- 2;").replace("* 9", "* 10"),
    }
    made = package(UNITS, fix, "a_entry b_step alone apart")
    made.request = APART
    patch = made.patch()
    groups = sorted(sorted(f.name for f in g.functions) for g in patch.manifest.groups)
    assert groups == [["a_entry", "b_step"], ["alone"], ["apart"]]


def test_one_refused_function_refuses_its_group_and_no_other(package: Any) -> None:
    source = {
        "a.c": "long low(long);\nlong top(long x) { return low(x) + 1; }\nlong apart(long x) { return x * 3; }\n",
        "b.c": "static __thread long t;\nlong low(long x) { t += x; return t; }\n",
    }
    fix = {
        "a.c": source["a.c"].replace("low(x) + 1", "low(x) + 2").replace("x * 3", "x * 4"),
        "b.c": "static __thread long t, u;\nlong low(long x) { t += x; u -= x; return t + u; }\n",
    }
    made = package(source, fix, "top apart")
    built = made.build()
    assert built.data is not None
    assert {f.name for f in built.manifest.functions} == {"apart"}
    assert {r.function for r in built.refused} == {"top", "low"}
    assert not built.manifest.verdict.safe
    target = made.start()
    target.apply(parse_patch(built.data, "p"))
    assert target.ask("apart", 5) == 20 and target.ask("top", 5) == 6


def test_a_new_global_function_of_another_unit_is_called_inside_the_patch(package: Any) -> None:
    source = {
        "a.c": "long a(long x) { return x + 1; }\nlong keep(long x) { return x; }\n",
        "b.c": "long b(long x) { return x * 2; }\n",
    }
    fix = {
        "a.c": (
            "long helper(long, long);\nextern long (*const hook)(long);\n"
            "long a(long x) { return helper(x, 5) + hook(x); }\nlong keep(long x) { return x; }\n"
        ),
        "b.c": """
static long seen;
static long added(long x) { return x * 1000; }
long (*const hook)(long) = added;
long helper(long x, long y) { seen++; return x * y + seen * 100000; }
long b(long x) { return helper(x, 3); }
""",
    }
    made = package(source, fix, "a keep b")
    patch = made.patch()
    assert {f.name for f in patch.manifest.functions} == {"a", "b"} and len(patch.manifest.groups) == 1
    target = made.start()
    target.apply(patch)
    assert target.ask("a", 2) == 10 + 100000 + 2000
    assert target.ask("b", 2) == 6 + 200000
    target.revert(patch)
    assert target.ask("a", 2) == 3


def test_a_hidden_function_that_the_unit_did_not_use_before_is_found_in_the_unit_that_defines_it(package: Any) -> None:
    source = {
        "a.c": "long a(long x) { return x + 1; }\n",
        "b.c": """
long table[8] __attribute__((visibility("hidden"))) = {5, 6, 7};
__attribute__((visibility("hidden"))) long check(long x) { long r = 1; for (long n = 0; n < x;
    n++) r = r * 2 + table[n & 3]; return r; }
long b(long x) { return check(x) + table[1]; }
""",
    }
    fix = {
        "a.c": """
extern long table[8] __attribute__((visibility("hidden")));
__attribute__((visibility("hidden"))) long check(long x);
long a(long x) { return check(x) * 100 + table[2]; }
"""
    }
    made = package(source, fix, "a b")
    patch = made.patch()
    nm = made.symbols()
    assert patch.manifest.symbols["check"].address == nm["check"][0]
    assert patch.manifest.symbols["table"].address == nm["table"][0]
    target = made.start()
    target.apply(patch)
    assert target.ask("a", 2) == 2007
    assert target.ask("b", 2) == 20 + 6


def test_a_function_that_no_unit_provably_defines_is_refused(package: Any) -> None:
    source = {"a.c": "long a(long x) { return x + 1; }\n"}
    fix = {"a.c": '__attribute__((visibility("hidden"))) long missing(long);\nlong a(long x) { return missing(x); }\n'}
    made = package(source, fix, "a")
    built = made.build()
    assert built.data is None or "missing" not in built.manifest.symbols


def test_a_store_that_nothing_new_reads_is_made_all_the_same_for_old_code_that_still_runs(package: Any) -> None:
    """After the fix nothing reads `room`, and the compiler would leave out that `enter` fills it; old code of `work`
    would find nothing there. Its storage is kept, so `enter` does not change."""
    source = {
        "a.c": """
static long *room;
__attribute__((noinline)) static void count(void) { *room += 1; }
__attribute__((noinline)) long work(long x) { count(); return x + 1; }
long enter(long x) { static long n; room = &n; long r = x + 5; __asm__ volatile("" ::: "memory"); room = 0; return r; }
long apart(long x) { return x * 3; }
"""
    }
    fix = {"a.c": source["a.c"].replace("count(); return x + 1", "return x + 2").replace("x * 3", "x * 4")}
    made = package(source, fix, "work enter apart")
    made.request = APART
    patch = made.patch()
    groups = sorted(sorted(f.name for f in g.functions) for g in patch.manifest.groups)
    assert groups == [["apart"], ["work"]]


MOVED = {
    "serve.c": """
#include <stdlib.h>
#include <string.h>
void middle(char *);
long serve(long x) { char *j = malloc(2000); memset(j, 0, 2000); j[1] = x; middle(j); free(j); return x + 1; }
""",
    "middle.c": """
#include <signal.h>
#include <unistd.h>
void use(char *);
void (*volatile hook)(char *) = use;
void middle(char *j) { if (j[1] == 9) kill(getpid(), SIGSTOP); hook(j); }
""",
    "use.c": """
#include <stdlib.h>
long used;
void use(char *j) { used += j[1]; }
long count(long x) { return used + x; }
""",
}
MOVES = {
    "serve.c": MOVED["serve.c"].replace("free(j); return x + 1", "return x + 2"),
    "use.c": MOVED["use.c"].replace("used += j[1];", "used += j[1]; free(j);"),
}


def test_functions_of_one_fix_switch_together_though_nothing_joins_them(package: Any) -> None:
    """The fix moves free() from one to the other: a call that begins in old code and goes on in new code would free
    twice."""
    made = package(MOVED, MOVES, "serve count")
    patch = made.patch()
    assert [{f.name for f in g.functions} for g in patch.manifest.groups] == [{"serve", "use"}]
    target = made.start()
    pid = target.process.pid
    target.process.stdin.write(b"serve 9\n")
    target.process.stdin.flush()
    assert os.waitid(os.P_PID, pid, os.WSTOPPED) is not None
    with pytest.raises(Busy):
        apply(pid, patch, timeout=0.3)
    os.kill(pid, signal.SIGCONT)
    assert target.read("serve") == 10
    assert (target.ask("serve", 4), target.ask("count")) == (5, 13)
    target.apply(patch)
    assert (target.ask("serve", 4), target.ask("count")) == (6, 17)


def test_with_a_reason_functions_of_one_fix_switch_apart_and_the_reason_is_kept(package: Any) -> None:
    made = package(MOVED, MOVES, "serve count")
    made.request = APART
    manifest = made.patch().manifest
    assert sorted(g.name for g in manifest.groups) == ["serve", "use"]
    assert manifest.request["apart"] == APART["apart"]
    assert any(APART["apart"][0] in n for n in manifest.verdict.notes)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([{"alone"}, {"apart"}], [["alone"], ["apart"]]),
        ([{"alone", "apart"}, set()], [["alone", "apart"]]),
        ([{"alone"}, set()], [["alone", "apart"]]),  # nobody can tell whose apart is
    ],
)
def test_groups_of_several_fixes_stand_alone_where_no_fix_has_functions_in_both(
    package: Any, members: Any, expected: Any
) -> None:
    fix = {"a.c": UNITS["a.c"].replace("* 7", "* 8"), "b.c": UNITS["b.c"].replace("* 9", "* 10")}
    made = package(UNITS, fix, "a_entry b_step alone apart")
    objects = {"alone": "a.c.o", "apart": "b.c.o"}
    made.members = [frozenset((objects[n], n) for n in one) for one in members]
    assert [sorted(f.name for f in g.functions) for g in made.patch().manifest.groups] == expected
