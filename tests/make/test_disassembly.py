"""Old against new code as a person reads it: names instead of addresses, moved code is no change, another binary is
refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from suture.error import NotFound
from suture.make.disassembly import WrongBinary, compare

SOURCE = """
#include <stdlib.h>
#include <unistd.h>
static long state = 4;
__attribute__((noinline)) static long inner(long x) { long r = state; while (x-- > 0) r = r * 7 + x; return r; }
long f(long x) { for (long n = 0; n < x; n++) state += labs(n) + getppid() * 0; return inner(x) + state; }
long g(long x) { return x * 5; }
"""


@pytest.fixture
def made(package: Any) -> Any:
    return package(SOURCE, SOURCE.replace("inner(x) + state", "inner(x + 1) + state").replace("x * 5", "x * 6"), "f g")


def lines(made: Any, function: str, binary: Path | None = None) -> list[str]:
    return list(compare(made.patch(), function, binary or made.shipped))


def test_only_what_differs_is_marked_and_places_have_names(made: Any) -> None:
    rows = lines(made, "f")
    assert rows[:2] == ["--- old f", "+++ new f"]
    changed = [r for r in rows[2:] if r[0] in "+-"]
    # one addition more; calls, loads and jumps inside the function read the same, though all of them moved
    assert any("add" in r or "lea" in r or "inc" in r for r in changed if r[0] == "+")
    assert len(changed) <= 8 and not any("0x" in r and ("call" in r or "j" in r.split()[0]) for r in changed)


def test_a_call_and_a_variable_of_the_running_binary_are_named_on_both_sides(package: Any) -> None:
    made = package(SOURCE, SOURCE.replace("r * 7", "r * 9").replace("getppid() * 0", "getppid() * 1"), "f g")
    whole = "\n".join(compare(made.patch(), "*", made.shipped))
    assert "getppid" in whole
    rows = lines(made, "f")
    assert not [r for r in rows[2:] if r[0] in "+-" and "getppid" in r]


def test_a_star_means_all_replaced_functions(made: Any) -> None:
    heads = [r for r in lines(made, "*") if r.startswith("--- ")]
    assert sorted(heads) == ["--- old f", "--- old g"]


def test_a_function_that_is_not_replaced_is_told_with_those_that_are(made: Any) -> None:
    with pytest.raises(NotFound, match="does not replace inner") as raised:
        lines(made, "inner")
    assert "f, g" in raised.value.remedy


def test_another_binary_is_refused_by_its_build_id(made: Any, package: Any) -> None:
    other = package(SOURCE.replace("* 7", "* 8"), {}, "f g")
    with pytest.raises(WrongBinary, match="is not the patch's"):
        lines(made, "f", other.shipped)
