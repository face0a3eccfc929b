"""The plain way through all shapes: library, position-independent program, program at a fixed address."""

from __future__ import annotations

from typing import Any

import pytest

SOURCE = """
#include <stdlib.h>
#include <string.h>
static int calls;
int visible = 5;
static const char *const words[] = {"zero", "one", "two", "three"};
static long helper(long x) { return x * 3 + visible; }
long pick(long x) { calls++; return strlen(words[x & 3]) + calls * 100; }
long kind(long x) {
  switch (x) { case 0: return 11; case 1: return helper(x) + 7; case 2: return 35; case 3: return atoi("42") - x;
               case 4: return 9 - calls; case 5: return x ^ 77; default: return 0; }
}
long text(long x) { char b[64]; strcpy(b, "some text that is long enough"); return b[x & 15] + helper(x); }
"""


@pytest.mark.parametrize("shape", ["library", "pie", "fixed"])
@pytest.mark.parametrize(
    "cflags", [(), ("-fcf-protection",), ("-O3",), ("-fno-plt",)], ids=lambda f: "".join(f) or "plain"
)
def test_new_code_runs_after_apply_and_old_code_after_revert(package: Any, shape: str, cflags: tuple[str, ...]) -> None:
    fixed = SOURCE.replace("return 35", 'return strlen("thirty five") + visible').replace("calls * 100", "calls * 1000")
    made = package(SOURCE, fixed, "pick kind text", shape, cflags)
    patch = made.patch()
    target = made.start()

    def answers() -> list[int]:
        return [target.ask("kind", n) for n in range(6)] + [target.ask("text", 3), target.ask("pick", 2)]

    before = answers()
    assert before == [11, 15, 35, 39, 9, 72, ord("e") + 14, 103]
    target.apply(patch)
    assert answers() == [11, 15, 16, 39, 8, 72, ord("e") + 14, 2003]
    target.revert(patch)
    assert answers() == [11, 15, 35, 39, 7, 72, ord("e") + 14, 303]
