"""What is in force on this host, put into effect: in processes that run, in those that start, and in the kernel; and
taken out again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from suture.agent import kept
from suture.agent.beside import beside
from suture.agent.decision import Decision
from suture.agent.guard import StartGuard
from suture.agent.hand import Hand, HandGone, OwnHand, Patched
from suture.agent.health import HEALTH, Health, Suspicion
from suture.agent.hold import facts
from suture.agent.journal import Journal
from suture.agent.kernel_load import KernelLoad
from suture.agent.policy import OnFailure, Policy
from suture.agent.population import KnownProcesses
from suture.agent.register import Register
from suture.agent.starts import LateStarts
from suture.error import SutureError
from suture.host.recipient import ApplyOptions
from suture.kernel.livepatch import build_id as kernel_build_id
from suture.kernel.livepatch import patches as kernel_patches
from suture.patch.statement import file_name
from suture.process.see.execution import Executions
from suture.process.see.find import Found, Unread
from suture.process.tracee import read_status
from suture.report.agent import AgentVerdict, HealthSeen, PatchInForce
from suture.report.change import FailedProcess
from suture.report.document import ApplyReport, RevertReport
from suture.report.feed import Offer
from suture.report.patch import PatchKind
from suture.report.reason import Cause, Reason
from suture.report.start import StartCover, StartEnd

_RETRY_SECONDS, _FOLLOW_SECONDS = 600.0, 0.9
_MARK = b"memfd:suture:"
_MOST_PASSES = 8
_PASSING = (Reason.BUSY, Reason.GONE)


@dataclass
class InEffect:
    """Of the patches in a register. `policy` reads what the administrator wants now, and raises SutureError. `hand`
    does what takes tracing, this process itself where none is given."""

    register: Register
    journal: Journal
    policy: Callable[[], Policy]
    hand: Hand | None = None
    known: KnownProcesses = field(default_factory=KnownProcesses)

    def __post_init__(self) -> None:
        self._hand = self.hand or OwnHand(self.register.patches)
        # (pid, start time, patch) of processes that refused a patch, and when they are tried again (monotonic seconds)
        self._refused: dict[tuple[int, int, str], float] = {}
        self._executions: Executions | None = None
        with suppress(OSError, ValueError):  # what covers starts then is told where it matters
            self._executions = Executions()
        self._follow_at = 0.0
        self._is_settling = False
        self.guard = StartGuard(self.register, self.journal, self._hand, is_told=self._executions is not None)
        self._late = LateStarts(self.journal)
        self.health = Health(self.journal)
        self._health_kept: HealthSeen | None = None
        self._kernel = KernelLoad(self.register, self.journal)

    def close(self) -> None:
        """Hold no start and watch no process any more."""
        self.guard.close()
        self.health.close()
        self._kernel.close()
        if self._executions is not None:
            self._executions.close()
            self._executions = None

    def begin(self) -> None:
        """Hold starts with what was in force before. Raises SutureError where the policy is wrong, and OSError."""
        self._kernel.begin()
        self.health.came({r.offer.patch: _seconds_since(r) for r in self.register.content.in_force})
        self.hold_starts(self.policy())

    def look(self, own: Policy) -> tuple[Sequence[Found], Sequence[Unread], tuple[str, ...]]:
        """All processes, those that could not be looked at, and the patches (ids) that something lacks."""
        found, unread = self.hold_starts(own)
        self._kernel.settle()
        kernel = kernel_build_id()
        loaded = {p.record.get("patch", "") for p in kernel_patches() if p.is_ours}
        lacking = tuple(
            r.offer.patch
            for r in self.register.content.in_force
            if not r.held
            and (
                self._without(found, r.offer, own)
                if r.offer.kind is PatchKind.PROCESS
                else r.offer.build_id == kernel and r.offer.patch not in loaded
            )
        )
        alive = {(p.pid, p.start_time) for p in found}
        self._refused = {k: v for k, v in self._refused.items() if k[:2] in alive}
        return found, unread, lacking

    def hold_starts(self, own: Policy) -> tuple[Sequence[Found], Sequence[Unread]]:
        """Later starts get what is in force from now on."""
        found, unread = self.known.look()
        self.guard.watch(self.register.content.in_force, found, own)
        return found, unread

    def notice(self) -> None:
        """What came of starts: those that began with the old code are patched now."""
        starts = self.guard.take()
        for start in starts:
            if start.end is StartEnd.PATCHED:
                self.health.patched([start.pid], start.patches, {start.pid: start.service})
        self._late.note(starts, self.guard.state.let_go, self.register.content.in_force)
        try:
            if self.health.has_come():
                self._suspect(self.policy())
            self._keep_health()
        except (SutureError, OSError) as problem:
            self.journal.tell_change("problem", str(problem))
        if self.guard.state.cover is StartCover.TOLD:
            self._follow()
        for patch in self._late.due():
            row = self.register.row(patch)
            if row is not None and not row.held:
                try:
                    self.put_in(row, self.policy())
                except (SutureError, OSError) as problem:  # the next look tries again
                    self.journal.tell_change("problem", str(problem), patch)

    def _follow(self) -> None:
        """Patch what has started, where it could not be held: at once, and once more when it has loaded all."""
        now = time.monotonic()
        if self._executions is None or now < self._follow_at:
            return
        have_come = self._executions.have_come()
        if not have_come and not self._is_settling:
            return
        self._follow_at, self._is_settling = now + _FOLLOW_SECONDS, have_come
        try:
            own = self.policy()
            found, _ = self.hold_starts(own)
            for row in self.register.content.in_force:
                if row.offer.kind is PatchKind.PROCESS and not row.held and self._without(found, row.offer, own):
                    self.put_in(row, own)
        except (SutureError, OSError) as problem:  # the next look tries again
            self.journal.tell_change("problem", str(problem))

    def _suspect(self, own: Policy) -> None:
        """What crashed after it was patched: the patch goes no further, and out again where the policy says so."""
        window = own.health.window.total_seconds()
        for found in self.health.suspicions(window):
            for patch in found.patches:
                self._suspect_one(patch, "crashed", found.what, own, self.health.count(patch, window))
            self._spare(found)
        for found in self.health.loops(window, own.health.exits):
            for patch in found.patches:
                self._suspect_one(patch, "fails", found.what, own, own.health.crashes)
            self._spare(found)

    def _spare(self, found: Suspicion) -> None:
        """Say of older patches that they stay."""
        for row in (self.register.row(p) for p in found.spared):
            if row is not None and not row.held:
                text = f"{found.what}; {', '.join(found.patches)} came later and is suspected first"
                self.journal.tell("stays", text, row.offer.patch)

    def _keep_health(self) -> None:
        """What is seen, for `suture agent status`."""
        if self.health.seen != self._health_kept:
            self._health_kept = self.health.seen
            kept.write_value(self.register.folder / HEALTH, self._health_kept)

    def _suspect_one(self, patch: str, word: str, what: str, own: Policy, count: int) -> None:
        row = self.register.row(patch)
        if row is None or row.held:
            return
        self.journal.tell(word, what, patch)
        why = Cause(Reason.AGENT_CRASHED, what, f"find out why; to try it again: suture agent allow {patch}")
        row = replace(row, why=why, failed=row.failed + 1)
        if own.health.on_crash is OnFailure.GO_ON or count < own.health.crashes:
            self.register.put(row)
            return
        self.register.disallow(patch)
        row = replace(row, held=True)
        self.register.put(row)
        self.hold_beside(row)
        self.hold_starts(own)
        self.journal.tell("held", what, patch)
        if own.health.on_crash is OnFailure.REVERT:
            self.take_out(row, own, keep=True)

    def put_in(self, row: PatchInForce, own: Policy, *, anew: bool = False) -> Decision:
        """Into all processes that it is for, or into the kernel; first of all into those that start. The other parts of
        its fix that are here go in with it, in one stop of each process."""
        self.register.put(row)
        offers = [row.offer, *(r.offer for r in self._beside(row))]
        for other in self._beside(row):
            self.register.put(replace(other, held=False, why=None) if other.held else other)
        found, _ = self.hold_starts(own)
        options = ApplyOptions(timeout=own.timeout, replace=any(o.replaces for o in offers))
        target = self._hand.target([file_name(o) for o in offers])
        try:
            report = self._applied(target, offers, own, options, None if anew else found)
        except HandGone:
            raise
        except SutureError as problem:
            report = None
            failed: tuple[Cause, ...] = (problem.cause,)
        else:
            failures = [f for f in report.failed if self._counts(f)] if report else []
            failed = tuple(f.cause for f in failures)
            if report is not None:
                self._tell_applied(row.offer, report)
                for offer in offers:
                    mine = [p.pid for p in report.processes if p.changed and p.patch == offer.patch]
                    self.health.patched(mine, [offer.patch])
                self.known.forget({p.pid for p in (*report.processes, *report.failed)})
                until = time.monotonic() + _RETRY_SECONDS
                self._refused |= {(f.pid, f.start_time, o.patch): until for f in failures for o in offers}
        done = _count(report, row.offer)
        for other in self._beside(row):
            self.register.put(replace(other, processes=other.processes + _count(report, other.offer, changed=True)))
        row = replace(row, processes=row.processes + done, failed=len(failed), why=failed[0] if failed else row.why)
        if failed and own.on_failure is not OnFailure.GO_ON:
            row = replace(row, held=True)
            self.journal.tell("held", failed[0].text, row.offer.patch)
        self.register.put(row)
        if row.held:
            self.hold_beside(row)
            if own.on_failure is OnFailure.REVERT:
                return self.take_out(row, own, keep=True)
            self.hold_starts(own)
        if not failed:
            for offer in offers:
                self._drop_replaced(offer)
        return Decision(AgentVerdict.APPLY, failed[0] if failed else None)

    def _beside(self, row: PatchInForce) -> list[PatchInForce]:
        """The other parts of its fix that are here, but those held for a reason of their own, and those replaced."""
        all_of_them = self.register.content.in_force
        replaced = {i for r in (row, *(r for r in all_of_them if not r.has_crashed)) for i in r.offer.replaces}
        here = [r for r in all_of_them if r.offer.patch not in replaced and (not r.held or _only_beside(r))]
        rows = {r.offer.patch: r for r in here}
        return [rows[o.patch] for o in beside(row.offer, [r.offer for r in here])]

    def hold_beside(self, row: PatchInForce) -> None:
        """Where one part of a fix goes no further, the others do not either."""
        for other in self._beside(row):
            if not other.held:
                text = f"it is a part of the same fix as {row.offer.patch}, which goes no further"
                why = Cause(Reason.APPLIED_TOGETHER, text, f"it goes on when that one does: {row.offer.patch}")
                self.register.put(replace(other, held=True, why=why))

    def _counts(self, failure: FailedProcess) -> bool:
        """Whether a failure is one: what passes by itself is none, nor that the process is just being held at its
        start, where it gets the patch."""
        if failure.reason.kind in _PASSING:
            return False
        if failure.reason is not Reason.TRACED:
            return True
        try:
            tracer = read_status(failure.pid).tracer
        except SutureError:
            return False
        return tracer != 0 and not self.guard.is_tracer(tracer)

    def _drop_replaced(self, offer: Offer) -> None:
        """Its predecessors are out of force wherever it is in, so that they go into no further process."""
        for older in (self.register.row(i) for i in offer.replaces):
            if older is not None:
                self.journal.tell("replaced", f"by {offer.patch}", older.offer.patch)
                self.register.drop(older.offer)
                self.health.taken_out(older.offer.patch)

    def _applied(
        self,
        target: Patched,
        offers: Sequence[Offer],
        own: Policy,
        options: ApplyOptions,
        found: Sequence[Found] | None,
    ) -> ApplyReport | None:
        """Into all of `found` that should have it, all there are without that, and into those that are born of them
        meanwhile. None where no process is to have it."""
        if offers[0].kind is PatchKind.KERNEL:
            return self._kernel.apply(target, offers[0], options)
        if found is None and not own.chooses_processes:
            return target.apply([], options)  # static programs with a copy of the old code too
        if found is None:
            found, _ = self.known.look()
        report: ApplyReport | None = None
        done: set[tuple[int, int]] = set()
        for _ in range(_MOST_PASSES):
            lacking = {(p.pid, p.start_time) for offer in offers for p in self._without(found, offer, own)} - done
            if not lacking:
                break
            pids = sorted(pid for pid, _ in lacking)
            try:
                latest = _without_those_that_left(target.apply(pids, replace(options, aside=True)))
            except HandGone:
                raise
            except SutureError:
                if report is None:
                    raise
                break  # what the first pass did is told; the next look tries again
            report = _together(report, latest) if report else latest
            done |= {(pid, start) for pid, start in lacking if pid not in latest.executed}
            found, _ = self.known.look()
        return report

    def _tell_applied(self, offer: Offer, report: ApplyReport) -> None:
        new = [p for p in report.processes if p.changed]
        if new or report.failed or report.kernel:
            pauses = max((max(p.pauses_us, default=0.0) for p in new), default=0.0)
            where = (
                "the kernel"
                if report.kernel
                else f"{len({p.pid for p in new})} processes, longest pause {pauses:.0f} us"
            )
            self.journal.tell("applied", f"to {where}; {len(report.failed)} failed", offer.patch)
        for one in report.failed:
            self.journal.tell("failed", f"pid {one.pid} {one.command}: {one.error} ({one.remedy})", offer.patch)

    def _without(self, found: Sequence[Found], offer: Offer, own: Policy) -> list[Found]:
        """The processes that should have a patch, may have it, and do not carry it."""
        mark, now = _MARK + offer.patch.encode(), time.monotonic()
        return [
            p
            for p in found
            if any(i.build_id == offer.build_id for i in p.images)
            and mark not in p.maps.raw
            and self._refused.get((p.pid, p.start_time, offer.patch), 0.0) <= now
            and (not own.chooses_processes or own.takes_process(facts(p.pid)))
        ]

    def take_out(self, row: PatchInForce, own: Policy, *, keep: bool) -> Decision:
        """Out of all processes, or the kernel, and into no further one. With `keep` the register goes on to tell of
        it."""
        why = row.why or Cause(Reason.WITHDRAWN, "it is being taken out", "nothing is to be done")
        self.register.put(replace(row, held=True, why=why))
        self.hold_beside(row)
        self.hold_starts(own)
        target = self._hand.target([file_name(row.offer)])
        if row.offer.kind is PatchKind.KERNEL:
            return self._take_out_of_kernel(target, row, own, keep=keep)
        report: RevertReport = target.revert([], "", ApplyOptions(timeout=own.timeout))
        self.known.forget()
        done = [p for p in report.processes if p.changed]
        self.journal.tell("reverted", f"in {len(done)} processes; {len(report.failed)} failed", row.offer.patch)
        busy = next((f.cause for f in report.failed if f.reason.kind is not Reason.GONE), None)
        if busy is not None:
            self.register.put(replace(row, held=True, failed=len(report.failed), why=busy))
            return Decision(AgentVerdict.WAIT, busy)
        return self._taken_out(row, keep=keep)

    def _take_out_of_kernel(self, target: Patched, row: PatchInForce, own: Policy, *, keep: bool) -> Decision:
        """One that a sleeping task keeps busy is tried again at the next look."""
        try:
            count = self._kernel.revert(target, row.offer, ApplyOptions(timeout=own.timeout))
        except SutureError as problem:
            return Decision(AgentVerdict.WAIT, problem.cause)
        self.journal.tell("reverted", "in the kernel" if count else "the kernel does not have it", row.offer.patch)
        return self._taken_out(row, keep=keep)

    def _taken_out(self, row: PatchInForce, *, keep: bool) -> Decision:
        self.health.taken_out(row.offer.patch)
        if keep:
            self.register.put(row)
        else:
            self.register.drop(row.offer)
        return Decision(AgentVerdict.APPLY)


def _without_those_that_left(report: ApplyReport) -> ApplyReport:
    """Each had the binary when it was chosen. One that has it no more executes another program: that is no failure, and
    the next look finds what it has loaded then."""
    left = [f.pid for f in report.failed if f.reason is Reason.BUILD_DIFFERS]
    failed = tuple(f for f in report.failed if f.pid not in left)
    return replace(report, failed=failed, executed=(*report.executed, *left))


def _together(first: ApplyReport, then: ApplyReport) -> ApplyReport:
    """One report of two passes over processes that were named."""
    return replace(
        first,
        processes=first.processes + then.processes,
        failed=first.failed + then.failed,
        ended=first.ended + then.ended,
        executed=first.executed + then.executed,
        notes=tuple(dict.fromkeys(first.notes + then.notes)),
        events=first.events + then.events,
    )


def _seconds_since(row: PatchInForce) -> float:
    """Since it came to this host; 0 where the clock was set back meanwhile."""
    return max((datetime.now(UTC) - datetime.fromisoformat(row.since)).total_seconds(), 0.0)


def _count(report: ApplyReport | None, offer: Offer, *, changed: bool = False) -> int:
    """The processes that have it now; only those that it was put into, with `changed`. The kernel has none."""
    rows = report.processes if report else ()
    return len([p for p in rows if p.patch == offer.patch and (p.changed or not changed)])


def _only_beside(row: PatchInForce) -> bool:
    return row.why is not None and row.why.reason is Reason.APPLIED_TOGETHER
