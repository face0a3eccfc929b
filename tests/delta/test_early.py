from __future__ import annotations

from suture.delta.early import run_already
from tests.delta.compiled import changed

N = "__attribute__((noinline)) "
BASE = f"""
extern void outside(int); static int state;
{N}static void third(int x) {{ __asm__(""); state += x; }}
{N}static void second(int x) {{ __asm__(""); third(x); outside(x); }}
{N}static void both(int x) {{ __asm__(""); outside(x + 1); }}
{N}void open(int x) {{ __asm__(""); outside(x + 2); }}
{N}static void taken(int x) {{ __asm__(""); outside(x + 3); }}
__attribute__((constructor)) static void first(void) {{ second(state); both(1); open(2); taken(3); outside(4); }}
int f(int x) {{ both(x); return state; }}
void (*volatile pointer)(int); void set(void) {{ pointer = taken; }}
"""


def found(*edits: tuple[str, str]) -> set[str]:
    post = BASE
    for old, new in edits:
        assert old in post
        post = post.replace(old, new)
    rows = run_already(changed(BASE, post))
    assert all("has run already" in r.reason and r.remedy for r in rows.values())
    return set(rows)


def test_a_constructor_ran_when_the_program_was_loaded() -> None:
    assert found(("outside(4)", "outside(5)")) == {"first"}


def test_so_did_local_functions_that_only_such_call() -> None:
    assert found(("outside(x)", "outside(x + 9)")) == {"second"}
    assert found(("state += x", "state -= x")) == {"third"}


def test_what_others_call_may_run_again() -> None:
    for edit in (
        ("x + 1)", "x + 8)"),
        ("x + 2)", "x + 9)"),
        ("x + 3)", "x + 9)"),
        ("return state", "return state + 1"),
    ):
        assert found(edit) == set(), edit
    # what something calls with the fix, or before it
    assert found(("outside(x)", "outside(x + 9)"), ("both(x); return", "both(x); second(x); return")) == set()


def test_a_constructor_that_something_calls_again_ran_all_the_same() -> None:
    assert found(("outside(4)", "outside(5)"), ("both(x); return", "both(x); first(); return")) >= {"first"}


def test_nothing_is_said_of_what_the_fix_leaves_alone() -> None:
    assert found() == set()
