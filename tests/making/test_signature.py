"""A function may take other arguments when all that calls it in the running binary switches with it, and not
otherwise."""

from __future__ import annotations

from typing import Any

import pytest

PADDING = (
    "long padding%d(long x) { long r = x; for (long n = 1; n < x; n++) r = r * 31 + (r >> %d) + n * 5 - 77; return "
    "r; }\n"
)
CALLED = (
    '__attribute__((visibility("hidden"))) long called(long x%s) { long r = 7; for (long n = 0; n < x; n++) r = r * '
    "3 + n%s; return r; }\n"
)
CALLER = "long called(long%s); long %s(long x) { return called(x%s) + 1; }\n"
BEFORE = {
    "a.c": CALLED % ("", "") + PADDING % (1, 1),
    "b.c": CALLER % ("", "first", "") + PADDING % (2, 2),
    "c.c": CALLER % ("", "second", "") + PADDING % (3, 3),
}
AFTER = {
    "a.c": CALLED % (", long y", " * y") + PADDING % (1, 1),
    "b.c": CALLER % (", long", "first", ", 5") + PADDING % (2, 2),
    "c.c": CALLER % (", long", "second", ", 9") + PADDING % (3, 3),
}


def expected(x: int, y: int) -> int:
    r = 7
    for n in range(x):
        r = r * 3 + n * y
    return r + 1


@pytest.mark.parametrize("shape", ["library", "pie"])
def test_callers_in_other_files_switch_with_it(package: Any, shape: str) -> None:
    made = package(BEFORE, AFTER, "first second", shape)
    patch = made.patch()
    (group,) = patch.manifest.groups
    assert {f.name for f in group.functions} == {"called", "first", "second"}
    target = made.start()
    assert target.ask("first", 4) == expected(4, 1)
    target.apply(patch)
    assert (target.ask("first", 4), target.ask("second", 4)) == (expected(4, 5), expected(4, 9))


def test_a_caller_that_stays_refuses_it(package: Any) -> None:
    made = package(BEFORE, {**AFTER, "c.c": BEFORE["c.c"]}, "first second")
    refused = {r.function: r.reason for r in made.refused()}
    assert "changes the parameters of called" in refused["called"]
    assert "called" in refused["first"]


def test_an_exported_one_is_refused(package: Any) -> None:
    before, after = (
        {n: t.replace('__attribute__((visibility("hidden"))) ', "") for n, t in s.items()} for s in (BEFORE, AFTER)
    )
    made = package(before, after, "first second")
    assert "changes the parameters of called" in {r.function: r.reason for r in made.refused()}["called"]


def test_one_whose_address_was_taken_is_refused(package: Any) -> None:
    """The old caller may have kept the address: whoever calls it there passes the old arguments."""
    kept = (
        "long (*volatile kept)(); long called(long%s); long %s(long x) { kept = (long (*)())called; return "
        "called(x%s) + 1; }\n"
    )
    before = {**BEFORE, "c.c": kept % ("", "second", "") + PADDING % (3, 3)}
    after = {**AFTER, "c.c": kept % (", long", "second", ", 9") + PADDING % (3, 3)}
    made = package(before, after, "first second")
    assert "changes the parameters of called" in {r.function: r.reason for r in made.refused()}["called"]
