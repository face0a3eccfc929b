"""Strict unless a reason for relaxed is given; functions that never return are named in the verdict."""

from __future__ import annotations

from typing import Any

from suture.patch.consistency import Consistency

SOURCE = """
extern int usleep(unsigned);
static volatile long turns;
__attribute__((noinline)) static void serve(long x) { for (;;) { turns += x; usleep(1000); } }
long f(long x) { if (x > 77) serve(x); return x + 1; }
long g(long x) { return x * 3 + turns; }
"""
FIX = ("usleep(1000)", "usleep(2000)")


def test_a_patch_is_strict_and_says_which_functions_never_return(package: Any) -> None:
    patch = package(SOURCE, FIX, "f g", "library").patch()
    (function,) = patch.manifest.functions
    assert (function.name, function.consistency, function.endless) == ("serve", Consistency.STRICT, True)
    assert patch.manifest.relaxed == ""
    (note,) = patch.manifest.verdict.notes
    assert "serve never returns" in note and "--relaxed" in note


def test_the_reason_for_relaxed_is_kept_and_holds_for_all_functions(package: Any) -> None:
    made = package(SOURCE, FIX, "f g", "library")
    made.request = {"relaxed": ("it only sleeps longer",)}
    patch = made.patch()
    assert patch.manifest.relaxed == "it only sleeps longer"
    assert {f.consistency for f in patch.manifest.functions} == {Consistency.RELAXED}
    assert "stays in old code" in patch.manifest.verdict.notes[0]


def test_a_function_that_ends_is_not_called_endless(package: Any) -> None:
    patch = package(SOURCE, ("x * 3", "x * 5"), "f g", "library").patch()
    assert [(f.name, f.endless) for f in patch.manifest.functions] == [("g", False)]
    assert patch.manifest.verdict.notes == ()
