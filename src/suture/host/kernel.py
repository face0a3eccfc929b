"""A patch and the running kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suture.error import BadOption, ExitCode
from suture.host import told
from suture.host.described import described, shown
from suture.host.facts import this_host
from suture.host.recipient import ApplyOptions, Count, refuse_for_kernel, uncounted
from suture.kernel import boot
from suture.kernel.check import check, facts
from suture.kernel.manifest import KernelPatch
from suture.kernel.transition import apply, revert
from suture.patch.admission import admit
from suture.report.change import kernel_events
from suture.report.document import ApplyReport, ChangeReport, PlanReport, RevertReport, ShowReport
from suture.report.kernel import ChangedKernel, KernelPlan
from suture.report.moment import now

_ONE = "leave it out: the kernel is one"


@dataclass(frozen=True)
class RunningKernel:
    """A `Target`: the module by its name in the kernel, and its file, which is needed to apply and to show."""

    module: str
    path: Path = Path()
    file: KernelPatch | None = None

    @classmethod
    def of(cls, path: Path, patch: KernelPatch) -> RunningKernel:
        return cls(patch.manifest.module, path, patch)

    def apply(self, pids: Sequence[int], options: ApplyOptions, count: Count = uncounted) -> ApplyReport:
        patch = self._admitted(pids, options)
        result = told.transition(apply(self.path, patch, options.timeout, options.accept_loss))
        if options.at_boot:
            boot.install(self.path, patch)
        return ApplyReport(**self._changed(result), file=described(patch))

    def plan(self, pids: Sequence[int], options: ApplyOptions) -> PlanReport:
        patch = self._admitted(pids, options)
        notes = check(patch, facts(tuple(patch.manifest.objects)), options.accept_loss)
        known = described(patch)
        return PlanReport(
            now(), int(ExitCode.OK), this_host(), known, (), notes, KernelPlan(self.module, known.functions)
        )

    def revert(self, pids: Sequence[int], to: str, options: ApplyOptions, count: Count = uncounted) -> RevertReport:
        refuse_for_kernel(("pid", pids, _ONE))
        if to:
            raise BadOption("--to is for processes", "load the other kernel patch: suture apply FILE.ko")
        result = told.transition(revert(self.module, options.timeout))
        boot.forget(self.module)
        return RevertReport(**self._changed(result))

    def show(self) -> ShowReport:
        return shown(self._whole())

    def _changed(self, result: ChangedKernel) -> dict[str, Any]:
        """The fields of a `ChangeReport` about the kernel alone."""
        change = ChangeReport(
            now(),
            int(ExitCode.OK),
            this_host(),
            patch=self.module,
            processes=(),
            failed=(),
            unread=(),
            ended=(),
            executed=(),
            kernel=result,
            notes=(),
            events=tuple(kernel_events(result)),
            scan_seconds=None,
            seconds=None,
        )
        return vars(change)

    def _whole(self) -> KernelPatch:
        if self.file is None:
            raise BadOption(f"{self.module}: only a name", "give the patch file")
        return self.file

    def _admitted(self, pids: Sequence[int], options: ApplyOptions) -> KernelPatch:
        patch = self._whole()
        refuse_for_kernel(
            ("pid", pids, _ONE),
            ("--jobs", options.jobs, _ONE),
            ("--replace", options.replace, "make a cumulative patch: suture make --replace"),
        )
        admit(
            str(self.path),
            is_complete=patch.manifest.is_complete,
            is_proved=bool(patch.manifest.units),
            missing=[a.reason for f in patch.manifest.fixes for a in f.ledger.missing],
            accept_partial=options.accept_partial,
            accept_unproved=options.accept_unproved,
        )
        return patch
