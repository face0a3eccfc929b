"""Who is still in old code: where is looked, and how it is said. The look itself is tested on processes
(tests/process/test_relaxed.py)."""

from __future__ import annotations

from typing import Any

import pytest

from suture.number import Address, Bias, BuildId
from suture.patch.consistency import Consistency
from suture.patch.record import PlacedFunction, PlacedGroup, PlacedPart, Record
from suture.process.change import old_frame
from suture.process.change.old_frame import old_frames
from suture.process.change.switch import Outcome
from suture.process.change.transition import Transition
from suture.process.stack.stack import ELSEWHERE, NO_THREAD, Hit, Range
from suture.report.patch import OldFrames

F = PlacedFunction(
    "f", Address(0x1004), 64, "", 4, 7, b"", Address(0), 0, Address(0x9008), 24, Address(0), Consistency.RELAXED
)
G = PlacedFunction(
    "g",
    Address(0x2000),
    32,
    "",
    0,
    5,
    b"",
    Address(0),
    0,
    Address(0x9040),
    16,
    Address(0),
    Consistency.RELAXED,
    endless=True,
)
RECORD = Record(
    "one", "", BuildId(""), "", "", "", (), (), Address(0), 0, 0, Address(0), 0, Bias(0),
    (PlacedGroup("a", Address(0), (F, G), (PlacedPart("f.cold", Address(0x3008), 24),)),),
    (PlacedPart("yield", Address(0x4000), 48),),
)  # fmt: skip
RANGES = (
    Range(0x100F, 0x1044, 0, "f"), Range(0x9008, 0x9020, 0, "f"),
    Range(0x2005, 0x2020, 0, "g"), Range(0x9040, 0x9050, 0, "g"),
    Range(0x3008, 0x3020, 0, "f"),
)  # fmt: skip


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a look finds is given; what it looks for is checked."""

    def look(*hits: Hit, cause: Any = None) -> OldFrames:
        def carry_out(tracee: object, transitions: Any, bodies: Any, *, timeout: float, suspends: Any) -> Outcome:
            (t,) = transitions
            assert t == Transition((), Address(0), True, (), RANGES)
            assert (tracee, list(bodies), timeout, suspends) == ("tracee", [], 0.1, [range(0x4000, 0x4030)])
            waits = bool(hits) or cause is not None
            return Outcome(() if waits else (t,), ((t, cause),) if waits else (), (), 0, 1, 0, hits)

        monkeypatch.setattr(old_frame, "carry_out", carry_out)
        tracee: Any = "tracee"
        return old_frames(tracee, RECORD)

    return look


def hit(tid: int, r: Range) -> Hit:
    return Hit(tid, 0, 0, r)


def test_nobody(look: Any) -> None:
    assert look() == OldFrames(0, 0, (), ())
    assert look().text == ""


def test_threads_count_once_and_suspended_stacks_each(look: Any) -> None:
    found = look(
        hit(7, RANGES[0]),
        hit(7, RANGES[1]),
        hit(1, RANGES[0]),
        hit(NO_THREAD, RANGES[0]),
        hit(NO_THREAD, RANGES[4]),
        hit(ELSEWHERE, RANGES[0]),
    )
    assert found == OldFrames(2, 3, ("f",), ())
    assert found.text == "2 threads and 3 coroutines still in old code of f"


def test_functions_are_named_in_order_and_those_that_never_return_again(look: Any) -> None:
    found = look(hit(7, RANGES[2]), hit(7, RANGES[0]))
    assert found == OldFrames(1, 0, ("f", "g"), ("g",))
    assert found.text == "1 thread still in old code of f, g (g never returns)"
    assert look(hit(NO_THREAD, RANGES[3])).text == "1 coroutine still in old code of g (g never returns)"
    assert OldFrames(0, 0, ("f",), ("a", "b")).text.endswith("(a, b never returns)")


def test_what_could_not_be_told_says_why(look: Any) -> None:
    class Cause:
        text = "thread 7 did not stop in time"

    found = look(cause=Cause)
    assert found == OldFrames(0, 0, (), (), "thread 7 did not stop in time")
    assert found.text == "who is still in old code cannot be told: thread 7 did not stop in time"
