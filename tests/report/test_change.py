"""What happened, as events for a journal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from suture.report.change import ChangedProcess, Event, EventKind, FailedProcess, kernel_events, process_events
from suture.report.kernel import ChangedKernel, KernelOutcome
from suture.report.patch import PatchState, ReportedGroup
from suture.report.process import UnreadProcess
from suture.report.reason import Cause, Reason

ON_STACK = Cause(Reason.BUSY_ON_STACK, "thread 7 is inside f", "try again")


def group(state: PatchState, why: Cause | None = None) -> ReportedGroup:
    return ReportedGroup("g", ("f",), state, state, 0, why)


def process(*groups: ReportedGroup, wanted: PatchState = PatchState.APPLIED, **more: Any) -> ChangedProcess:
    facts: dict[str, Any] = {
        "pid": 7,
        "start_time": 99,
        "command": "server",
        "program": "/usr/bin/server",
        "unit": "",
        "container": "",
        "patch": "id",
        "name": "p",
        "never_applied": False,
        "replaced": (),
        "lost": (),
        "earlier": (),
        "changed": True,
        "pauses_us": (1.5,),
        "threads": 2,
        "foreign_stacks": 0,
        "suspended_stacks": 0,
        "seconds": 0.1,
        "old_frames": None,
    }
    return ChangedProcess(**{**facts, **more}, groups=groups, wanted=wanted)


A, R = PatchState.APPLIED, PatchState.REVERTED


@pytest.mark.parametrize(
    ("wanted", "states", "changed", "kind"),
    [
        (A, (A, A), True, EventKind.APPLIED),
        (A, (A, A), False, EventKind.APPLIED_ALREADY),
        (A, (A, R), True, EventKind.APPLIED_IN_PART),
        (A, (R, R), False, EventKind.APPLIED_IN_PART),
        (R, (R, R), True, EventKind.REVERTED),
        (R, (R, R), False, EventKind.REVERTED_ALREADY),
        (R, (R, A), True, EventKind.REVERTED_IN_PART),
    ],
)
def test_a_process_tells_whether_all_groups_are_as_was_wanted_and_whether_something_was_done(
    wanted: PatchState, states: tuple[PatchState, ...], changed: bool, kind: EventKind
) -> None:
    p = process(*(group(s) for s in states), wanted=wanted, changed=changed)
    assert p.is_whole == (set(states) == {wanted})
    assert list(process_events("id", [p], [], [])) == [Event(kind, "id", 7, 99)]


def test_events_are_in_the_order_of_the_report_and_each_names_its_patch_and_process() -> None:
    half = process(group(A), group(R, ON_STACK), replaced=("old", "older"))
    failed = FailedProcess(8, 100, "other", "/usr/bin/other", "", "", "it has ended", "do", Reason.ENDED, 4)
    unread = UnreadProcess(9, "third", Cause(Reason.DENIED_READ, "no permission"))
    assert list(process_events("id", [half], [failed], [unread], ended=[10, 11], executed=[12])) == [
        Event(EventKind.APPLIED_IN_PART, "id", 7, 99, (ON_STACK,)),
        Event(EventKind.REPLACED, "old", 7, 99),
        Event(EventKind.REPLACED, "older", 7, 99),
        Event(EventKind.FAILED, "id", 8, 100, (Cause(Reason.ENDED, "it has ended", "do"),)),
        Event(EventKind.ENDED, "id", 10, 0),
        Event(EventKind.ENDED, "id", 11, 0),
        Event(EventKind.EXECUTED, "id", 12, 0),
        Event(EventKind.UNREAD, "id", 9, 0, (unread.why,)),
    ]


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (KernelOutcome.APPLIED, EventKind.APPLIED),
        (KernelOutcome.ALREADY, EventKind.APPLIED_ALREADY),
        (KernelOutcome.REVERTED, EventKind.REVERTED),
        (KernelOutcome.DISABLED, EventKind.REVERTED),
    ],
)
def test_the_kernel_is_pid_0(outcome: KernelOutcome, kind: EventKind) -> None:
    change = ChangedKernel("livepatch_x", outcome, 0.5, (), ())
    assert list(kernel_events(change)) == [Event(kind, "livepatch_x", 0, 0)]
    older = replace(change, replaced=("livepatch_old",))
    assert list(kernel_events(older))[1:] == [Event(EventKind.REPLACED, "livepatch_old", 0, 0)]
