from __future__ import annotations

from suture.delta.leftover import callers_left
from tests.delta.compiled import changed

N = "__attribute__((noinline)) "
HEAD = "extern int outside(int); static int state;\n"
CALLED = f'{N}static int called(int x) {{ __asm__(""); return outside(x) + 1; }}\n'
GONE = f'{N}static int gone(int x) {{ __asm__(""); return called(x) * 3; }}\n'
USER = f'{N}int user(int x) {{ __asm__(""); return called(x) + 5; }}\n'
TABLE = "int (*const table[])(int) = {gone, 0};\nint go(int x) { return table[x](x); }\n"
FIXED = CALLED.replace("+ 1", "+ 2")


def left(pre: str, post: str) -> dict[str, str]:
    rows = callers_left(changed(HEAD + pre, HEAD + post))
    assert all(r.remedy for r in rows.values())
    return {n: r.reason.split(",")[0] for n, r in rows.items()}


def test_a_removed_function_that_a_table_still_leads_to_calls_as_before() -> None:
    assert left(CALLED + GONE + USER + TABLE, FIXED + USER + TABLE.replace("gone", "user")) == {"called": "gone"}


def test_one_that_only_replaced_functions_called_is_reached_no_more() -> None:
    caller = f'{N}int caller(int x) {{ __asm__(""); return gone(x); }}\n'
    assert left(CALLED + GONE + USER + caller, FIXED + USER + caller.replace("gone(x)", "outside(x)")) == {}
    # through another one that is gone
    between = f'{N}static int between(int x) {{ __asm__(""); return gone(x) + 7; }}\n'
    via = caller.replace("gone(x)", "between(x)")
    assert left(CALLED + GONE + between + USER + via, FIXED + USER + via.replace("between(x)", "outside(x)")) == {}
    # which a table leads to
    assert left(
        CALLED + GONE + between + USER + TABLE.replace("gone", "between"), FIXED + USER + TABLE.replace("gone", "user")
    ) == {"called": "gone"}


def test_one_that_other_units_may_call_can_always_be_reached() -> None:
    assert left(CALLED + GONE.replace("static ", "") + USER, FIXED + USER) == {"called": "gone"}
    pointer = "int (*volatile p)(int); void set(void) { p = gone; }\n"
    assert left(CALLED + GONE + USER + pointer, FIXED + USER + pointer.replace("gone", "user")) == {"called": "gone"}


def test_one_that_calls_what_stays_as_it_is_harms_nobody() -> None:
    assert left(CALLED + GONE + USER + TABLE, CALLED + USER.replace("+ 5", "+ 6") + TABLE.replace("gone", "user")) == {}
    assert left(CALLED + USER, FIXED + USER) == {}


def test_one_that_calls_itself_is_not_reached_by_that() -> None:
    again = GONE.replace("called(x) * 3", "x > 5 ? called(x) : gone(x + 1) * 3")
    caller = f'{N}int caller(int x) {{ __asm__(""); return gone(x); }}\n'
    assert left(CALLED + again + USER + caller, FIXED + USER + caller.replace("gone(x)", "outside(x)")) == {}
