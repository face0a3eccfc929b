from __future__ import annotations

import re

from suture.make.relaxed import REMEDY, called_otherwise
from tests.delta.compiled import changed

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
