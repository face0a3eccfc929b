from __future__ import annotations

import pytest

from suture.delta.exception import may_unwind
from tests.delta.compiled import unit

CXX = """
extern "C" { int outside(int); int calls(int x) { return outside(x) + 1; } int quiet(int x) { return x * 3; }
    int tail(int x) { return outside(x); }
int rare(int x) { if (__builtin_expect(x < 0, 0)) { outside(x); __builtin_trap(); } return x; } }
struct M { ~M() { outside(7); } };
extern "C" int cleans(int x) { M m; return outside(x) + 1; }
"""


def told(name: str, *flags: str, suffix: str = ".cc", source: str = "a.cc", text: str = CXX) -> bool:
    obj = unit(text, *flags, suffix=suffix)
    return may_unwind(obj, obj.functions[name], source)


def test_cxx_that_calls_something_may_have_to_be_passed() -> None:
    assert told("calls") and told("cleans")
    assert not told("quiet")
    assert not told("tail")  # a jump leaves no frame


@pytest.mark.parametrize(
    ("source", "is_cxx"),
    [
        ("x/a.cc", True),
        ("a.cpp", True),
        ("a.cxx", True),
        ("a.C", True),
        ("a.c", False),
        ("a.S", False),
        ("cc", False),
        ("a.cc.c", False),
    ],
)
def test_the_source_tells_the_language(source: str, is_cxx: bool) -> None:
    assert told("calls", source=source) == is_cxx


def test_c_has_it_where_it_has_a_cleanup() -> None:
    c = (
        "extern int outside(int); void end(int *p) { outside(*p); } int calls(int x) { return outside(x) + 1; } int "
        "cleans(int x) { int y __attribute__((cleanup(end))) = x; return outside(y); }"
    )
    assert told("cleans", "-fexceptions", suffix=".c", source="a.c", text=c)
    assert not told("calls", "-fexceptions", suffix=".c", source="a.c", text=c)


def test_where_exceptions_are_off_nothing_passes() -> None:
    assert told("calls", "-g")
    assert not told("calls", "-g", "-fno-exceptions")
    assert not told("calls", "-gdwarf-4", "-fno-exceptions")


def test_what_is_not_understood_may_have_anything() -> None:
    text = '.section .text.f,"ax"\n.type f,@function\nf: ret\n.size f,1\n.section .eh_frame,"a",@progbits\n.long 4, 4\n'
    assert told("f", suffix=".s", source="a.c", text=text)


def test_the_cold_part_counts_too() -> None:
    text = CXX.replace(
        "int rare(int x) {",
        "__attribute__((cold)) int never(int); int rare(int x) { if (x == 77) { never(x); return never(x + 1); } ",
    )
    assert told("rare", text=text)


def test_what_only_calculates_calls_nothing() -> None:
    text = CXX.replace(
        "int quiet(int x) {", 'int quiet(int x) { __asm__("addl $5, %0; bswap %0; xorl $3, %0" : "+r"(x));'
    )
    assert not told("quiet", text=text)
