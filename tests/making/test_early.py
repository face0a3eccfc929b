"""Functions that ran when the program was loaded, and whose new code would never run."""

from __future__ import annotations

from typing import Any

import pytest

PLAIN = """
static long limit;
%s
long ask(long x) { return x + limit; }
"""
SETS = "{ limit = 100; }"
CONSTRUCTOR = f"__attribute__((constructor)) static void early(void) {SETS}"
ARRAY = (
    f'static void early(void) {SETS}\nstatic void (*first)(void) __attribute__((section(".init_array"), used)) = early;'
)
HELPER = (
    f"__attribute__((noipa)) static void helper(void) {SETS}\n"
    f"__attribute__((constructor)) static void early(void) {{ helper(); }}"
)
AGAIN = f"__attribute__((constructor, noipa)) void early(void) {SETS}\nlong again(long x) {{ early(); return limit; }}"


@pytest.mark.parametrize(
    ("text", "function"), [(CONSTRUCTOR, "early"), (ARRAY, "early"), (HELPER, "helper"), (AGAIN, "early")]
)
def test_a_change_of_what_the_loader_called_is_refused_as_it_has_run_already(
    package: Any, text: str, function: str
) -> None:
    built = package(PLAIN.replace("%s", text), ("= 100", "= 64"), "ask").build()
    assert built.data is None
    assert [r.function for r in built.refused] == [function]
    assert "has run already" in built.refused[0].reason and built.refused[0].remedy


def test_a_change_of_the_initializer_of_a_global_object_is_refused(package: Any) -> None:
    source = """
#include <stdlib.h>
long value = strtol("12", 0, 10);
extern "C" long ask(long x) { return value + x; }
"""
    built = package({"a.cc": source}, ('"12"', '"13"'), "ask").build()
    assert built.data is None
    assert len(built.refused) == 1 and "has run already" in built.refused[0].reason


def test_a_function_that_a_constructor_calls_and_others_too_is_no_such_one(package: Any) -> None:
    text = "__attribute__((noipa)) static long twice(long x) { return x * 2; }\n"
    text += "__attribute__((constructor)) static void early(void) { limit = twice(1); }\n"
    source = PLAIN.replace("%s", text).replace("x + limit", "twice(x) + limit")
    made = package(source, ("x * 2", "x * 3"), "ask")
    target = made.start()
    target.apply(made.patch())
    assert target.ask("ask", 5) == 17
