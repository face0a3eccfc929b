"""One result for all copies of a binary in a process."""

from __future__ import annotations

from dataclasses import replace

import pytest

from suture.error import ExitCode, Refused
from suture.number import Address, Bias, BuildId, Vaddr
from suture.patch.manifest import Group, ReplacedFunction
from suture.process.change.result import GroupResult, Result, joined
from suture.process.memory.image import Image
from suture.process.memory.placed import State
from suture.report.reason import Reason

FIRST = Image(
    "/usr/lib/liba.so",
    False,
    BuildId("ab" * 20),
    Bias(0x10000),
    Address(0x10000),
    Address(0x20000),
    Address(0),
    b"00:01",
    7,
)
SECOND = replace(FIRST, start=Address(0x50000), end=Address(0x60000), bias=Bias(0x50000))
DONE = Result(
    1,
    "p" * 16,
    "fix",
    State.APPLIED,
    (GroupResult("g", State.APPLIED, ("f",)),),
    ("older",),
    True,
    (3.0,),
    2,
    0,
    0,
    0.5,
)


@pytest.mark.parametrize("state", [s for s in State if s is not State.APPLIED], ids=lambda s: s.value)
def test_a_group_that_is_not_as_it_was_wanted_makes_the_result_partial(state: State) -> None:
    other = GroupResult("h", state, ("k",))
    assert DONE.exit_code is ExitCode.OK
    assert replace(DONE, groups=(*DONE.groups, other)).exit_code is ExitCode.PARTIAL
    assert replace(DONE, wanted=state, groups=(other,)).exit_code is ExitCode.OK


def test_each_copy_keeps_its_groups_and_all_pauses_count() -> None:
    again = replace(DONE, replaced=("newer", "older"), changed=False, pauses_us=(5.0, 7.0))
    whole = joined([(FIRST, DONE), (SECOND, again)], [], lambda _: (), lambda _: State.REVERTED)
    assert [(g.name, g.copy, g.state) for g in whole.groups] == [
        ("g", 0x10000, State.APPLIED),
        ("g", 0x50000, State.APPLIED),
    ]
    assert whole.replaced == ("older", "newer") and whole.pauses_us == (3.0, 5.0, 7.0) and whole.changed


def test_a_copy_with_a_problem_is_listed_with_it_and_its_state() -> None:
    group = Group("g", (ReplacedFunction("f", Vaddr(0x1000), 16, "0" * 64, 0, 5, "f.new", "f.orig"),))
    problem = Refused("pid 1: no room", "restart", reason=Reason.NO_ROOM)
    whole = joined([(FIRST, DONE)], [(SECOND, problem)], lambda _: (group,), lambda _: State.NEVER_APPLIED)
    left = whole.groups[1]
    assert (left.name, left.state, left.functions) == ("g", State.NEVER_APPLIED, ("f",))
    assert (left.why, left.copy, left.reason) == ("pid 1: no room", 0x50000, Reason.NO_ROOM)
    assert whole.exit_code is ExitCode.PARTIAL


def test_what_is_not_said_of_a_result_is_the_ordinary_case() -> None:
    """A binary is loaded once and its groups belong to no copy; what was wanted could be done."""
    assert (DONE.groups[0].copy, DONE.groups[0].why, DONE.groups[0].reason) == (0, "", None)
    assert not DONE.never_applied and DONE.companions == () == DONE.earlier
