"""What a running process has stored in a static that the compiler would make constant, or leave out, in new code."""

from __future__ import annotations

from typing import Any

import pytest

SETTINGS = """
#include <stdlib.h>
static long limit = 10;
static long table[4] = {1, 2, 3, 4};
static __thread long mine = 5;
long set_limit(long x) { limit = x; return x; }
long set_table(long x) { table[x & 3] = x * 10; return x; }
long set_mine(long x) { mine = x; return x; }
long calls(long x) { static long n = 100; if (x) n = x; return n; }
long get(long x) { return limit; }
long both(long x) { return labs(x) + limit * 1000 + table[x & 3] * 10 + mine; }
"""
CALLS = "set_limit set_table set_mine calls get both"
FIXED = (
    SETTINGS.replace("limit = x; return x;", "return -1;")
    .replace("table[x & 3] = x * 10; return x;", "return -2;")
    .replace("mine = x; return x;", "return -3;")
    .replace("if (x) n = x; return n;", "return n;")
    .replace("labs(x) +", "labs(x) * 2 +")
)


@pytest.mark.parametrize("relaxed", [False, True])
@pytest.mark.parametrize("shape", ["library", "pie"])
def test_new_code_reads_what_old_code_has_stored_where_nothing_writes_it_any_more(
    package: Any, shape: str, relaxed: bool
) -> None:
    made = package(SETTINGS, FIXED, CALLS, shape)
    folds = {a.label.split(".")[0] for a in made.atoms("pre", "a.c").atoms.values()}
    assert {"limit", "table", "mine"} <= folds
    left = {a.label for a in made.atoms("post", "a.c").atoms.values() if a.section.name.startswith((".data", ".bss"))}
    assert not left & {"limit", "table"}  # else the compiler makes nothing constant here
    if relaxed:
        made.request = {"relaxed": ("adds a check",)}
    patch = made.patch()
    assert {f.name for f in patch.manifest.functions} == {"set_limit", "set_table", "set_mine", "calls", "both"}
    target = made.start()
    for name, value in (("set_limit", 20), ("set_table", 1), ("set_mine", 7), ("calls", 300)):
        target.ask(name, value)
    assert target.ask("both", 1) == 20108 and target.ask("calls") == 300
    target.apply(patch)
    assert target.ask("both", 1) == 20109 and target.ask("get") == 20 and target.ask("calls", 5) == 300
    assert [target.ask(n, 3) for n in ("set_limit", "set_table", "set_mine")] == [-1, -2, -3]
    target.revert(patch)
    assert target.ask("both", 1) == 20108


def test_what_new_code_stores_and_never_reads_is_there_for_old_code_after_a_revert(package: Any) -> None:
    source = "static long seen;\nlong hit(long x) { seen = x; return x; }\nlong last(long x) { return seen + x; }\n"
    made = package(
        source,
        source.replace("return seen + x", "return x * 3").replace("return x; }", "return x + 1; }", 1),
        "hit last",
    )
    patch = made.patch()
    target = made.start()
    target.ask("hit", 4)
    target.apply(patch)
    assert target.ask("hit", 9) == 10 and target.ask("last", 1) == 3
    target.revert(patch)
    assert target.ask("last", 1) == 10


def test_a_variable_in_which_running_code_leaves_out_what_its_source_stores_is_refused(package: Any) -> None:
    source = "static long ready;\nlong start(long x) { ready = x; return x; }\nlong work(long x) { return x * 3; }\n"
    made = package(source, source.replace("return x * 3", "if (!ready) return -1; return x * 3"), "start work")
    (row,) = (r for r in made.refused() if r.function == "work")
    assert "ready" in row.reason and "stores nothing" in row.reason and row.line == 3


def test_one_that_old_code_only_reads_is_new_to_the_process_and_has_the_value_that_old_code_knows(package: Any) -> None:
    source = "static long level = 7;\nlong set(long x) { return -x; }\nlong get(long x) { return level + x; }\n"
    made = package(source, source.replace("return -x", "level = x; return -x"), "set get")
    patch = made.patch()
    target = made.start()
    target.apply(patch)
    assert target.ask("get", 1) == 8 and target.ask("set", 30) == -30 and target.ask("get", 1) == 31


def test_a_new_static_local_is_not_taken_for_one_of_its_name_that_nothing_writes_any_more(package: Any) -> None:
    source = """
long f(long x) { static long n = 4; if (x) n = x; return n; }
"""
    fixed = """
long f(long x) { static long n = 4; if (x > 100) { static long n = 70; n += x; return n; } return n; }
"""
    made = package(source, fixed, "f")
    patch = made.patch()
    target = made.start()
    target.ask("f", 50)
    target.apply(patch)
    assert [target.ask("f", n) for n in (0, 101, 0)] == [50, 171, 50]


PARTS = """
#include <string.h>
static long twice(long x) { return x * 2; }
static long thrice(long x) { return x * 3; }
static long (*chosen)(long) = twice;
static struct { long low, high; char name[8]; } range = {1, 9, "old"};
static struct ops { long (*call)(long); long add; } ops = {twice, 100};
static long counts[3] = {7, 8, 9};
long choose(long x) { chosen = x ? thrice : twice; return x; }
long set_range(long x) { range.low = x; range.high = x * 2; strcpy(range.name, "new"); return x; }
long set_ops(long x) { ops.call = thrice; ops.add = x; return x; }
long set_count(long x) { counts[1] = x; return x; }
long all(long x) {
  return chosen(x) + range.high * 100 + range.low + ops.call(x) + ops.add + counts[1] + (range.name[0] == 'n');
}
"""


@pytest.mark.parametrize("level", ["-O1", "-O2", "-O3", "-Os"])
def test_members_elements_and_pointers_to_functions_keep_what_the_process_has_stored(package: Any, level: str) -> None:
    fixed = (
        PARTS.replace("chosen = x ? thrice : twice; return x;", "return -1;")
        .replace('range.high = x * 2; strcpy(range.name, "new"); return x;', "return -2;")
        .replace("ops.call = thrice; ops.add = x; return x;", "return -3;")
        .replace("counts[1] = x; return x;", "return -4;")
        .replace("return chosen(x) +", "return 1000000 + chosen(x) +")
    )
    setters = ("choose", "set_range", "set_ops", "set_count")
    made = package(PARTS, fixed, " ".join([*setters, "all"]), cflags=(level, "-fno-inline-functions-called-once"))
    patch = made.patch()
    target = made.start()
    for name, value in zip(setters, (1, 50, 70, 80), strict=True):
        target.ask(name, value)
    before = target.ask("all", 4)
    assert before == 12 + 10000 + 50 + 12 + 70 + 80 + 1
    target.apply(patch)
    assert target.ask("all", 4) == before + 1000000
    assert [target.ask(n, 5) for n in setters] == [-1, -2, -3, -4]
    assert target.ask("all", 4) == before + 1000000 - 45  # range.low is still written
    target.revert(patch)
    assert target.ask("all", 4) == before - 45


def test_a_static_local_of_a_cxx_function_and_a_member_keep_what_they_hold(package: Any) -> None:
    source = {
        "a.cc": """
struct Level { static long &at() { static long value = 6; return value; } };
namespace { long hidden = 5; }
extern "C" long put(long x) { hidden = x; Level::at() = x; return x; }
extern "C" long get(long x) { static long calls = 1; calls += x; return hidden * 1000 + calls * 100 + Level::at(); }
"""
    }
    fixed = source["a.cc"].replace("hidden = x; Level", "Level").replace("calls += x;", "").replace("* 1000", "* 10000")
    made = package(source, {"a.cc": fixed}, "put get")
    patch = made.patch()
    target = made.start()
    target.ask("put", 3)
    assert target.ask("get", 2) == 3303
    target.apply(patch)
    assert target.ask("get", 2) == 30303
    target.ask("put", 4)
    assert target.ask("get", 2) == 30304
