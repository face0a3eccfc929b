"""C++: inline functions in COMDAT groups, vtables, guarded statics, thread-local variables. Exceptions:
test_cxx_exceptions.py."""

from __future__ import annotations

from typing import Any

import pytest

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


def test_a_function_of_a_c_plus_plus_unit_that_no_exception_can_pass_goes_in(package: Any) -> None:
    made = package({"a.cc": THROWS}, ("x * 7", "x * 8"), "plain caught")
    target = made.start()
    target.apply(made.patch())
    assert target.ask("plain", 2) == 17 and target.ask("caught", 9) == ord("t")


INLINE = """
#include <vector>
struct counter {
  std::vector<long> seen;
  __attribute__((noinline)) long add(long x) { seen.push_back(x); return seen.size() * 100 + x; }
};
static counter one;
thread_local long mine = 5;
extern "C" long add(long x) { return one.add(x) + 1; }
extern "C" long local(long x) { mine += x; return mine; }
"""


@pytest.mark.parametrize("shape", ["library", "pie"])
def test_an_inline_function_in_a_comdat_group_is_found_by_its_address(package: Any, shape: str) -> None:
    made = package({"a.cc": INLINE}, ("* 100 + x", "* 1000 + x"), "add local", shape)
    target = made.start()
    assert target.ask("add", 3) == 104
    patch = made.patch()
    target.apply(patch)
    assert target.ask("add", 3) == 2004
    target.revert(patch)
    assert target.ask("add", 3) == 304


@pytest.mark.parametrize("shape", ["library", "pie"])
def test_a_thread_local_variable_keeps_its_value(package: Any, shape: str) -> None:
    made = package({"a.cc": INLINE}, ("mine += x", "mine += x * 10"), "add local", shape)
    target = made.start()
    assert target.ask("local", 1) == 6
    target.apply(made.patch())
    assert target.ask("local", 1) == 16


def test_a_changed_table_of_virtual_functions_is_refused(package: Any) -> None:
    more = "struct circle : shape { long extra() const { return 1; } virtual long more() const { return 2; }"
    fix = CLASSES.replace("struct circle : shape {", more).replace("return first + x", "return first + x + 1")
    made = package({"a.cc": CLASSES}, {"a.cc": fix}, "area guarded", cflags=FLAGS)
    refused = {r.function: r.reason for r in made.refused()}
    assert "guarded" in refused and "_ZTV6circle" in refused["guarded"]


ONLY_VIRTUAL = """
struct shape { virtual long area(long x) const { return x + 1; } virtual ~shape() {} };
struct square : shape { long area(long x) const override { return x * x; } };
shape *volatile kept;
extern "C" long area(long x) { if (!kept) kept = new square; return kept->area(x); }
long padding(long x) { long r = x; for (long n = 1; n < x; n++) r = r * 31 + (r >> 3) + n * 5 - 77; return r; }
"""


@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_a_virtual_function_that_only_the_classs_table_leads_to_is_found_in_a_program(package: Any, level: str) -> None:
    made = package({"a.cc": ONLY_VIRTUAL}, ("x * x", "x * x * x"), "area", "pie", (level, "-fno-exceptions"))
    target = made.start()
    assert target.ask("area", 3) == 9
    target.apply(made.patch())
    assert target.ask("area", 3) == 27
