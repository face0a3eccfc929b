"""What ran while the kernel started is told apart from what runs again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.make_kernel.test_select import BASE, change, reasons

_STARTED = """
static noinline int prepare(int a) { return a * 5 + outside(a); }
static noinline int deeper(int a) { return a * 9 + hidden(a); }
static noinline int between(int a) { return deeper(a) * 3 + outside(a); }
static noinline int shared(int a) { return a * 11 + outside(a); }
static noinline int leave(int a) { return a * 13 + outside(a); }
__attribute__((section(".init.text"))) int start(int a) { return prepare(a) + between(a) + shared(a); }
__attribute__((section(".exit.text"))) int stop(int a) { return leave(a); }
noinline int later(int a) { return shared(a) - 1; }
"""


@pytest.mark.parametrize(
    ("old", "name"), [("a * 5", "prepare"), ("a * 9", "deeper"), ("a * 11", ""), ("a * 13", ""), ("- 1", "")]
)
def test_what_only_initialisation_calls_has_run_already(tmp_path: Path, old: str, name: str) -> None:
    new = BASE + _STARTED.replace(old, old[:-1] + "8")
    found = [(n, r) for _, n, r in reasons(change(tmp_path, new, old=BASE + _STARTED))]
    assert [n for n, _ in found] == [name] * bool(name)
    assert all("has run already" in r for _, r in found)


def test_an_initcall_that_lies_among_other_code_has_run_already(tmp_path: Path) -> None:
    started = """
noinline int early_one(int a) { return a * 5 + outside(a); }
__attribute__((used, section(".initcall6.init"))) static int (*call_of_it)(int) = early_one;
"""
    (row,) = reasons(change(tmp_path, BASE + started.replace("a * 5", "a * 8"), old=BASE + started))
    assert row[1] == "early_one" and "has run already" in row[2]
