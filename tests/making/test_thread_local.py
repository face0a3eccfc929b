"""Thread-local variables in new code: the slot of the running code, in every model that the compiler and linker
choose."""

from __future__ import annotations

from typing import Any

import pytest

SOURCE = """
#include <string.h>
static __thread long calls = 5;
static __thread long zeroed;
__thread long shown = 40;
__thread char room[64] = "abc";
__attribute__((visibility("hidden"))) __thread long hidden = 8;
long count(long x) { calls += x; return calls; }
long mixed(long x) { zeroed += x; shown++; return zeroed + shown + calls; }
long name(long x) { room[0]++; return room[x]; }
long deep(long x) { hidden += x; return hidden; }
long pair(long x) { calls += x; zeroed += calls; return zeroed; }
"""
FIXED = (
    SOURCE.replace("return calls; }", "return calls * 10; }").replace("zeroed + shown + calls",
    "zeroed + shown * 2 + calls")
    .replace("room[0]++", "room[0] += 2").replace("return hidden", "return hidden + 1000")
)  # fmt: skip
CASES = [
    ("library", ()), ("library", ("-ftls-model=initial-exec",)), ("library", ("-fno-plt",)),
    ("pie", ()), ("pie", ("-fPIC",)), ("pie", ("-fPIC", "-fno-plt")), ("pie", ("-fPIC", "-ftls-model=local-dynamic")),
    ("pie", ("-ftls-model=initial-exec",)), ("fixed", ()), ("fixed", ("-fPIC",)), ("fixed", ("-fPIC", "-O3")),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "cflags"), CASES, ids=lambda v: v if isinstance(v, str) else "".join(v))
def test_new_code_uses_the_threads_own_variables(package: Any, shape: str, cflags: tuple[str, ...]) -> None:
    made = package(SOURCE, FIXED, "count mixed name deep pair", shape, cflags)
    patch = made.patch()
    target = made.start()
    assert [target.ask("count", 2), target.ask("mixed", 1), target.ask("name", 0), target.ask("deep", 1)] == [
        7,
        49,
        98,
        9,
    ]
    target.apply(patch)
    assert [target.ask("count", 2), target.ask("mixed", 1), target.ask("name", 0), target.ask("deep", 1)] == [
        90,
        2 + 84 + 9,
        100,
        1010,
    ]
    assert target.ask("pair", 1) == 12
    target.revert(patch)
    assert [target.ask("count", 0), target.ask("mixed", 0), target.ask("name", 1), target.ask("deep", 0)] == [
        10,
        12 + 43 + 10,
        98,
        10,
    ]


def test_a_thread_local_variable_is_renumbered_and_stays_itself(package: Any) -> None:
    source = (
        "long f(long x) { static __thread long n = 3; n += x; return n; }\n"
        "long g(long x) { static __thread long n = 50; n -= x; return n; }\n"
    )
    made = package(source, ("return n; }\nlong g", "return n * 2; }\nlong g"), "f g")
    target = made.start()
    assert target.ask("f", 1) == 4
    target.apply(made.patch())
    assert target.ask("f", 1) == 10 and target.ask("g", 1) == 49


@pytest.mark.parametrize("shape", ["library", "pie"])
def test_a_new_thread_local_variable_is_refused(package: Any, shape: str) -> None:
    source = (
        "long f(long x) { long r = x; for (long n = 1; n < x; n++) r = r * 31 + (r >> 3) + n * 5 - 77; return r; }\n"
    )
    built = package(source, ("long r = x;", "static __thread long r; r += x;"), "f", shape).build()
    assert built.data is None and "thread-local" in built.refused[0].reason


def test_a_changed_initial_value_of_a_thread_local_variable_is_refused(package: Any) -> None:
    built = package(SOURCE, ("calls = 5", "calls = 6"), "count").build()
    assert built.data is None and "calls" in {r.function for r in built.refused}
