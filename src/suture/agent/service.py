"""The privileged part of the agent: it believes nothing that it is told. It reads the policy itself, checks again that
the feed's keys have signed what it is to apply, and keeps what it has taken where only root may write.

Imports the standard library and what any command that applies a patch imports; neither a network nor tuf.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from suture import whole_file
from suture.agent import evidence, fleet_order, policy, spool
from suture.agent.decision import Decision, decide, local_now
from suture.agent.evidence import Doubtful, TrustedState
from suture.agent.journal import Journal
from suture.agent.policy import OnFailure, Policy, ProcessFacts
from suture.agent.population import KnownProcesses
from suture.agent.register import Register
from suture.agent.request import AgentAnswer, AgentRequest, Work
from suture.error import Refused, SutureError
from suture.host import recipient
from suture.host.recipient import ApplyOptions
from suture.host.subject import process, user
from suture.kernel.livepatch import build_id as kernel_build_id
from suture.kernel.livepatch import patches as kernel_patches
from suture.patch.file import PatchFile, parse_patch
from suture.patch.statement import Statement, file_name
from suture.process.see.find import Found, every_process
from suture.process.see.package import InstalledPackage, package_of
from suture.process.see.rooted import open_root
from suture.report.agent import AgentVerdict, MappedBinary, PatchInForce
from suture.report.document import ApplyReport, RevertReport
from suture.report.feed import Offer, OfferState
from suture.report.moment import now as moment_text
from suture.report.patch import PatchKind
from suture.report.reason import Cause, Reason

_MOST_PATCH, _MOST_EVIDENCE = 64 << 20, 16 << 20
_RETRY_SECONDS = 600.0
_MARK = b"memfd:suture:"
_PASSING = (Reason.BUSY, Reason.GONE)


@dataclass
class Service:
    """`policy_file` is root's; `spool` is the other part's folder."""

    policy_file: Path
    spool: Path
    register: Register
    journal: Journal
    clock: Callable[[], datetime] = local_now

    def __post_init__(self) -> None:
        # (pid, start time, patch) of processes that refused a patch, and when they are tried again (monotonic seconds)
        self._refused: dict[tuple[int, int, str], float] = {}
        self._known = KnownProcesses()
        self._packages: dict[str, InstalledPackage] = {}

    def answer(self, request: AgentRequest) -> AgentAnswer:
        """Do what is asked for. Every error is an answer."""
        try:
            own = policy.load(self.policy_file, owned=True)
            if request.work is Work.SCAN:
                return self._scan(own)
            if request.work is Work.APPLY:
                decision = self._apply(request.name, request.sha256, own)
            else:
                decision = self._revert(request.patch, own)
        except SutureError as problem:
            decision = Decision(AgentVerdict.REFUSE, problem.cause)
        except OSError as problem:  # a full disk, above all: what is in force stays, the other part asks again
            text = f"{problem.filename or self.register.folder}: {problem.strerror}"
            decision = Decision(AgentVerdict.WAIT, Cause(Reason.DISK, text, "make room on the disk"))
        if decision.why is not None:
            what = f"{decision.why.text} ({decision.why.remedy})"
            self.journal.tell_change(
                f"{request.work.value} {'refused' if decision.verdict is AgentVerdict.REFUSE else 'waits'}",
                what,
                request.patch or request.name.partition(".")[0],
            )
        return AgentAnswer(decision.verdict, decision.why, self.register.content.in_force)

    def _apply(self, name: str, sha256: str, own: Policy) -> Decision:
        identity = name.partition(".")[0]
        row = self.register.row(identity)
        if row is None or row.offer.sha256 != sha256:
            return self._take(name, sha256, own)
        if row.held:
            assert row.why is not None
            if row.why.reason is not Reason.WITHDRAWN or not self._is_offered_again(row, own):
                return Decision(AgentVerdict.REFUSE, Cause(Reason.AGENT_HELD, row.why.text, row.why.remedy))
            row = replace(row, held=False, why=None)
        # what was taken is not asked anew whether it is due: processes that start during a freeze get it too
        if not own.takes_package(row.offer.source):
            why = Cause(Reason.POLICY, f"the policy takes no patches for {row.offer.source}", "change the policy")
            return Decision(AgentVerdict.REFUSE, why)
        return self._put_in(row, own)

    def _take(self, name: str, sha256: str, own: Policy) -> Decision:
        """A patch that is new here: believed, decided, kept, applied."""
        data = spool.take(self.spool, name, _MOST_PATCH)
        if hashlib.sha256(data).hexdigest() != sha256:
            raise spool.BadSpool(name, "is not what was asked for")
        offer = _offered(self._believed(name, own), sha256)
        if offer is None or file_name(offer) != name:
            raise Doubtful(f"the feed does not offer {name} with this digest")
        decision = decide(offer, own, self.clock(), self.register.allowed)
        if decision.verdict is not AgentVerdict.APPLY:
            return decision
        _fits(data, offer, own)
        whole_file.replace_durably(self.register.file(offer), data)
        row = PatchInForce(offer, moment_text(), 0, 0, False, None)
        self.register.put(row)
        self.journal.tell(
            "taken", f"{offer.source} {offer.version}, {offer.binary}: {', '.join(offer.cves)}", offer.patch
        )
        return self._put_in(row, own, anew=True)

    def _believed(self, name: str, own: Policy) -> Statement:
        """What the feed says, and from now on nothing older. Raises `Doubtful`, `BadPolicy`."""
        shown = evidence.decode(spool.take(self.spool, name.partition(".")[0] + spool.EVIDENCE, _MOST_EVIDENCE))
        try:
            first = own.root.read_text()
        except (OSError, UnicodeDecodeError) as problem:
            raise policy.BadPolicy(
                f"{own.root}: {problem}", "put the feed's root.json there, got in a way that you trust"
            ) from problem
        digest = hashlib.sha256(first.encode()).hexdigest()
        content = self.register.content
        known = content.trusted if content.trusted and content.of_root == digest else TrustedState(first)
        try:
            said, trusted = evidence.believe(shown, known, self.clock())
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as problem:  # of no form
            raise Doubtful(f"it is not in its form ({type(problem).__name__})") from problem
        self.register.trust(trusted, digest)
        return said

    def _put_in(self, row: PatchInForce, own: Policy, *, anew: bool = False) -> Decision:
        """Into all processes that it is for, or into the kernel."""
        self._known.forget()
        target = recipient.of_file(self.register.file(row.offer), owned=True)
        options = ApplyOptions(timeout=own.timeout, replace=bool(row.offer.replaces))
        try:
            report = self._applied(target, row, own, options, anew)
        except SutureError as problem:
            report = None
            failed: tuple[Cause, ...] = (problem.cause,)
        else:
            failed = tuple(f.cause for f in report.failed if f.reason.kind not in _PASSING) if report else ()
            if report is not None:
                self._tell_applied(row.offer, report)
                until = time.monotonic() + _RETRY_SECONDS
                self._refused |= {
                    (f.pid, f.start_time, row.offer.patch): until
                    for f in report.failed
                    if f.reason.kind not in _PASSING
                }
        done = len(report.processes) if report else 0
        row = replace(row, processes=row.processes + done, failed=len(failed), why=failed[0] if failed else row.why)
        if failed and own.on_failure is not OnFailure.GO_ON:
            row = replace(row, held=True)
            self.journal.tell("held", failed[0].text, row.offer.patch)
        self.register.put(row)
        if row.held and own.on_failure is OnFailure.REVERT:
            return self._take_out(row, own, keep=True)
        if not failed:
            self._drop_replaced(row.offer)
        return Decision(AgentVerdict.APPLY, failed[0] if failed else None)

    def _drop_replaced(self, offer: Offer) -> None:
        """Its predecessors are out of force wherever it is in, so that they go into no further process."""
        for older in (self.register.row(i) for i in offer.replaces):
            if older is not None:
                self.journal.tell("replaced", f"by {offer.patch}", older.offer.patch)
                self.register.drop(older.offer)

    def _applied(
        self, target: recipient.Recipient, row: PatchInForce, own: Policy, options: ApplyOptions, anew: bool
    ) -> ApplyReport | None:
        """None where no process is to have it."""
        if row.offer.kind is PatchKind.KERNEL:
            return target.apply([], options)
        if anew and not own.chooses_processes:
            return target.apply([], options)  # static programs with a copy of the old code too
        found, _ = every_process()
        pids = [p.pid for p in self._without(found, row.offer, own)]
        return target.apply(pids, replace(options, aside=True)) if pids else None

    def _tell_applied(self, offer: Offer, report: ApplyReport) -> None:
        new = [p for p in report.processes if p.changed]
        if new or report.failed or report.kernel:
            pauses = max((max(p.pauses_us, default=0.0) for p in new), default=0.0)
            where = "the kernel" if report.kernel else f"{len(new)} processes, longest pause {pauses:.0f} us"
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
            and (not own.chooses_processes or own.takes_process(_facts(p.pid)))
        ]

    def _is_offered_again(self, row: PatchInForce, own: Policy) -> bool:
        offer = _offered(self._believed(row.offer.patch, own), row.offer.sha256)
        return offer is not None and offer.state is OfferState.OFFERED

    def _revert(self, identity: str, own: Policy) -> Decision:
        """Only what the feed's keys have taken back is taken out, or put into no further process, as they say, and
        what the fleet's server takes back that the policy names: who reverts a patch opens a hole."""
        row = self.register.row(identity)
        if row is None:
            return Decision(AgentVerdict.APPLY)
        said = self._believed(identity, own)
        offer = next((o for o in said.offers if o.patch == identity), None)
        if fleet_order.takes_back(own, self.spool, identity, self.clock()):
            self.journal.tell("taken back", "by a rollout of the fleet's server", identity)
            return self._take_out(row, own, keep=False)
        if offer is None or offer.state is OfferState.OFFERED:
            raise Refused(
                f"{identity}: the feed has not withdrawn it",
                f"an administrator takes it out with: suture revert {identity}",
                reason=Reason.AGENT_REQUEST,
            )
        self.journal.tell("withdrawn", f"by the feed ({offer.state.value}): {offer.reason}", identity)
        if offer.state is OfferState.HOLD:
            why = Cause(Reason.WITHDRAWN, f"the feed holds it back: {offer.reason}", "nothing is to be done")
            self.register.put(replace(row, held=True, why=why))
            return Decision(AgentVerdict.APPLY)
        return self._take_out(replace(row, offer=offer), own, keep=False)

    def _take_out(self, row: PatchInForce, own: Policy, *, keep: bool) -> Decision:
        self._known.forget()
        target = recipient.of_file(self.register.file(row.offer), owned=True)
        report: RevertReport = target.revert([], "", ApplyOptions(timeout=own.timeout))
        done = [p for p in report.processes if p.changed]
        where = "the kernel" if report.kernel else f"{len(done)} processes"
        self.journal.tell("reverted", f"in {where}; {len(report.failed)} failed", row.offer.patch)
        busy = next((f.cause for f in report.failed if f.reason.kind is not Reason.GONE), None)
        if busy is not None:
            self.register.put(replace(row, held=True, failed=len(report.failed), why=busy))
            return Decision(AgentVerdict.WAIT, busy)
        if keep:
            self.register.put(row)
        else:
            self.register.drop(row.offer)
        return Decision(AgentVerdict.APPLY)

    def _binaries(self, found: Sequence[Found]) -> list[MappedBinary]:
        """What is mapped. The package of a build-id is asked for once."""
        counts = Counter(b for p in found for b in {i.build_id for i in p.images})
        first = {i.build_id: (p.pid, i.path) for p in reversed(found) for i in p.images}
        self._packages = {b: self._packages.get(b) or _installed(*first[b]) for b in counts if b}
        return [
            MappedBinary(b, first[b][1], n, self._packages[b].name, self._packages[b].version)
            for b, n in sorted(counts.items())
            if b
        ]

    def _scan(self, own: Policy) -> AgentAnswer:
        found, unread = self._known.look()
        binaries = self._binaries(found)
        kernel = kernel_build_id()
        rows = self.register.content.in_force
        loaded = {p.record.get("patch", "") for p in kernel_patches() if p.is_ours}
        lacking = [
            r.offer.patch
            for r in rows
            if not r.held
            and (
                self._without(found, r.offer, own)
                if r.offer.kind is PatchKind.PROCESS
                else r.offer.build_id == kernel and r.offer.patch not in loaded
            )
        ]
        alive = {(p.pid, p.start_time) for p in found}
        self._refused = {k: v for k, v in self._refused.items() if k[:2] in alive}
        own_kernel = [MappedBinary(kernel, "", 0, "linux", os.uname().release)] if kernel else []
        return AgentAnswer(AgentVerdict.APPLY, None, rows, (*own_kernel, *binaries), tuple(lacking), len(unread))


def _installed(pid: int, path: str) -> InstalledPackage:
    """The package of a file as a process sees it."""
    try:
        top = open_root(f"/proc/{pid}/root")
    except OSError:
        return InstalledPackage()
    try:
        return package_of(top, path)
    except OSError:
        return InstalledPackage()
    finally:
        os.close(top)


def _offered(said: Statement, sha256: str) -> Offer | None:
    return next((o for o in said.offers if o.sha256 == sha256), None)


def _fits(data: bytes, offer: Offer, own: Policy) -> None:
    """The file is what the offer says, and the policy takes it. Raises `BadPatch`, `Doubtful`, `Refused`."""
    if offer.kind is not PatchKind.PROCESS:
        return
    patch: PatchFile = parse_patch(data, file_name(offer))
    if patch.id != offer.patch or patch.manifest.target.build_id != offer.build_id:
        raise Doubtful(f"{file_name(offer)} is another patch than the feed says")
    if patch.manifest.relaxed and not own.relaxed:
        raise Refused(
            f"{offer.patch}: it was made with --relaxed, and the policy takes strict patches",
            'write consistency = "relaxed" in the policy if you want it',
            reason=Reason.POLICY,
        )


def _facts(pid: int) -> ProcessFacts:
    one, (name, uid) = process(pid), user(pid)
    return ProcessFacts(one.program, name, uid, one.unit, one.container)
