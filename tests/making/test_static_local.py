"""Static locals and other names that the compiler numbers: state keeps its address, constants are fresh or the same."""

from __future__ import annotations

from typing import Any

COUNT = """
#include <string.h>
long count(long x) { static long calls = 3; calls += x; return calls; }
long other(long x) { static long calls = 70; calls -= x; return calls; }
"""


def test_a_static_local_keeps_its_value_when_a_new_one_before_it_takes_its_number(package: Any) -> None:
    fixed = COUNT.replace(
        "long count(", "long added(long x) { static long calls = 500; calls++; return calls + x; }\nlong count("
    ).replace("return calls; }\nlong other", "return calls * 10 + added(0) * 0; }\nlong other")
    made = package(COUNT, fixed.replace("return calls; }\n", "return calls + 0 * added(1); }\n"), "count other")
    pre, post = (made.atoms(s, "a.c") for s in ("pre", "post"))
    numbered = [{n.label for n in side.atoms.values() if n.label.startswith("calls.")} for side in (pre, post)]
    assert numbered[0] < numbered[1]  # the old names mean other variables now
    patch = made.patch()
    target = made.start()
    assert target.ask("count", 2) == 5 and target.ask("other", 1) == 69
    target.apply(patch)
    assert target.ask("count", 1) == 60
    assert target.ask("other", 1) == 68
    target.revert(patch)
    assert target.ask("count", 1) == 7


def test_a_new_static_variable_starts_with_its_value_and_keeps_its_state(package: Any) -> None:
    source = "long f(long x) { return x + 1; }\n"
    fixed = """
static long given = 41;
static long zeroed[600];
long f(long x) { static long kept = 7; given++; zeroed[x] += 2; return given * 10000 + zeroed[x] * 100 + kept++; }
"""
    made = package(source, fixed, "f")
    patch = made.patch()
    assert {s.name for s in patch.sections} >= {".data", ".bss"}
    target = made.start()
    target.apply(patch)
    assert [target.ask("f", 5) for _ in range(3)] == [420207, 430408, 440609]
    target.revert(patch)
    assert target.ask("f", 5) == 6


def test_two_statics_of_one_name_in_one_function_that_cannot_be_told_apart_are_refused(package: Any) -> None:
    source = """
long f(long x) { if (x > 5) { static long n; n += x; return n; } else { static long n; n -= x; return n; } }
"""
    fixed = """
long f(long x) { if (x > 5) { static long n; n += x; return n; } else if (x > 2) { static long n; n -= 2; return n; }
  else { static long n; n -= x; return n; } }
"""
    built = package(source, fixed, "f").build()
    assert built.data is None
    assert "can't be told apart" in built.refused[0].reason


def test_a_static_of_another_function_is_not_taken_for_the_one_that_went(package: Any) -> None:
    source = """
long f(long x) { static long n = 100; n += x; return n; }
long g(long x) { return x; }
"""
    fixed = """
long f(long x) { return x + 1; }
long g(long x) { static long n = 100; n += x; return n; }
"""
    made = package(source, fixed, "f g")
    built = made.build()
    target = made.start()
    target.ask("f", 5)
    from suture.patch.file import parse_patch

    assert built.data is not None and {r.function for r in built.refused} == {"g"}
    target.apply(parse_patch(built.data, "p"))
    assert target.ask("g", 1) == 1 and target.ask("f", 1) == 2


NAMES = """
#include <stdio.h>
#include <string.h>
static long length(const char *s) { return strlen(s); }
long before(long x) { return length(__func__) * 100 + x; }
long long_named_function(long x) { return length(__func__) * 100 + x; }
long state(long x) {
  switch (x) { case 1: return 10; case 2: return 400; case 3: return 22; case 4: return 93; case 5: return 1234;
      case 6: return 77; }
  return -1;
}
"""


def test_func_and_cswtch_are_the_functions_own(package: Any) -> None:
    fixed = (
        NAMES.replace(
            "long before(",
            "long inserted(long x) { switch (x) { case 1: return 5; case 2: return 9; case 3: return 1; case 4: "
            "return 8; case 5: return 3; } return length(__func__); }\nlong before(",
        )
        .replace("case 3: return 22", "case 3: return 23")
        .replace("* 100 + x; }\nlong state", "* 100 + x + inserted(x); }\nlong state")
    )
    made = package(NAMES, fixed, "before long_named_function state")
    patch = made.patch()
    assert {f.name for f in patch.manifest.functions} == {"long_named_function", "state"}
    target = made.start()
    target.apply(patch)
    assert target.ask("before", 1) == 601
    assert target.ask("long_named_function", 1) == 1906
    assert target.ask("long_named_function", 50) == 1958
    assert [target.ask("state", n) for n in range(8)] == [-1, 10, 400, 23, 93, 1234, 77, -1]
