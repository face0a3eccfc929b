"""What `suture.process` and `suture.kernel` answer with, in the words of reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from suture.host.subject import process
from suture.report import kernel as report
from suture.report.change import ChangedProcess, FailedProcess
from suture.report.document import CarryingProcess
from suture.report.patch import CarriedPatch, PatchState, ReportedGroup
from suture.report.process import UnreadProcess
from suture.report.reason import Cause, Reason

if TYPE_CHECKING:  # to look at a process takes little of what changing one does, and the command is to answer at once
    from suture.kernel.livepatch import LoadedPatch
    from suture.kernel.transition import TransitionResult
    from suture.process.change.result import GroupResult, Result
    from suture.process.everywhere import Failure
    from suture.process.see.find import Unread
    from suture.process.see.status import PatchStatus, ProcessStatus


def changed(whole: Result) -> Iterator[ChangedProcess]:
    """One process after an apply or a revert: for each patch that changed in the stop."""
    for result in whole.each:
        yield _changed(result, tuple(r.patch for r in whole.each if r is not result))


def _changed(result: Result, companions: tuple[str, ...]) -> ChangedProcess:
    return ChangedProcess(
        **vars(process(result.pid)),
        patch=result.patch,
        name=result.name,
        wanted=PatchState(result.wanted.value),
        groups=tuple(_group(g) for g in result.groups),
        never_applied=result.never_applied,
        replaced=result.replaced,
        lost=result.lost,
        earlier=result.earlier,
        changed=result.changed,
        pauses_us=result.pauses_us,
        threads=result.threads,
        foreign_stacks=result.foreign_stacks,
        suspended_stacks=result.suspended_stacks,
        seconds=result.seconds,
        old_frames=result.old_frames,
        companions=companions,
    )


def failed(failure: Failure) -> FailedProcess:
    """One process that was left as it was."""
    return FailedProcess(
        **{**vars(process(failure.pid)), "command": failure.command},
        error=failure.error,
        remedy=failure.remedy,
        reason=failure.reason,
        exit_code=int(failure.exit_code),
    )


def unread(row: Unread) -> UnreadProcess:
    return UnreadProcess(row.pid, row.command, Cause(row.reason, row.why))


def carrying(status: ProcessStatus) -> CarryingProcess:
    """One process with the patches that it carries."""
    return CarryingProcess(
        **{**vars(process(status.pid)), "command": status.command},
        patches=tuple(_carried(p) for p in status.patches),
        tripwires=status.tripwires,
    )


def _group(result: GroupResult) -> ReportedGroup:
    state = PatchState(result.state.value)
    why = Cause(result.reason or Reason.BUSY, result.why) if result.why else None
    return ReportedGroup(result.name, result.functions, state, state, result.copy, why)


def _carried(patch: PatchStatus) -> CarriedPatch:
    return CarriedPatch(
        patch.id,
        patch.name,
        PatchState(patch.state.value),
        patch.file,
        patch.build_id,
        patch.package,
        patch.version,
        patch.fixes,
        patch.cves,
        patch.notes,
        tuple(
            ReportedGroup(g.name, g.functions, PatchState(g.state.value), PatchState(g.effective.value), 0, None)
            for g in patch.groups
        ),
        patch.base,
        patch.size,
        patch.bias,
        patch.why,
        patch.relaxed,
        patch.old_frames,
        patch.companions,
    )


def loaded(patch: LoadedPatch) -> report.LoadedModule:
    """A livepatch module that the kernel has."""
    from suture.kernel.attempts import counts

    return report.LoadedModule(
        patch.name,
        patch.record.get("patch", "") if patch.is_ours else "",
        patch.state,
        patch.enabled,
        patch.transition,
        patch.record.get("partial") == "yes",
        tuple(report.LivepatchedFunction(*f) for f in patch.functions),
        patch.fixes,
        patch.cves,
        counts((patch,)),
    )


def transition(result: TransitionResult) -> report.ChangedKernel:
    """What became of a kernel patch."""
    return report.ChangedKernel(result.name, result.outcome, result.seconds, result.notes, result.replaced)
