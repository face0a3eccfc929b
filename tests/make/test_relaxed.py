from __future__ import annotations

import re
from dataclasses import replace

import pytest

from suture.compile.unit import Variant
from suture.make.relaxed import REMEDY, called_otherwise, told_of_one_another
from tests.delta.compiled import changed, unit

N = "__attribute__((noinline)) "
BASE = f"""
extern int outside(int); static int state;
{N}static int helper(int x) {{ __asm__(""); return outside(x) * 3 + state; }}
{N}int f(int x) {{ __asm__(""); state = x; return helper(x) + 1; }}
{N}int g(int x) {{ __asm__(""); return outside(x) - 1; }}
"""


def told(post: str, *names: str, pre: str = BASE) -> dict[str, str]:
    found = called_otherwise(changed(pre, post, "-g"), names)
    assert list(found) == sorted(found) and all(r.remedy == REMEDY for r in found.values())
    return {n: r.reason for n, r in found.items()}


def edited(*edits: tuple[str, str]) -> str:
    text = BASE
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    return text


def test_functions_with_the_same_parameters_may_be_called_as_before() -> None:
    post = edited(("* 3", "* 5"), ("+ 1", "+ 2"))
    assert told(post, "helper", "f") == {}


def test_a_function_with_other_parameters_may_not() -> None:
    post = edited(
        ("static int helper(int x)", "static int helper(int x, int y)"),
        ("* 3", "* y"),
        ("helper(x) + 1", "helper(x, outside(x)) + 2"),
    )
    found = told(post, "helper", "f")
    assert list(found) == ["helper"]
    assert re.match(r"the fix changes the parameters of helper \(.*/a.c:3: int helper\(int\) to", found["helper"])
    assert "call as before" in found["helper"]
    assert told(post, "f") == {}


CLONED = f"""
extern int outside(int, int); struct box {{ int a, b; }};
{N}static int inner(struct box *b, int unit) {{ __asm__(""); return outside(b->a, unit) + b->b; }}
{N}int f(struct box *b) {{ __asm__(""); return inner(b, 4) + 1; }}
"""


def test_a_variant_that_gcc_made_for_its_callers_may_not() -> None:
    post = CLONED.replace("+ b->b", "- b->b")
    change = changed(CLONED, post, "-g")
    (variant,) = (n for n in change.post.functions if n.startswith("inner."))
    # its caller stays as it was: old code calls nothing otherwise
    assert called_otherwise(change, [variant]) == {}
    both = post.replace("+ 1;", "+ 2;")
    found = told(both, variant, "f", pre=CLONED)
    assert list(found) == [variant] and f"{variant} is a variant that gcc made" in found[variant]
    # removed code is old code too
    gone = CLONED.replace("int f(", f"int gone(struct box *b) {{ return inner(b, 4) * 7; }}\n{N}int f(")
    (row,) = told(post, variant, pre=gone.replace("inner(b, 4) + 1", "inner(b, 4) + 1")).items()
    assert row[0] == variant


APART = Variant.APART.value
KNOWN = """
extern int usleep(unsigned);
static volatile long turns;
static long last;
__attribute__((noinline, noclone)) static long check(long x) { %s }
__attribute__((noinline, noclone)) static long serve(long x)
{
  long sum = 0;
  for (;;) { %s if (sum > 1000) return sum; turns = sum; }
}
long f(long x) { return x > 77 ? serve(x) : check(x %s); }
void g(long x) { last = x; }
"""
PURE = KNOWN % ("return x * 7 % 31;", "long a = last; long b = check(x); sum += a + b + last;", "")
"""serve knows that check writes nothing, and reads `last` once."""
GIVEN = KNOWN % ("if (x > 50) return -5; turns++; return x * 7 % 31;", "sum += check(x);", "")
OLD, NEW = "what the compiler knew of the functions that they call", "what the compiler knew of its callers"


def of_one_another(pre: str, post: str, *names: str, apart: bool = True) -> dict[str, str]:
    change = changed(pre, post)
    if apart:
        change = replace(change, apart=lambda: (unit(pre, *APART), unit(post, *APART)))
    found = told_of_one_another(change, names)
    assert all(r.remedy == REMEDY for r in found.values())
    return {n: r.reason for n, r in found.items()}


def test_what_old_code_knew_of_a_function_that_changes_is_told() -> None:
    found = of_one_another(PURE, PURE.replace("return x * 7", "last = x; return x * 7"), "check")
    assert list(found) == ["check"]
    assert found["check"].startswith("old frames of f, that a relaxed patch lets go on, were compiled with")
    assert OLD in found["check"] and "not hold for the new check" in found["check"]


def test_what_new_code_knows_of_its_callers_is_told() -> None:
    fix = GIVEN.replace("check(x)", "check(x & 15)").replace("check(x );", "check(x & 7);")
    found = of_one_another(GIVEN, fix, "check", "serve", "f")
    assert (
        list(found) == ["check"]
        and found["check"].startswith("the new check was compiled with")
        and NEW in found["check"]
    )


def test_code_that_is_the_same_without_that_knowledge_may_go_on() -> None:
    source = GIVEN.replace("(x )", "(x)")
    fix = source.replace("return -5", "return -6").replace("sum > 1000", "sum > 2000")
    assert of_one_another(source, fix, "check", "serve") == {}
    # where it cannot be compiled so, nothing is known
    assert OLD in of_one_another(source, fix, "check", "serve", apart=False)["check"]


def test_old_code_that_leads_to_no_new_code_knows_nothing_of_it() -> None:
    fix = PURE.replace("return x * 7", "last = x; return x * 7")
    assert of_one_another(PURE, fix) == {}
    assert of_one_another(PURE, PURE.replace("last = x;", "last = x + 1;"), "g") == {}


STATIC = """
extern long outside(long);
__attribute__((noinline)) %s long f(long x) { return x > 9 ? outside(f(x - 1)) * 3 : x; }
long g(long x) { return f(x); }
"""
LOOPS = """
static volatile long turns; extern long outside(long);
long f(long x) { for (; x; x--) turns += outside(x) * 3; return x; }
"""
COLD = """
extern long outside(long); extern long rare(long) __attribute__((cold));
long f(long x) { long a = outside(x); if (__builtin_expect(x < 0, 0)) a = rare(a) + rare(x); return outside(a) * 3; }
"""


@pytest.mark.parametrize(
    ("source", "calls"),
    [(STATIC % "static", True), (STATIC % "", True), (LOOPS, False), (COLD, False)],
    ids=["static", "global", "loop", "cold part"],
)
def test_a_function_that_calls_itself_leads_to_itself_and_one_that_only_jumps_inside_does_not(
    source: str, calls: bool
) -> None:
    """The call of a static function has no relocation."""
    found = of_one_another(source, source.replace("* 3", "* 5"), "f", apart=False)
    assert list(found) == (["f"] if calls else [])


def test_a_variant_whose_old_frames_call_it_again_may_not() -> None:
    source = f"""
    extern long outside(long, long); struct box {{ long a, b; }};
    {N}static long walk(struct box *b, long n, long by)
    {{ return n > 9 ? outside(walk(b, n - 1, by), b->a) * 3 + by : n; }}
    long f(struct box *b, long n) {{ return walk(b, n, 4) + 1; }}
    """
    change = changed(source, source.replace("* 3", "* 5"), "-g")
    (variant,) = (n for n in change.post.functions if n.startswith("walk."))
    assert change.replaced == {variant}
    assert f"{variant} is a variant that gcc made" in called_otherwise(change, [variant])[variant].reason


def test_what_old_code_leads_to_through_others_counts() -> None:
    far = (
        "extern long outside(long); static volatile long turns;\n"
        f"{N}static long last(long x) {{ turns++; return outside(x) * 3; }}\n"
        f"{N}static long between(long x) {{ turns--; return last(x) + 1; }}\n"
        f"{N}long first(long x) {{ turns += x; return between(x) * 5; }}\n"
    )
    fix = far.replace("* 3", "* 4").replace("* 5", "* 6")
    assert "old frames of first" in of_one_another(far, fix, "last", "first", apart=False)["last"]
