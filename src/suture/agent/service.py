"""The privileged part of the agent: it believes nothing that it is told. It reads the policy itself, checks again that
the feed's keys have signed what it is to apply, and keeps what it has taken where only root may write.

Imports the standard library and what any command that applies a patch imports; neither a network nor tuf.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from suture import whole_file
from suture.agent import evidence, fleet_order, policy, spool
from suture.agent.beside import beside
from suture.agent.decision import Decision, decide, local_now
from suture.agent.effect import InEffect
from suture.agent.evidence import Doubtful, TrustedState
from suture.agent.hand import Hand
from suture.agent.journal import Journal
from suture.agent.listener import HasNews
from suture.agent.mapped import MappedPackages
from suture.agent.policy import Policy
from suture.agent.register import Register
from suture.agent.request import AgentAnswer, AgentRequest, Work
from suture.error import Refused, SutureError
from suture.kernel.livepatch import build_id as kernel_build_id
from suture.kernel.manifest import parse_patch as parse_kernel_patch
from suture.patch.file import PatchFile, parse_patch
from suture.patch.statement import Statement, file_name
from suture.report.agent import AgentVerdict, MappedBinary, PatchInForce
from suture.report.feed import Offer, OfferState
from suture.report.moment import now as moment_text
from suture.report.patch import PatchKind
from suture.report.reason import Cause, Reason

_MOST_PATCH, _MOST_EVIDENCE = 64 << 20, 16 << 20


@dataclass
class Service:
    """`policy_file` is root's; `spool` is the other part's folder. `hand` does what takes tracing, this process itself
    where none is given."""

    policy_file: Path
    spool: Path
    register: Register
    journal: Journal
    clock: Callable[[], datetime] = local_now
    hand: Hand | None = None

    def __post_init__(self) -> None:
        self._packages = MappedPackages()
        self._effect = InEffect(self.register, self.journal, self._policy, self.hand)

    def _policy(self) -> Policy:
        return policy.load(self.policy_file, owned=True)

    def begin(self) -> None:
        """Hold starts with what was in force before."""
        try:
            self._effect.begin()
        except SutureError as problem:  # each answer says so again
            self.journal.tell_change("problem", f"{problem.what} ({problem.remedy})")
        except OSError as problem:
            self.journal.tell_change("problem", str(problem))

    def close(self) -> None:
        """Hold no start any more; what is in force stays."""
        self._effect.close()

    def notice(self) -> None:
        """Of what happened since, and that nobody asked for."""
        self._effect.notice()

    @property
    def sources(self) -> tuple[HasNews, HasNews]:
        """What can be read when something has happened that `notice` takes notice of."""
        return self._effect.guard, self._effect.health

    def answer(self, request: AgentRequest) -> AgentAnswer:
        """Do what is asked for. Every error is an answer."""
        try:
            own = self._policy()
            if request.work is Work.SCAN:
                return self._scan(own)
            applies = request.work is Work.APPLY
            decision = self._apply(request, own) if applies else self._revert(request.patch, own)
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

    def _apply(self, request: AgentRequest, own: Policy) -> Decision:
        identity = request.name.partition(".")[0]
        row = self.register.row(identity)
        if row is None or row.offer.sha256 != request.sha256:
            return self._take_all(request, own)
        if row.held:
            assert row.why is not None
            if row.why.reason is Reason.AGENT_CRASHED and identity in self.register.allowed:
                self.journal.tell("tried again", "an administrator allows it", identity)
                return self._effect.put_in(replace(row, held=False, why=None), own, anew=True)
            if row.why.reason is not Reason.WITHDRAWN or not self._is_offered_again(row, own):
                return Decision(AgentVerdict.REFUSE, Cause(Reason.AGENT_HELD, row.why.text, row.why.remedy))
            row = replace(row, held=False, why=None)
        # what was taken is not asked anew whether it is due: processes that start during a freeze get it too
        if not own.takes_package(row.offer.source):
            why = Cause(Reason.POLICY, f"the policy takes no patches for {row.offer.source}", "change the policy")
            return Decision(AgentVerdict.REFUSE, why)
        return self._effect.put_in(row, own)

    def _take_all(self, request: AgentRequest, own: Policy) -> Decision:
        """A patch that is new here, with the parts of its fix that are new too: all are kept and applied, or none."""
        taken: list[tuple[Offer, bytes]] = []
        again: list[PatchInForce] = []
        for name in (request.name, *request.companions):
            row = self.register.row(name.partition(".")[0])
            if name != request.name and row is not None:
                if row.held and row.why and row.why.reason is Reason.WITHDRAWN and self._is_offered_again(row, own):
                    again.append(row)
                continue
            offer, data = self._believed_file(name, request.sha256 if name == request.name else "", own)
            decision = decide(offer, own, self.clock(), self.register.allowed)
            if decision.verdict is not AgentVerdict.APPLY:
                return decision
            taken.append((offer, data))
        if len(beside(taken[0][0], [o for o, _ in taken[1:]])) != len(taken) - 1:
            raise Doubtful(f"{request.name}: what is to be taken with it are no parts of its fix")
        for row in again:
            self.register.put(replace(row, held=False, why=None))
        for offer, data in taken:
            whole_file.replace_durably(self.register.file(offer), data)
        for offer, _ in taken:
            self.register.put(PatchInForce(offer, moment_text(), 0, 0, False, None))
            what = f"{offer.source} {offer.version}, {offer.binary}: {', '.join(offer.cves)}"
            self.journal.tell("taken", what, offer.patch)
        first = self.register.row(taken[0][0].patch)
        assert first is not None
        return self._effect.put_in(first, own, anew=True)

    def _believed_file(self, name: str, sha256: str, own: Policy) -> tuple[Offer, bytes]:
        """A file of the spool, and what the feed says of it. Raises `BadSpool`, `Doubtful` and as `_fits` does."""
        data = spool.take(self.spool, name, _MOST_PATCH)
        digest = hashlib.sha256(data).hexdigest()
        if sha256 and digest != sha256:
            raise spool.BadSpool(name, "is not what was asked for")
        offer = _offered(self._believed(name, own), digest)
        if offer is None or file_name(offer) != name:
            raise Doubtful(f"the feed does not offer {name} with this digest")
        _fits(data, offer, own)
        return offer, data

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
            return self._effect.take_out(row, own, keep=False)
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
            self._effect.hold_beside(row)
            self._effect.hold_starts(own)
            return Decision(AgentVerdict.APPLY)
        return self._effect.take_out(replace(row, offer=offer), own, keep=False)

    def _scan(self, own: Policy) -> AgentAnswer:
        found, unread, lacking = self._effect.look(own)
        kernel = kernel_build_id()
        own_kernel = [MappedBinary(kernel, "", 0, "linux", os.uname().release)] if kernel else []
        binaries = (*own_kernel, *self._packages.binaries(found))
        return AgentAnswer(AgentVerdict.APPLY, None, self.register.content.in_force, binaries, lacking, len(unread))


def _offered(said: Statement, sha256: str) -> Offer | None:
    return next((o for o in said.offers if o.sha256 == sha256), None)


def _fits(data: bytes, offer: Offer, own: Policy) -> None:
    """The file is what the offer says, and the policy takes it. Raises `BadPatch`, `Doubtful`, `Refused`."""
    if offer.kind is PatchKind.KERNEL:
        module = parse_kernel_patch(data, file_name(offer))
        if module.id != offer.patch or module.manifest.target.build_id != offer.build_id:
            raise Doubtful(f"{file_name(offer)} is another patch than the feed says")
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
