"""What an apply or a revert came to: in each process, in the kernel, and as events for a journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from suture.report.kernel import ChangedKernel, KernelOutcome
from suture.report.patch import Earlier, OldFrames, PatchState, ReportedGroup
from suture.report.process import Process, UnreadProcess
from suture.report.reason import Cause, Reason


@dataclass(frozen=True)
class ChangedProcess(Process):
    """One process afterwards. `changed`: something was written. Pauses in microseconds, one for each stop, all threads
    together.

    `replaced` are ids of patches whose place was taken, `lost` functions of theirs that run their original code now;
    `earlier` other patches of these functions that are there after a revert, and not in force. `never_applied`: there
    was nothing to revert, as the patch was placed and never in force. `companions` are ids of patches that changed in
    the same stop, each with a row of its own; the first of these rows has the pauses.
    """

    patch: str
    name: str
    wanted: PatchState
    groups: tuple[ReportedGroup, ...]
    never_applied: bool
    replaced: tuple[str, ...]
    lost: tuple[str, ...]
    earlier: tuple[Earlier, ...]
    changed: bool
    pauses_us: tuple[float, ...]
    threads: int
    foreign_stacks: int
    suspended_stacks: int
    seconds: float
    old_frames: OldFrames | None
    companions: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether all groups are as was wanted."""
        return all(g.state is self.wanted for g in self.groups)


@dataclass(frozen=True)
class FailedProcess(Process):
    """A process that was left as it was, and why. `exit_code` is what the command ends with when this is all that
    happened."""

    error: str
    remedy: str
    reason: Reason
    exit_code: int

    @property
    def cause(self) -> Cause:
        return Cause(self.reason, self.error, self.remedy)


class EventKind(Enum):
    """What happened."""

    APPLIED = "patch.applied"
    APPLIED_ALREADY = "patch.applied-already"
    APPLIED_IN_PART = "patch.applied-in-part"
    REVERTED = "patch.reverted"
    REVERTED_ALREADY = "patch.reverted-already"
    REVERTED_IN_PART = "patch.reverted-in-part"
    REPLACED = "patch.replaced"
    FAILED = "patch.failed"
    ENDED = "process.ended"
    EXECUTED = "process.executed-another-program"
    UNREAD = "process.not-read"


@dataclass(frozen=True)
class Event:
    """One thing that happened to a patch (its id; the module's name in the kernel) in a process (`pid`, `start_time` as
    in `Process`), or in the kernel (pid 0). `causes` are reasons for what was not done."""

    kind: EventKind
    patch: str
    pid: int
    start_time: int
    causes: tuple[Cause, ...] = ()


_EVENTS = {
    PatchState.APPLIED: (EventKind.APPLIED, EventKind.APPLIED_ALREADY, EventKind.APPLIED_IN_PART),
    PatchState.REVERTED: (EventKind.REVERTED, EventKind.REVERTED_ALREADY, EventKind.REVERTED_IN_PART),
}
_KERNEL_EVENTS = {
    KernelOutcome.APPLIED: EventKind.APPLIED,
    KernelOutcome.ALREADY: EventKind.APPLIED_ALREADY,
    KernelOutcome.REVERTED: EventKind.REVERTED,
    KernelOutcome.DISABLED: EventKind.REVERTED,
}


def process_events(
    patch: str,
    done: Sequence[ChangedProcess],
    failed: Sequence[FailedProcess],
    unread: Sequence[UnreadProcess],
    ended: Sequence[int] = (),
    executed: Sequence[int] = (),
) -> Iterator[Event]:
    """What happened in processes, in the order of the report."""
    for p in done:
        whole, already, part = _EVENTS[p.wanted]
        kind = part if not p.is_whole else whole if p.changed else already
        causes = tuple(g.why for g in p.groups if g.why is not None)
        yield Event(kind, p.patch, p.pid, p.start_time, causes)
        for older in p.replaced:
            yield Event(EventKind.REPLACED, older, p.pid, p.start_time)
    for f in failed:
        yield Event(EventKind.FAILED, patch, f.pid, f.start_time, (f.cause,))
    for pid in ended:
        yield Event(EventKind.ENDED, patch, pid, 0)
    for pid in executed:
        yield Event(EventKind.EXECUTED, patch, pid, 0)
    for u in unread:
        yield Event(EventKind.UNREAD, patch, u.pid, 0, (u.why,))


def kernel_events(change: ChangedKernel) -> Iterator[Event]:
    """What happened in the kernel."""
    yield Event(_KERNEL_EVENTS[change.outcome], change.name, 0, 0)
    for older in change.replaced:
        yield Event(EventKind.REPLACED, older, 0, 0)
