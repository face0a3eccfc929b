"""Functions with room for a tracer's jump in front of them and behind their entry (-fpatchable-function-entry)."""

from __future__ import annotations

from typing import Any

import pytest

SOURCE = """
static long n;
__attribute__((noinline)) static long half(long x) { n++; return x / 2 + n; }
long (*volatile taken)(long) = half;
long f(long x) { return half(x) * 7 + 2; }
long g(long x) { return half(x) + (taken == half); }
long h(long x) { return taken(x) + (x > 100 ? g(x) : 0); }
"""
FIXES = (
    ("* 7 + 2", "* 9 + half(x)"),
    ("x / 2 + n", "x / 2 + n + 1000"),
    (
        "long f(long x) {",
        "__attribute__((noinline)) static long more(long x) { return x * 3 + n; }\nlong f(long x) { n += more(x);",
    ),
)  # fmt: skip


@pytest.mark.parametrize(("flag", "level"), [("16", "-O2"), ("2,1", "-O0"), ("16,16", "-O2")])
def test_such_functions_are_replaced(package: Any, flag: str, level: str) -> None:
    fixed = SOURCE
    for old, new in FIXES:
        fixed = fixed.replace(old, new)
    answers = []
    for flags in ((level, f"-fpatchable-function-entry={flag}"), (level,)):
        made = package(SOURCE, fixed, "f g h", cflags=flags)
        patch = made.patch()
        target = made.start()
        before = [target.ask(c, x) for c in "fgh" for x in (3, 200)]
        target.apply(patch)
        answers.append(
            ({f.name for f in patch.manifest.functions}, before, [target.ask(c, x) for c in "fgh" for x in (3, 200)])
        )
    assert answers[0] == answers[1]
    assert answers[0][1] != answers[0][2]
