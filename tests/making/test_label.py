"""Functions whose inside has addresses, large frames, variable arguments, long jumps."""

from __future__ import annotations

from typing import Any

import pytest

GOTO = """
static long steps;
long machine(long x) {
  static const void *const labels[] = {&&add, &&twice, &&minus, &&end};
  long r = x, at = 0;
  goto *labels[(x + at++) & 3];
add: r += 10; steps++; goto *labels[(x + at++) & 3];
twice: r *= 2; steps++; goto *labels[(x + at++) & 3];
minus: r -= 3; steps++; goto *labels[(x + at++) & 3];
end: return r * 1000 + steps;
}
long other(long x) { return steps + x; }
"""


def machine(x: int, minus: int = 3) -> int:
    r, at, steps = x, 0, 0
    while True:
        where = (x + at) & 3
        at += 1
        if where == 3:
            return r * 1000 + steps
        r = (r + 10, r * 2, r - minus)[where]
        steps += 1


@pytest.mark.parametrize("shape", ["library", "pie", "fixed"])
def test_labels_whose_addresses_are_taken_are_those_of_the_new_function(package: Any, shape: str) -> None:
    # the constant has the same width, so that the table of labels holds the same offsets before and after
    made = package(GOTO, ("r -= 3", "r -= 4"), "machine other", shape)
    patch = made.patch()
    target = made.start()
    assert target.ask("machine", 0) == machine(0)
    target.apply(patch)
    assert target.ask("machine", 0) == machine(0, 4) + 3
    assert target.ask("other", 0) == 6
    longer = package(GOTO, ("r -= 3;", "r -= 4; steps += r & 1; r ^= 0x5555555;"), "machine other", shape)
    longer.patch()


def test_a_writable_table_of_labels_in_a_changed_function_is_refused(package: Any) -> None:
    source = """
long f(long x) {
  static void *labels[2];
  static void *again[] = {&&one, &&two};
  labels[0] = again[0]; again[1] = labels[0]; if (x & 2) again[0] = 0;
  goto *again[x & 1];
one: return x + 1;
two: return x + 2;
}
"""
    built = package(source, ("x + 1;", "x + 100;"), "f").build()
    assert built.data is None and "labels" in built.refused[0].reason


MANY = """
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
static jmp_buf place;
static long sum(int n, ...) { va_list a; va_start(a, n); long r = 0; while (n--) r += va_arg(a, long); va_end(a);
    return r; }
__attribute__((noinline)) static long deep(long x) { if (x > 3) longjmp(place, 7); return x; }
long jumps(long x) { volatile long v = x; int r = setjmp(place); if (r) return r * 100 + v; return deep(x) + 1; }
long varied(long x) { return sum(3, x, x * 2, 4L) + sum(1, x); }
double half(double x) { return x * 0.5; }
long floats(long x) { char b[40]; snprintf(b, sizeof b, "%.2f %.1f", half(x), x * 1.25); return strlen(b) + b[0]; }
long frame(long x) { char b[70000]; memset(b, x, sizeof b); for (int n = 0; n < 70000; n += 4096) b[n] ^= 3;
    return b[100] + b[4096] + b[69999]; }
"""


def test_variable_arguments_long_jumps_floats_and_large_frames_work_in_new_code(package: Any) -> None:
    fixed = (
        MANY.replace("r * 100 + v", "r * 200 + v").replace("longjmp(place, 7)",
        "longjmp(place, 8)").replace("4L)", "5L)")
        .replace("x * 0.5", "x * 0.25").replace("x * 1.25",
        "x * 1.75").replace("b[n] ^= 3", "b[n] ^= 1").replace("r += va_arg", "r += 1 + va_arg")
    )  # fmt: skip
    made = package(MANY, fixed, "jumps varied floats frame")
    patch = made.patch()
    target = made.start()
    assert [target.ask("jumps", 5), target.ask("jumps", 1), target.ask("varied", 2), target.ask("frame", 8)] == [
        705,
        2,
        12,
        27,
    ]
    target.apply(patch)
    assert [target.ask("jumps", 5), target.ask("jumps", 1), target.ask("varied", 2), target.ask("frame", 8)] == [
        1605,
        2,
        17,
        25,
    ]
    assert target.ask("floats", 8) == len("2.00 14.0") + ord("2")
    target.revert(patch)
    assert [target.ask("jumps", 5), target.ask("varied", 2), target.ask("floats", 8)] == [
        705,
        12,
        len("4.00 10.0") + ord("4"),
    ]
