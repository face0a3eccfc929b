"""Generated functions, each patched to give another value; the answers are computed here too."""

from __future__ import annotations

import random
from typing import Any

import pytest

OPERATORS = ("+", "-", "*", "^", "|", "&")


def body(rng: random.Random, name: str, others: list[str], bump: int) -> str:
    """A function of one of several forms that returns `value(x) + bump`, the value being fixed by `rng`."""
    form = rng.randrange(5)
    k = [rng.randrange(1, 5000) for _ in range(8)]
    ops = [rng.choice(OPERATORS) for _ in range(4)]
    static = "static __attribute__((noinline)) " if rng.random() < 0.4 and not name.endswith("0") else ""
    call = f" + {rng.choice(others)}(x & 7)" if others and rng.random() < 0.6 else ""
    if form == 0:
        code = f"return ((x {ops[0]} {k[0]}) {ops[1]} {k[1]}) + {bump}{call};"
    elif form == 1:
        cases = "".join(
            f" case {n}: seen++; return (x {ops[n % 4]} {k[n]}) + {bump}{call if n == 3 else ''};" for n in range(7)
        )
        code = f"switch (x & 7) {{{cases} default: return {k[7]} + {bump}; }}"
    elif form == 2:
        code = (
            f"long r = {k[0]}; for (long n = 0; n < (x & 15); n++) r = (r * 31 {ops[0]} {k[1]}) % 100003; return r + "
            f"{bump}{call};"
        )
    elif form == 3:
        table = ", ".join(str(v) for v in k)
        code = f"static const long table[] = {{{table}}}; seen += 2; return table[x & 7] * 3 + {bump}{call};"
    else:
        code = (
            f'const char *s = (x & 1) ? "odd {k[0]} string" : "even {k[1]} string"; return strlen(s) + s[4] + atol(s '
            f"+ (x & 1 ? 4 : 5)) + {bump}{call};"
        )
    return f"{static}long {name}(long x) {{ {code} }}\n"


def program(seed: int, count: int, bumped: set[int]) -> str:
    text = "#include <stdlib.h>\n#include <string.h>\nstatic long seen;\n"
    names: list[str] = []
    for n in range(count):
        name = f"f{n}_{n % 2}"
        text += body(random.Random(seed * 1000 + n), name, names[-4:], 100000 + n if n in bumped else 0)
        names.append(name)
    pick = "".join(f" case {n}: return {name}(x / 100);" for n, name in enumerate(names))
    return (
        text + f"long pick(long x) {{ switch (x % 100) {{{pick} }} return -1; }}\n"
        f"long seen_now(long x) {{ return seen + x; }}\n"
    )


@pytest.mark.parametrize(
    ("seed", "shape", "cflags"), [(1, "library", ()), (2, "pie", ("-fcf-protection",)), (3, "fixed", ("-O3",))]
)
def test_dozens_of_generated_functions_change_and_change_back(
    package: Any, seed: int, shape: str, cflags: tuple[str, ...]
) -> None:
    count = 40
    bumped = set(random.Random(seed).sample(range(count), 20))
    before, after = program(seed, count, set()), program(seed, count, bumped)
    made = package(before, after, "pick seen_now", shape, cflags)
    judge = package(after, after.replace("100000", "100000"), "pick seen_now", shape, cflags)
    patch = made.patch()
    target, expected, old = made.start(), judge.start(), made.start()
    questions = [n + 100 * x for n in range(count) for x in (0, 1, 2, 3, 6, 13)]

    def answers(of: Any) -> list[int]:
        return [of.ask("pick", q) for q in questions]

    first = answers(target)
    assert first == answers(old)
    target.apply(patch)
    assert answers(target) == answers(expected) != first
    target.revert(patch)
    assert answers(target) == first
    assert target.ask("seen_now") == 3 * old.ask("seen_now")
