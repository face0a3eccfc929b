"""Where the jump stands when the function's first bytes will not do: behind instructions that the new code undoes."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from suture.process.change.apply import apply
from suture.process.change.revert import revert
from suture.process.memory.placed import State
from suture.process.see.status import status
from tests.killed import killed_after

PADDING = (
    "long padding(long x) { long r = x; for (long n = 1; n < x; n++) r = r * 31 + (r >> 3) + n * 5 - 77; return r; }\n"
)
# at -O0 the head of the loop is at offset 4
LOOP = """
static volatile long left, sum;
__attribute__((noinline)) static void spin(void) { do { sum += left; } while (--left > 0); }
__attribute__((noinline)) static long add(long x) { return sum + x; }
long step(long x) { left = x; sum = 0; spin(); return add(x); }
"""
LOOP_FIX = ("sum += left;", "sum += left * 10;")
# a function that begins two bytes before the end of a page; the fill stands in front of it in the unit's own code
CROSSING = """
__asm__(".text\\n.balign 4096\\n.fill 4094, 1, 0xcc\\n");
static long add(long x);
long step(long x) { long r = add(x) + 100; return r; }
static long add(long x) { return x * 3; }
"""
CROSSING_FIX = ("x * 3; }", "x * 4; }")


@pytest.mark.parametrize("shape", ["library", "pie", "fixed"])
@pytest.mark.parametrize(
    ("source", "fix", "name", "old", "new"),
    [
        (LOOP, LOOP_FIX, "spin", 9, 63),
        (CROSSING, ("+ 100; return", "+ 200; return"), "step", 109, 209),
    ],
    ids=["loop", "page"],
)
def test_the_jump_stands_behind_what_can_be_undone(
    package: Any, shape: str, source: str, fix: tuple[str, str], name: str, old: int, new: int
) -> None:
    made = package(source + PADDING, fix, "step", shape, ("-O0", "-fcf-protection=none"))
    patch = made.patch()
    (function,) = patch.manifest.functions
    assert (function.name, function.entry) == (name, 4)
    if name == "step":
        assert function.address % 4096 == 4094
    target = made.start()
    assert target.ask("step", 3) == old
    for _ in range(2):
        target.apply(patch)
        assert target.ask("step", 3) == new
        target.revert(patch)
        assert target.ask("step", 3) == old


GROUPS = [
    (LOOP.replace("sum + x;", "sum + x + 1;"), (LOOP_FIX, ("+ x + 1;", "+ x + 2000;"), ("add(x);",
    "add(x) + 5000;")), 10, 7063),
    (CROSSING, (CROSSING_FIX, ("+ 100; return", "+ 200; return")), 109, 212),
]  # fmt: skip


@pytest.mark.parametrize(("source", "fixes", "old", "new"), GROUPS, ids=["loop", "page"])
@pytest.mark.parametrize("direction", ["apply", "revert"])
def test_a_group_with_such_a_function_is_wholly_old_or_new_wherever_the_applier_dies(
    package: Any, source: str, fixes: tuple[tuple[str, str], ...], old: int, new: int, direction: str
) -> None:
    """The old code, loop included, runs by way of its thunk for as long as the switch is not thrown."""
    fixed = source
    for before, after in fixes:
        assert before in fixed
        fixed = fixed.replace(before, after)
    made = package(source + PADDING, fixed + PADDING, "step", cflags=("-O0", "-fcf-protection=none"))
    patch = made.patch()
    assert any(f.entry == 4 for f in patch.manifest.functions)
    assert len(patch.manifest.groups) == 1
    target = made.start()
    pid = target.process.pid
    died = []
    for step in range(1, 99):
        apply(pid, patch)
        if direction == "apply":
            revert(pid, patch.id)
        change = partial(apply, pid, patch) if direction == "apply" else partial(revert, pid, patch.id)
        name = killed_after(step, lambda on_step, change=change: change(on_step=on_step))  # type: ignore[misc]
        if name is None:
            break
        died.append(name)
        behaves = target.ask("step", 3)
        assert behaves in (old, new), name
        applied = status(pid).patches[0].groups[0].effective is State.APPLIED
        assert applied == (behaves == new), name
    assert any(n.startswith("divert") for n in died) and any(n.startswith("finish") for n in died)
    assert target.ask("step", 3) == (new if direction == "apply" else old)


def test_where_old_frames_go_on_a_loop_into_the_first_bytes_is_refused(package: Any) -> None:
    made = package(LOOP + PADDING, LOOP_FIX, "step", cflags=("-O0", "-fcf-protection=none"))
    made.request["relaxed"] = ("a check is added",)
    (refused,) = made.refused()
    assert refused.function == "spin" and "offset 4, inside the bytes to be overwritten" in refused.reason


def test_a_function_that_loads_from_memory_before_the_end_of_a_page_is_refused(package: Any) -> None:
    source = CROSSING.replace("long r = add(x) + 100; return r;", "return *(long *)x + 100;").replace(
        "static long add(long x);", "__attribute__((optimize(\"O2\"), aligned(1)))"
    )  # fmt: skip
    source = source.replace("static long add(long x) { return x * 3; }\n", "")
    made = package(source + PADDING, ("+ 100", "+ 200"), "step", cflags=("-O0", "-fcf-protection=none"))
    (refused,) = made.refused()
    assert "straddles a page" in refused.reason
