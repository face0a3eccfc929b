"""C++: inline functions in COMDAT groups, vtables, guarded statics; exceptions that would pass through new code."""

from __future__ import annotations

from typing import Any

from suture.patch.file import parse_patch

CLASSES = """
#include <cstring>
struct shape { virtual long area(long x) const = 0; virtual ~shape() {} };
struct square : shape { long area(long x) const noexcept override { return x * x; } };
struct circle : shape { long area(long x) const noexcept override { return x * 3; } };
static square one; static circle two;
shape *volatile kinds[2] = {&one, &two};
static long made() noexcept { return 40; }
extern "C" long area(long x) noexcept { return kinds[x & 1]->area(x); }
extern "C" long guarded(long x) noexcept { static const long first = made() + x; return first + x; }
"""
FLAGS = ("-fno-exceptions",)


def test_virtual_functions_are_replaced_behind_the_old_vtables(package: Any) -> None:
    made = package({"a.cc": CLASSES}, ("x * 3", "x * 5 + 1"), "area guarded", cflags=FLAGS)
    patch = made.patch()
    target = made.start()
    assert target.ask("area", 4) == 16 and target.ask("area", 3) == 9
    target.apply(patch)
    assert target.ask("area", 4) == 16 and target.ask("area", 3) == 16
    target.revert(patch)
    assert target.ask("area", 3) == 9


def test_a_guarded_static_is_not_made_again(package: Any) -> None:
    made = package({"a.cc": CLASSES}, ("return first + x", "return first * 100 + x"), "area guarded", cflags=FLAGS)
    target = made.start()
    assert target.ask("guarded", 2) == 44
    target.apply(made.patch())
    assert target.ask("guarded", 5) == 4205


THROWS = """
#include <stdexcept>
extern "C" long plain(long x) { return x * 7 + 1; }
static __attribute__((noinline)) long risky(long x) { if (x > 5) throw std::runtime_error("too much"); return x + 1; }
extern "C" long caught(long x) { try { return risky(x); } catch (const std::exception &e) { return e.what()[0]; } }
"""


def test_code_that_throws_catches_or_lets_pass_is_refused_or_works(package: Any) -> None:
    for old, new in (("x > 5", "x > 4"), ("e.what()[0]", "e.what()[1]"), ("return risky(x)", "return risky(x) + 1")):
        made = package({"a.cc": THROWS}, (old, new), "plain caught")
        built = made.build()
        if built.data is None:
            assert any("exception" in r.reason for r in built.refused)
            continue
        target = made.start()
        target.apply(parse_patch(built.data, "p"))
        assert target.ask("caught", 3) in (4, 5)
        assert target.ask("caught", 9) in (ord("t"), ord("o"))


def test_a_function_of_a_c_plus_plus_unit_that_no_exception_can_pass_goes_in(package: Any) -> None:
    made = package({"a.cc": THROWS}, ("x * 7", "x * 8"), "plain caught")
    target = made.start()
    target.apply(made.patch())
    assert target.ask("plain", 2) == 17 and target.ask("caught", 9) == ord("t")
