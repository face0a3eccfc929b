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
from suture.process.change.prepared import Prepared
from suture.process.change.present import Manner
from suture.process.change.result import Result
from suture.process.change.revert import revert
from suture.process.change.together import fitting_together, planned_together
from suture.process.change.transition import Transition
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
    """A `Recipient`. `file` is needed to apply and to show; a process carries what is needed to revert.

    `companions` are applied in the same stop of a process; with `where_loaded` a process that is named may have loaded
    only some of the binaries.
    """

    id: str
    name: str = ""
    file: PatchFile | None = None
    companions: tuple[Processes, ...] = ()
    where_loaded: bool = False

    @classmethod
    def of(cls, path: Path, patch: PatchFile) -> Processes:
        return cls(patch.id, str(path), patch)

    def apply(self, pids: Sequence[int], options: ApplyOptions, count: Count = uncounted) -> ApplyReport:
        """Raises also what `suture.process.change.apply` does, for one process alone."""
        patches = self._all_admitted(options)
        patch, others = patches[0], patches[1:]
        run: Everywhere | None = None
        change = partial(_apply, patches, self.where_loaded, options)
        if len(pids) == 1:
            one = partial(change, pids[0], options.timeout, None)
            outcomes: Sequence[Outcome] = [alone(pids[0], one, options.timeout) if options.aside else one()]
        elif pids:
            outcomes = in_each(pids, change, timeout=options.timeout, jobs=options.jobs, report=count)
        else:
            run = apply_everywhere(
                patch,
                companions=others,
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
            _spread(patches),
            (
                *process_events(patch.id, became.done, became.failed, became.unread, ended, executed),
                *(e for other in others for e in process_events(other.id, (), became.failed, ())),
            ),
            run.scan_seconds if run else None,
            run.seconds if run else None,
            described(patch),
            tuple(described(p) for p in others),
        )

    def plan(self, pids: Sequence[int], options: ApplyOptions) -> PlanReport:
        patches = self._all_admitted(options)
        builds = dict.fromkeys(p.manifest.target.build_id for p in patches)
        planned = partial(_planned, patches, self.where_loaded or not pids, options)
        pids = pids or sorted({pid for build in builds for pid in find(build)})
        steps = tuple(step for pid in pids for step in named(pid, partial(planned, pid)))
        endless = (note for p in patches for note in endless_notes(p.manifest.verdict.notes))
        notes = (*endless, *_spread(patches))
        others = tuple(described(p) for p in patches[1:])
        return PlanReport(now(), int(ExitCode.OK), this_host(), described(patches[0]), steps, notes, None, others)

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

    def _all_admitted(self, options: ApplyOptions) -> list[PatchFile]:
        return [one.admitted(options) for one in (self, *self.companions)]

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


def _apply(
    patches: Sequence[PatchFile],
    where_loaded: bool,
    options: ApplyOptions,
    pid: int,
    seconds: float,
    population: Population | None,
) -> Result:
    return apply(
        pid,
        patches[0],
        companions=patches[1:],
        where_loaded=where_loaded,
        timeout=seconds,
        replace=options.replace,
        accept_loss=options.accept_loss,
        population=population,
    )


def _spread(patches: Sequence[PatchFile]) -> tuple[str, ...]:
    return spread_notes((fix for p in patches for fix in p.manifest.fixes), {p.manifest.target.file for p in patches})


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
            tuple(row for r in done for row in told.changed(r)),
            tuple(told.failed(f) for f in failed),
            tuple(told.unread(u) for u in unread),
            code,
        )


def _planned(patches: Sequence[PatchFile], where_loaded: bool, options: ApplyOptions, pid: int) -> list[PlannedWrite]:
    with Tracee(pid) as tracee:
        maps = read_maps(tracee.via)
        manner = Manner(options.replace, options.accept_loss)
        fitting = fitting_together(tracee, maps, patches, where_loaded)
        return _steps(pid, *planned_together(tracee, maps, fitting, manner))


def _steps(pid: int, prepared: Sequence[Prepared], transitions: Sequence[Transition]) -> list[PlannedWrite]:
    rows = []
    present: dict[int, bytes] = {}
    first: list[Transition] = []
    for one in prepared:
        linked = one.linked
        data = linked.record.base + len(linked.text)
        if one.existing is None and one.transitions:
            rows.append(
                PlannedWrite(
                    pid, linked.record.base, f"{len(linked.text)} r-x", "new memory: record, code, constants, stubs"
                )
            )
            rows.append(PlannedWrite(pid, data, f"{len(linked.data)} rw-", "new memory: switches, data"))
        present |= {linked.record.base: linked.text, data: linked.data}
        first += [one.registration] if one.registration and one.transitions else []

    def planned(address: int, size: int) -> bytes:
        for start, data in present.items():
            if start <= address < start + len(data):
                return data[address - start : address - start + size]
        return b""

    for transition in (*first, *transitions):
        for step in transition.steps(planned):
            writes = ((step.address, step.data), *step.also)
            rows += [PlannedWrite(pid, address, data.hex(), step.what) for address, data in writes]
    return rows
