"""The unprivileged part of the agent: at each look it asks what runs, fetches what the feed says of that, and asks the
privileged part to put in what the policy wants and take out what was withdrawn.

Every step may be the last: what was not done is seen at the next look and done then. It keeps what it shows, and what
the feed's client keeps; what is in force is the privileged part's to know.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from suture import whole_file
from suture.agent import evidence, kept, policy
from suture.agent.beside import beside
from suture.agent.decision import Decision, decide
from suture.agent.evidence import Evidence
from suture.agent.journal import Journal
from suture.agent.policy import Mode, OnFailure, Policy
from suture.agent.request import MOST_COMPANIONS, AgentAnswer, AgentRequest, Work
from suture.agent.spool import EVIDENCE
from suture.error import SutureError
from suture.patch.statement import Statement, current, file_name
from suture.report.agent import AgentEvent, AgentVerdict, MappedBinary, PatchInForce, WaitingPatch
from suture.report.feed import Offer, OfferState
from suture.report.moment import now as moment_text
from suture.report.reason import Cause, Reason

if TYPE_CHECKING:
    from suture.agent.check_in import Fleet
    from suture.feed.client import Client

STATE, INVENTORY = "state.json", "inventory.json"


@dataclass(frozen=True)
class AgentState:
    """What this part shows and begins with again, as in `AgentReport`."""

    version: int = 0
    fetched: str = ""
    expires: str = ""
    looked: str = ""
    waiting: tuple[WaitingPatch, ...] = ()
    problems: tuple[Cause, ...] = ()
    events: tuple[AgentEvent, ...] = ()


@dataclass(frozen=True)
class MappedBinaries:
    """All that was mapped at the last look."""

    rows: tuple[MappedBinary, ...] = ()


Ask = Callable[[AgentRequest], AgentAnswer]


@dataclass
class Loop:
    """`folder` is this part's own, `spool` below it what it hands over. `allowed` reads which patches (ids) an
    administrator has allowed."""

    policy_file: Path
    folder: Path
    ask: Ask
    allowed: Callable[[], frozenset[str]]
    clock: Callable[[], datetime]
    journal: Journal = field(default_factory=Journal)
    fleet: Fleet | None = None

    def __post_init__(self) -> None:
        self.spool.mkdir(mode=0o755, parents=True, exist_ok=True)
        state = read_state(self.folder)
        self.journal = Journal(state.events)
        self._state = state
        self._said: tuple[Statement, ...] = ()
        self._asked: frozenset[str] = frozenset()
        self._failed: set[str] = set()  # patches (ids) under which processes died here
        self._next_fetch = 0.0
        self._inventory = read_inventory(self.folder)
        self._policy: Policy | None = None
        self._problems: list[Cause] = []

    @property
    def spool(self) -> Path:
        return self.folder / "spool"

    def look(self) -> float:
        """One look; seconds until the next. Raises nothing that a later look may mend."""
        self._problems = []
        try:
            own = self._own_policy()
            self._look(own)
        except SutureError as problem:
            self._trouble(problem.cause)
        except OSError as problem:
            self._trouble(_of_disk(problem))
        self._keep()
        self._report()
        return self._policy.look_every.total_seconds() if self._policy else policy.LOOK_SECONDS

    def _report(self) -> None:
        """To the fleet's server, if this host has one. What it says then counts from the next look on."""
        if self.fleet is None or self._policy is None:
            return
        try:
            self.fleet.check_in(self._policy)
        except (SutureError, OSError) as problem:
            self._trouble(problem.cause if isinstance(problem, SutureError) else _of_disk(problem))
            self._keep()

    def _own_policy(self) -> Policy:
        """The policy as it is now; the last good one where it is wrong now."""
        try:
            self._policy = policy.load(self.policy_file)
        except SutureError as problem:
            if self._policy is None:
                raise
            self._trouble(problem.cause)
        return self._policy

    def _look(self, own: Policy) -> None:
        found = self.ask(AgentRequest(Work.SCAN))
        if found.verdict is not AgentVerdict.APPLY:
            assert found.why is not None
            self._trouble(found.why)
            return
        build_ids = frozenset(b.build_id for b in found.binaries)
        rows = {r.offer.patch: r for r in found.in_force}
        failed = {i for i, r in rows.items() if r.has_crashed}
        if own.health.on_crash is not OnFailure.REVERT:
            failed.clear()  # they are still in processes
        if failed != self._failed:  # what they had replaced is wanted again
            self._failed, self._next_fetch = failed, 0.0
        self._fetch(own, build_ids | {r.offer.build_id for r in found.in_force})
        self._state = _with(self._state, looked=moment_text())
        self._keep_inventory(MappedBinaries(found.binaries))
        taken = {i for i in self._each(own, rows)}
        for identity in found.open:
            if identity in rows and identity not in taken:
                self._request_apply(rows[identity].offer)

    def _fetch(self, own: Policy, build_ids: frozenset[str]) -> None:
        """What the feed says of these, when it is time, or when there are new ones."""
        due = time.monotonic() >= self._next_fetch
        if not due and build_ids <= self._asked:
            return
        self._next_fetch = time.monotonic() + own.fetch_every.total_seconds()
        try:
            client = self._client(own)
            with client.alone():
                seen = client.refresh()
                answer = client.ask(build_ids)
                said = tuple(s for s in answer.statements if self._spool(client, s, own))
        except SutureError as problem:
            self._trouble(problem.cause)
            return
        for late in answer.problems:
            self._trouble(late.cause)
        self._said, self._asked = said, build_ids
        self._state = _with(self._state, version=seen.version, fetched=moment_text(), expires=seen.expires.isoformat())

    def _client(self, own: Policy) -> Client:
        from suture.feed.client import Client

        try:
            root = own.root.read_bytes()
        except OSError as problem:
            raise policy.BadPolicy(
                f"{own.root}: {problem.strerror}", "put the feed's root.json there, got in a way that you trust"
            ) from problem
        folder = self.folder / "feed"
        mark = folder / "root.seen"
        if not mark.exists() or mark.read_bytes() != root:  # trust begins anew
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            found = Client(own.url, folder, root)
            whole_file.replace_durably(mark, root)
            return found
        return Client(own.url, folder)

    def _spool(self, client: Client, said: Statement, own: Policy) -> bool:
        """Put what is wanted of a statement where the other part finds it: files first, then what shows that they are
        signed. False where that cannot be had; it holds no other up."""
        try:
            shown = client.shown(said)
            for offer in self._wanted(said, own):
                client.download(offer, self.spool)
        except SutureError as problem:
            self._trouble(problem.cause)
            return False
        text = evidence.encode(Evidence(said.product, said.build_id, shown.roots, shown.chain, shown.said))
        for offer in said.offers:
            whole_file.replace_durably(self.spool / (offer.patch + EVIDENCE), text)
        return True

    def _wanted(self, said: Statement, own: Policy) -> tuple[Offer, ...]:
        """What the channel has now and the policy does not refuse for good."""
        now = self.clock()
        return tuple(
            o
            for o in self._current(said, own)
            if decide(o, own, now, self.allowed()).verdict is not AgentVerdict.REFUSE
        )

    def _each(self, own: Policy, rows: dict[str, PatchInForce]) -> list[str]:
        """Ask for all that is to be done; the patches that were put in now."""
        now = self.clock()
        waiting: list[WaitingPatch] = []
        taken: list[str] = []
        for said in self._said:
            due = {o.patch for o in self._current(said, own)} - self._failed
            replaced = {r for o in said.offers if o.patch in due for r in o.replaces}
            for offer in said.offers:
                row = rows.get(offer.patch)
                if offer.state is not OfferState.OFFERED:
                    if row is not None and (offer.state is OfferState.REVERT or not row.held):
                        self._request(AgentRequest(Work.REVERT, patch=offer.patch), offer, waiting)
                elif row is not None and self._is_taken_back(offer, own):
                    self._request(AgentRequest(Work.REVERT, patch=offer.patch), offer, waiting)
                elif row is not None and _is_back(row):
                    if offer.patch in taken or any(o.patch not in rows for o in self._beside(offer, own, rows)):
                        continue  # with another part of its fix, which is new
                    decision = self._held_up(offer, own, rows)
                    if decision is not None and decision.why is not None:
                        waiting.append(WaitingPatch(offer, decision.verdict, decision.why))
                    elif self._request_apply(offer, waiting):
                        taken.append(offer.patch)
                elif row is not None and row.held:
                    if row.has_crashed and offer.patch in self.allowed() and self._request_apply(offer, waiting):
                        taken.append(offer.patch)
                elif row is None and offer.patch not in replaced:
                    if offer.patch in taken:
                        continue  # with another part of its fix
                    decision = self._decided(offer, own, now)
                    if decision.verdict is AgentVerdict.APPLY:
                        decision = self._held_up(offer, own, rows) or decision
                    if decision.verdict is AgentVerdict.APPLY:
                        others = self._beside(offer, own, rows)
                        if self._request_apply(offer, waiting, others):
                            taken += [offer.patch, *(o.patch for o in others)]
                    elif decision.why is not None:
                        waiting.append(WaitingPatch(offer, decision.verdict, decision.why))
                        self.journal.tell_change(_word(decision.verdict), decision.why.text, offer.patch)
        self._state = _with(self._state, waiting=tuple(waiting))
        return taken

    def _current(self, said: Statement, own: Policy) -> tuple[Offer, ...]:
        return current(said, own.channel, self.clock(), self._failed)

    def _due(self, own: Policy) -> list[Offer]:
        """What the channel has now, of all binaries."""
        return [o for said in self._said for o in self._current(said, own)]

    def _replaced(self, due: Sequence[Offer]) -> set[str]:
        """The patches (ids) whose place others take, but those under which processes died."""
        return {r for o in due if o.patch not in self._failed for r in o.replaces}

    def _decided(self, offer: Offer, own: Policy, now: datetime) -> Decision:
        found = decide(offer, own, now, self.allowed())
        if found.verdict is not AgentVerdict.APPLY or own.mode is not Mode.FLEET:
            return found
        if self._is_chosen(offer):
            return found
        what = "no rollout of the fleet has let it in yet" if self.fleet else "this host is in no fleet"
        remedy = "suture fleet rollout start" if self.fleet else "suture agent enrol"
        return Decision(AgentVerdict.WAIT, Cause(Reason.POLICY_FLEET, what, remedy))

    def _is_chosen(self, offer: Offer) -> bool:
        """Whether a rollout has let it in, or another part of its fix: half a fix is none."""
        if self.fleet is None or offer.patch in self.fleet.taken_back:
            return False
        chosen = self.fleet.chosen
        if offer.patch in chosen:
            return True
        return any(o.patch in chosen for o in beside(offer, [o for said in self._said for o in said.offers]))

    def _held_up(self, offer: Offer, own: Policy, rows: Mapping[str, PatchInForce]) -> Decision | None:
        """Why it waits for another part of its fix that does not go in, where no other patch of that one's binary has
        the part."""
        replaced = self._replaced(self._due(own))
        parts = beside(offer, [o for said in self._said for o in said.offers if o.patch not in replaced])
        held = {p.patch: self._why_not(p, own, rows) for p in parts}
        for part in parts:
            found = held[part.patch]
            if found is None or found.why is None:
                continue
            if not any(o.build_id == part.build_id and not held[o.patch] and {*o.fixes} & {*part.fixes} for o in parts):
                text = f"{part.patch} ({part.binary}) has a part of the same fix and does not go in: {found.why.text}"
                return Decision(found.verdict, Cause(Reason.APPLIED_TOGETHER, text, found.why.remedy))
        return None

    def _why_not(self, part: Offer, own: Policy, rows: Mapping[str, PatchInForce]) -> Decision | None:
        """None for a part that is in, or goes in as well."""
        row = rows.get(part.patch)
        if row is not None and part.state is OfferState.OFFERED:
            is_free = not row.held or row.why is None or row.why.reason in (Reason.APPLIED_TOGETHER, Reason.WITHDRAWN)
            return None if is_free else Decision(AgentVerdict.WAIT, row.why)
        found = self._decided(part, own, self.clock())
        return None if found.verdict is AgentVerdict.APPLY else found

    def _beside(self, offer: Offer, own: Policy, rows: Mapping[str, PatchInForce]) -> list[Offer]:
        """The other parts of its fix that are to go in now, as it is."""
        now = self.clock()
        due = self._due(own)
        replaced = self._replaced(due)
        new = [o for o in due if o.patch not in replaced and (o.patch not in rows or _is_back(rows[o.patch]))]
        found = beside(offer, [o for o in new if self._decided(o, own, now).verdict is AgentVerdict.APPLY])
        return found[:MOST_COMPANIONS]

    def _is_taken_back(self, offer: Offer, own: Policy) -> bool:
        return own.mode is Mode.FLEET and self.fleet is not None and offer.patch in self.fleet.taken_back

    def _request_apply(
        self, offer: Offer, waiting: list[WaitingPatch] | None = None, others: Sequence[Offer] = ()
    ) -> bool:
        names = tuple(file_name(o) for o in others)
        request = AgentRequest(Work.APPLY, file_name(offer), offer.sha256, companions=names)
        return self._request(request, offer, waiting)

    def _request(self, request: AgentRequest, offer: Offer, waiting: list[WaitingPatch] | None) -> bool:
        """Ask the privileged part, and say what came of it."""
        found = self.ask(request)
        if found.why is not None:
            if waiting is not None:
                waiting.append(WaitingPatch(offer, found.verdict, found.why))
            self.journal.tell_change(f"{request.work.value}: {_word(found.verdict)}", found.why.text, offer.patch)
        elif request.work is not Work.APPLY or waiting is not None:
            self.journal.tell("withdrawn" if request.work is Work.REVERT else "applied", offer.binary, offer.patch)
        return found.verdict is AgentVerdict.APPLY

    def _trouble(self, cause: Cause) -> None:
        self._problems.append(cause)
        self.journal.tell_change("problem", f"{cause.text} ({cause.remedy})")

    def _keep_inventory(self, found: MappedBinaries) -> None:
        if found != self._inventory:
            kept.write_value(self.folder / INVENTORY, found)
            self._inventory = found

    def _keep(self) -> None:
        self._state = _with(self._state, problems=tuple(self._problems), events=self.journal.events)
        try:
            kept.write_value(self.folder / STATE, self._state)
        except OSError as problem:
            cause = _of_disk(problem)
            self.journal.tell_change("problem", f"{cause.text} ({cause.remedy})", "state")


def read_state(folder: Path) -> AgentState:
    """What was kept; empty where there is nothing."""
    return kept.read_value(folder / STATE, AgentState) or AgentState()


def read_inventory(folder: Path) -> MappedBinaries:
    """What was kept; empty where there is nothing."""
    return kept.read_value(folder / INVENTORY, MappedBinaries) or MappedBinaries()


def _is_back(row: PatchInForce) -> bool:
    """Whether only the feed held it; for one that it offers again."""
    return row.held and row.why is not None and row.why.reason is Reason.WITHDRAWN


def _with(state: AgentState, **changes: object) -> AgentState:
    return replace(state, **changes)  # type: ignore[arg-type]


def _word(verdict: AgentVerdict) -> str:
    return "waits" if verdict is AgentVerdict.WAIT else "not taken"


def _of_disk(problem: OSError) -> Cause:
    what = f"{problem.filename or 'disk'}: {problem.strerror or problem}"
    return Cause(Reason.DISK, what, "make room on the disk, or mend the folder's owner; the agent goes on")
