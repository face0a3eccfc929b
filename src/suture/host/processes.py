"""A patch and the processes that it is for, or that carry it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from suture.error import BadOption, ExitCode
from suture.host import told
from suture.host.described import described, shown, spread_notes
from suture.host.facts import this_host
from suture.host.recipient import ApplyOptions, Count, uncounted
from suture.patch.admission import admit
from suture.patch.file import PatchFile
from suture.patch.main_loop import endless_notes
from suture.process.change.apply import apply
from suture.process.change.fitting import fitting_images
from suture.process.change.prepared import Prepared, prepare
from suture.process.change.result import Result
from suture.process.change.revert import revert
from suture.process.everywhere import Everywhere, Failure, Outcome, apply_everywhere, in_each
from suture.process.memory.maps import read_maps
from suture.process.see.aside import alone, named
from suture.process.see.find import Unread, find
from suture.process.see.population import Population
from suture.process.see.status import status_of_all
from suture.process.tracee import Tracee
from suture.report.change import ChangedProcess, FailedProcess, process_events
from suture.report.document import ApplyReport, PlannedWrite, PlanReport, RevertReport, ShowReport
from suture.report.moment import now
from suture.report.process import UnreadProcess


@dataclass(frozen=True)
class Processes:
    """A `Recipient`. `file` is needed to apply and to show; a process carries what is needed to revert."""

    id: str
    name: str = ""
    file: PatchFile | None = None

    @classmethod
    def of(cls, path: Path, patch: PatchFile) -> Processes:
        return cls(patch.id, str(path), patch)

    def apply(self, pids: Sequence[int], options: ApplyOptions, count: Count = uncounted) -> ApplyReport:
        """Raises also what `suture.process.change.apply` does, for one process alone."""
        patch = self.admitted(options)
        run: Everywhere | None = None
        if len(pids) == 1:
            one = partial(
                apply, pids[0], patch, timeout=options.timeout, replace=options.replace, accept_loss=options.accept_loss
            )
            outcomes: Sequence[Outcome] = [alone(pids[0], one, options.timeout) if options.aside else one()]
        elif pids:
            change = partial(_apply, patch, options)
            outcomes = in_each(pids, change, timeout=options.timeout, jobs=options.jobs, report=count)
        else:
            run = apply_everywhere(
                patch,
                timeout=options.timeout,
                replace=options.replace,
                accept_loss=options.accept_loss,
                jobs=options.jobs,
                report=count,
            )
            outcomes = run.outcomes
        became = _Became.of(outcomes, run.unread if run else ())
        ended, executed = (run.ended, run.executed) if run else ((), ())
        return ApplyReport(
            now(),
            int(became.exit_code),
            this_host(),
            patch.id,
            became.done,
            became.failed,
            became.unread,
            ended,
            executed,
            None,
            spread_notes(patch.manifest.fixes),
            tuple(process_events(patch.id, became.done, became.failed, became.unread, ended, executed)),
            run.scan_seconds if run else None,
            run.seconds if run else None,
            described(patch),
        )

    def plan(self, pids: Sequence[int], options: ApplyOptions) -> PlanReport:
        patch = self.admitted(options)
        planned = partial(_planned, patch, options)
        pids = pids or find(patch.manifest.target.build_id)
        steps = tuple(step for pid in pids for step in named(pid, partial(planned, pid)))
        manifest = patch.manifest
        notes = (*endless_notes(manifest.verdict.notes), *spread_notes(manifest.fixes))
        return PlanReport(now(), int(ExitCode.OK), this_host(), described(patch), steps, notes, None)

    def revert(self, pids: Sequence[int], to: str, options: ApplyOptions, count: Count = uncounted) -> RevertReport:
        """Raises also what `suture.process.change.apply` does, for one process alone."""
        unread: Sequence[Unread] = ()
        ended: tuple[int, ...] = ()
        if len(pids) == 1:
            one = partial(revert, pids[0], self.id, to=to, timeout=options.timeout)
            outcomes: Sequence[Outcome] = [alone(pids[0], one, options.timeout) if options.aside else one()]
        elif pids:
            outcomes = in_each(pids, partial(_revert, self.id, to), timeout=options.timeout, report=count)
        else:
            found, unread = status_of_all()
            carriers = [p.pid for p in found if any(s.id == self.id for s in p.patches)]
            tried = in_each(carriers, partial(_revert, self.id, to), timeout=options.timeout, report=count)
            # found by looking, and nothing to revert any more: it has ended meanwhile
            ended = tuple(o.pid for o in tried if _has_ended(o))
            outcomes = [o for o in tried if not _has_ended(o)]
        became = _Became.of(outcomes, unread)
        return RevertReport(
            now(),
            int(became.exit_code if outcomes or pids else ExitCode.NO_PROCESS),
            this_host(),
            self.id,
            became.done,
            became.failed,
            became.unread,
            ended,
            (),
            None,
            (),
            tuple(process_events(self.id, became.done, became.failed, became.unread, ended)),
            None,
            None,
        )

    def show(self) -> ShowReport:
        return shown(self._whole())

    def _whole(self) -> PatchFile:
        if self.file is None:
            raise BadOption(f"{self.id}: only an id", "give the patch file")
        return self.file

    def admitted(self, options: ApplyOptions) -> PatchFile:
        patch = self._whole()
        if options.at_boot:
            raise BadOption("--at-boot is for kernel patches", "processes load their files anew: fix the file too")
        admit(
            self.name,
            is_complete=patch.manifest.is_complete,
            is_proved=bool(patch.manifest.proof.units),
            missing=patch.manifest.missing,
            accept_partial=options.accept_partial,
            accept_unproved=options.accept_unproved,
        )
        return patch


def _apply(patch: PatchFile, options: ApplyOptions, pid: int, seconds: float, population: Population) -> Result:
    return apply(
        pid, patch, timeout=seconds, replace=options.replace, accept_loss=options.accept_loss, population=population
    )


def _revert(identity: str, to: str, pid: int, seconds: float, population: Population) -> Result:
    return revert(pid, identity, to=to, timeout=seconds, population=population)


def _has_ended(outcome: Outcome) -> bool:
    return isinstance(outcome, Failure) and outcome.exit_code is ExitCode.NO_PROCESS


@dataclass(frozen=True)
class _Became:
    """What became of all processes, in the words of a report; the exit code tells all, some or none."""

    done: tuple[ChangedProcess, ...]
    failed: tuple[FailedProcess, ...]
    unread: tuple[UnreadProcess, ...]
    exit_code: ExitCode

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], unread: Sequence[Unread]) -> _Became:
        """`unread` may be among those meant."""
        done = [o for o in outcomes if isinstance(o, Result)]
        failed = [o for o in outcomes if isinstance(o, Failure)]
        code = ExitCode.OK
        if failed and not any(r.exit_code is ExitCode.OK or r.changed for r in done):
            code = failed[0].exit_code if len({f.exit_code for f in failed}) == 1 else ExitCode.REFUSED
        elif failed or unread or any(r.exit_code is not ExitCode.OK for r in done):
            code = ExitCode.PARTIAL
        return cls(
            tuple(told.changed(r) for r in done),
            tuple(told.failed(f) for f in failed),
            tuple(told.unread(u) for u in unread),
            code,
        )


def _planned(patch: PatchFile, options: ApplyOptions, pid: int) -> list[PlannedWrite]:
    with Tracee(pid) as tracee:
        maps = read_maps(tracee.via)
        return [
            step
            for image in fitting_images(tracee, maps, patch)
            for step in _steps(pid, prepare(tracee, maps, patch, options.replace, image, options.accept_loss))
        ]


def _steps(pid: int, prepared: Prepared) -> list[PlannedWrite]:
    linked = prepared.linked
    base = linked.record.base
    rows = []
    if prepared.existing is None and prepared.transitions:
        rows.append(PlannedWrite(pid, base, f"{len(linked.text)} r-x", "new memory: record, code, constants, stubs"))
        rows.append(PlannedWrite(pid, base + len(linked.text), f"{len(linked.data)} rw-", "new memory: switches, data"))
    present = {base: linked.text, base + len(linked.text): linked.data}

    def planned(address: int, size: int) -> bytes:
        for start, data in present.items():
            if start <= address < start + len(data):
                return data[address - start : address - start + size]
        return b""

    first = (prepared.registration,) if prepared.registration and prepared.transitions else ()
    for transition in (*first, *prepared.transitions):
        rows += [PlannedWrite(pid, s.address, s.data.hex(), s.what) for s in transition.steps(planned)]
    return rows
