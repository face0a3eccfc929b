"""What `suture VERB --json` prints, what a host passes on and what is stored: one document for each verb.

Each has `format`, `kind` and `tool` in front (`suture.report.encoding`). `FORMAT` goes up when a field goes away or
means another thing; fields may be added without. docs/reference/report.md shows all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from suture.report.agent import AgentEvent, HealthSeen, MappedBinary, PatchInForce, WaitingPatch
from suture.report.attempt import CountedWire, TrippedWire
from suture.report.change import ChangedProcess, Event, FailedProcess
from suture.report.deadline import (
    DataSource,
    Deadline,
    DeadlineGroup,
    Exemption,
    ExposureFigure,
    RuleFigures,
    RuleSummary,
)
from suture.report.els import (
    BackportedFix,
    BuiltDifference,
    BuiltFile,
    BuiltFix,
    ElsGrade,
    ElsPackage,
    NeededFix,
    PackageTests,
    PublishedPackage,
    ReviewedFix,
)
from suture.report.feed import FeedRole, FetchedPatch, Offer
from suture.report.fleet import FleetAccount, FleetApplicant, FleetHole, FleetHost, FleetPatch, FleetRollout
from suture.report.hole import HoleState, HostHole
from suture.report.host import Host
from suture.report.kernel import ChangedKernel, KernelPlan, KernelStatus
from suture.report.mitigation import DeclaredMitigation
from suture.report.patch import CarriedPatch, Patch
from suture.report.process import Process, UnreadProcess
from suture.report.reason import Cause, Reason
from suture.report.restart import NeededRestart
from suture.report.scan import ScannedKernel, ScannedProcess
from suture.report.start import GuardedFile, StartedProcess, StartsCovered

FORMAT = 1


@dataclass(frozen=True)
class Document:
    """`time` is when it was made, in UTC (RFC 3339); `exit_code` is what the command ends with
    (docs/reference/exit-codes.md)."""

    kind: ClassVar[str] = ""

    time: str
    exit_code: int


@dataclass(frozen=True)
class OfHost(Document):
    """A document about this host."""

    host: Host


@dataclass(frozen=True)
class ScanReport(OfHost):
    """`state` is the worst of all `holes`, none without a hole. `patches` are those that were compared with,
    `unreadable_patches` files that could not be read. Processes without anything to say of are left out. `mitigations`
    are all that the administrator has declared, also those that are over or concern nothing here."""

    kind: ClassVar[str] = "scan"

    state: HoleState | None
    holes: tuple[HostHole, ...]
    processes: tuple[ScannedProcess, ...]
    kernel: ScannedKernel | None
    unread: tuple[UnreadProcess, ...]
    patches: tuple[Patch, ...]
    unreadable_patches: tuple[Cause, ...]
    mitigations: tuple[DeclaredMitigation, ...]


@dataclass(frozen=True)
class CarryingProcess(Process):
    """A process with the patches that it carries, and the tripwires of those that were made with any."""

    patches: tuple[CarriedPatch, ...]
    tripwires: tuple[CountedWire, ...]


@dataclass(frozen=True)
class StatusReport(OfHost):
    """Processes that carry patches; or, asked for it, the running kernel."""

    kind: ClassVar[str] = "status"

    processes: tuple[CarryingProcess, ...]
    unread: tuple[UnreadProcess, ...]
    kernel: KernelStatus | None


@dataclass(frozen=True)
class ChangeReport(OfHost):
    """`patch` is the id, of a kernel patch the module's name. Before their turn, `ended` have ended and `executed` have
    executed another program (pids). `notes`: what to know where something was done. Seconds: of the first look at all
    processes, and all together; none where no processes were looked for."""

    patch: str
    processes: tuple[ChangedProcess, ...]
    failed: tuple[FailedProcess, ...]
    unread: tuple[UnreadProcess, ...]
    ended: tuple[int, ...]
    executed: tuple[int, ...]
    kernel: ChangedKernel | None
    notes: tuple[str, ...]
    events: tuple[Event, ...]
    scan_seconds: float | None
    seconds: float | None


@dataclass(frozen=True)
class ApplyReport(ChangeReport):
    """What became of applying a patch; `file` is what it says of itself. `companions` are those that were applied
    together with it: in each process all of them that it needs change in one stop, or none."""

    kind: ClassVar[str] = "apply"

    file: Patch
    companions: tuple[Patch, ...] = ()


@dataclass(frozen=True)
class RevertReport(ChangeReport):
    """What became of reverting a patch."""

    kind: ClassVar[str] = "revert"


@dataclass(frozen=True)
class GuardReport(OfHost):
    """Starts of processes since the guard began. `let_go`: openings that were answered in its place, because it had
    stalled."""

    kind: ClassVar[str] = "guard"

    files: tuple[GuardedFile, ...]
    starts: tuple[StartedProcess, ...]
    let_go: int
    seconds: float


@dataclass(frozen=True)
class PlannedWrite:
    """A write that applying would do: its address, the bytes in hex digits or their number, and what they are."""

    pid: int
    address: int
    bytes: str
    what: str


@dataclass(frozen=True)
class PlanReport(OfHost):
    """What applying would do, and what to know of it before. `companions` are patches that would be applied together
    with it."""

    kind: ClassVar[str] = "plan"

    file: Patch
    steps: tuple[PlannedWrite, ...]
    notes: tuple[str, ...]
    kernel: KernelPlan | None
    companions: tuple[Patch, ...] = ()


@dataclass(frozen=True)
class ShowReport(Document):
    """A patch file. `manifest` is as the file has it (docs/reference/patch-format.md)."""

    kind: ClassVar[str] = "show"

    patch: Patch
    manifest: Mapping[str, Any]


@dataclass(frozen=True)
class RefusedPart:
    """A part of a fix that is in no patch, and why."""

    function: str
    file: str
    line: int
    reason: str
    remedy: str


@dataclass(frozen=True)
class ReviewedPart:
    """Something of a patch that a person should look at."""

    file: str
    function: str
    kind: str
    what: str


@dataclass(frozen=True)
class UntrippedPlace:
    """A place of the new code that rejects something, or may, and has no tripwire. `line` is 0 for a whole file."""

    file: str
    line: int
    reason: str


@dataclass(frozen=True)
class MadePatch(Patch):
    """A patch that was written to `path`. `replaced` is the id of the one that was there before. `safe`: nothing was
    refused; `grade` says whether a person should look at it. `ledgers` tell what became of each changed line of each
    fix (docs/reference/patch-format.md). `tripwires` is how many it has, `untripped` the places that have none."""

    path: str
    replaced: str
    safe: bool
    grade: str
    review: tuple[ReviewedPart, ...]
    notes: tuple[str, ...]
    ledgers: tuple[Mapping[str, Any], ...]
    tripwires: int
    untripped: tuple[UntrippedPlace, ...]


@dataclass(frozen=True)
class MakeReport(Document):
    """What was made, what was refused, and how long each step took."""

    kind: ClassVar[str] = "make"

    patches: tuple[MadePatch, ...]
    refused: tuple[RefusedPart, ...]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class VerifyReport(Document):
    """A patch that was made again from `source` and has the same `bytes`."""

    kind: ClassVar[str] = "verify"

    id: str
    verified: bool
    source: str
    bytes: int
    compiler: str


@dataclass(frozen=True)
class UnameReport(OfHost):
    """The running kernel is in `host`."""

    kind: ClassVar[str] = "uname"


@dataclass(frozen=True)
class RecordReport(Document):
    """A build whose compile commands were written to `path`. `untold`: what could not be recorded; `uncompiled`:
    objects by the binary that they were linked into."""

    kind: ClassVar[str] = "record"

    path: str
    units: int
    untold: tuple[str, ...]
    uncompiled: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class ElsPlanReport(Document):
    """What a version of a source package lacks of the fixes that a newer one has."""

    kind: ClassVar[str] = "els-plan"

    package: str
    version: str
    from_version: str
    fixes: tuple[NeededFix, ...]


@dataclass(frozen=True)
class BackportReport(Document):
    """Fixes of a newer version of a source package, carried to an older one."""

    kind: ClassVar[str] = "els-backport"

    package: str
    version: str
    from_version: str
    fixes: tuple[BackportedFix, ...]


@dataclass(frozen=True)
class ElsBuildReport(Document):
    """A new version of a source package of a release past its end: `version` with the `fixes` of `from_version`, built
    as `made`. `grade` is the worst of its fixes and of `doubts`, which are those of the build. `left_out` are fixes
    that are not in it and why. `differences` are those to the same package built without the fixes, `archive` those to
    what the archive ships. `reproducible`: a second build made the same bytes; none where there was no second build,
    and `varying` are files that differ. `folder` holds `files`."""

    kind: ClassVar[str] = "els-build"

    package: str
    release: str
    version: str
    from_release: str
    from_version: str
    made: str
    grade: ElsGrade
    doubts: tuple[str, ...]
    fixes: tuple[BuiltFix, ...]
    left_out: tuple[BackportedFix, ...]
    tests: PackageTests
    differences: tuple[BuiltDifference, ...]
    archive: tuple[BuiltDifference, ...]
    reproducible: bool | None
    varying: tuple[str, ...]
    folder: str
    files: tuple[BuiltFile, ...]
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class ElsReviewReport(Document):
    """What of a package waits for a person: `fixes` that did not fit by their lines, from both sides, and builds that
    are `waiting` for a word. `drafts` are the files that were written."""

    kind: ClassVar[str] = "els-review"

    package: str
    version: str
    from_version: str
    fixes: tuple[ReviewedFix, ...]
    waiting: tuple[ElsBuildReport, ...]
    drafts: tuple[str, ...]


@dataclass(frozen=True)
class ElsPublishReport(Document):
    """An apt repository in `folder` was signed by the key with this `fingerprint`, and may be believed until `expires`
    (RFC 3339). `sources` is what a host's apt reads, `keyring` the file with the public key."""

    kind: ClassVar[str] = "els-publish"

    folder: str
    suite: str
    fingerprint: str
    keyring: str
    expires: str
    packages: tuple[PublishedPackage, ...]
    sources: str


@dataclass(frozen=True)
class ElsStatusReport(Document):
    """Where packages of an older release stand. `problems` are packages that could not be looked at or built in this
    pass, by name."""

    kind: ClassVar[str] = "els-status"

    packages: tuple[ElsPackage, ...]
    problems: Mapping[str, Cause]


@dataclass(frozen=True)
class WatchReport(Document):
    """One pass of watching the archive. A conversion is what became of one update; it has a format of its own."""

    kind: ClassVar[str] = "watch"

    conversions: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class ElsLiveReport(Document):
    """The fixes of a built package as live patches. A conversion has a format of its own. `added` are the patches that
    were staged for a feed, `left_out` why others were not."""

    kind: ClassVar[str] = "els-live"

    conversions: tuple[Mapping[str, Any], ...]
    added: tuple[Offer, ...]
    left_out: tuple[Cause, ...]


@dataclass(frozen=True)
class FeedReport(Document):
    """What an `action` of `suture feed` did in `folder`, for the one who keeps the feed. `version` is that of the
    state that is published, `roles` how the keys stand, `signed` the roles that were signed anew. `added` and
    `withdrawn` are patches that were staged, published, listed or carried; `left_out` those that were not taken,
    `problems` what is wrong with what is published."""

    kind: ClassVar[str] = "feed"

    action: str
    folder: str
    version: int
    roles: tuple[FeedRole, ...]
    signed: tuple[str, ...]
    added: tuple[Offer, ...]
    withdrawn: tuple[Offer, ...]
    left_out: tuple[Cause, ...]
    problems: tuple[Cause, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class FetchReport(Document):
    """What `suture feed fetch` got from `url`, whose state has this `version` and may be believed until `expires`.
    `patches` are in force on the `channel`, `waiting` not yet, `withdrawn` no more; all of them for the binaries that
    were asked for. `problems` are products and patches that were not to be believed. `set_aside` are files that were
    moved away because they are not in force. `files` and `bytes` were downloaded."""

    kind: ClassVar[str] = "fetch"

    url: str
    version: int
    expires: str
    channel: str
    patches: tuple[FetchedPatch, ...]
    waiting: tuple[Offer, ...]
    withdrawn: tuple[Offer, ...]
    problems: tuple[Cause, ...]
    set_aside: tuple[str, ...]
    unread: tuple[UnreadProcess, ...]
    files: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class PolicyReport(Document):
    """What the agent's policy file at `path` means, in sentences."""

    kind: ClassVar[str] = "agent-policy"

    path: str
    meaning: tuple[str, ...]


@dataclass(frozen=True)
class AgentReport(OfHost):
    """How the agent of this host stands. `url` is its feed; `version` that of the state it has seen last, at `fetched`,
    to be believed until `expires`; 0 and "" for none yet. `looked`: when it last looked at processes, and `binaries`
    what it saw mapped then. `problems` are what keeps it from its work now, `waiting` the patches that are not in.
    `events` are the last things that it did, oldest first. `mitigations` are those of the policy. `starts` tells what
    keeps later starts from the old code, and `health` what is seen of patched processes that fail; none before the
    privileged part has run."""

    kind: ClassVar[str] = "agent"

    url: str
    channel: str
    version: int
    fetched: str
    expires: str
    looked: str
    binaries: tuple[MappedBinary, ...]
    in_force: tuple[PatchInForce, ...]
    waiting: tuple[WaitingPatch, ...]
    problems: tuple[Cause, ...]
    events: tuple[AgentEvent, ...]
    mitigations: tuple[DeclaredMitigation, ...]
    starts: StartsCovered | None = None
    health: HealthSeen | None = None


@dataclass(frozen=True)
class AttemptReport(OfHost):
    """An attempt to use a hole that a live patch has closed. `process` is the last that counted one, run by `user`
    (number `uid`); `count` is how many there were since the last event of this program and tripwire, in `processes` of
    them; `total` how many this process has counted at that place in all. What the running kernel counts has the process
    0, called `kernel`, and no user (number -1)."""

    kind: ClassVar[str] = "attempt"

    process: Process
    user: str
    uid: int
    wire: TrippedWire
    count: int
    total: int
    processes: int

    @property
    def line(self) -> str:
        """The event in one line with its time."""
        return f"{self.time} {self.text}"

    @property
    def text(self) -> str:
        """The event in one line, for people and journals."""
        one, wire = self.process, self.wire
        more = f" and {self.processes - 1} more" if self.processes > 1 else ""
        where = "".join(
            f" {name} {value}" for name, value in (("unit", one.unit), ("container", one.container)) if value
        )
        who = f"pid {one.pid}{more} {one.program or one.command} user {self.user or self.uid}{where} {wire.binary}"
        return (
            f"{self.count} attempt{'s' * (self.count != 1)}: {', '.join(wire.cves) or 'no CVE'} "
            f"{who if one.pid else f'kernel {wire.version}'} {wire.file}:{wire.line} {wire.function}: {wire.condition}"
        )


@dataclass(frozen=True)
class FleetReport(Document):
    """What an `action` of `suture fleet` did. `secret` is a token that is shown once, "" for none. `sources` is what
    was taken in."""

    kind: ClassVar[str] = "fleet"

    action: str
    notes: tuple[str, ...]
    secret: str
    accounts: tuple[FleetAccount, ...]
    sources: tuple[DataSource, ...]


@dataclass(frozen=True)
class FleetHostsReport(Document):
    """Hosts of a fleet, some of `total`."""

    kind: ClassVar[str] = "fleet-hosts"

    hosts: tuple[FleetHost, ...]
    total: int


@dataclass(frozen=True)
class FleetWaitingReport(Document):
    """Hosts that wait to be let into a fleet, the first first."""

    kind: ClassVar[str] = "fleet-waiting"

    waiting: tuple[FleetApplicant, ...]


@dataclass(frozen=True)
class FleetHolesReport(Document):
    """Holes of a fleet, some of `total`."""

    kind: ClassVar[str] = "fleet-holes"

    holes: tuple[FleetHole, ...]
    total: int


@dataclass(frozen=True)
class FleetDeadlinesReport(Document):
    """What is not closed by a rule in a fleet, the next to run out first."""

    kind: ClassVar[str] = "fleet-deadlines"

    deadlines: tuple[DeadlineGroup, ...]


@dataclass(frozen=True)
class FleetRolloutsReport(Document):
    """Rollouts of a fleet, the newest first, and the patches that the feed has signed, as agents have told of them."""

    kind: ClassVar[str] = "fleet-rollouts"

    rollouts: tuple[FleetRollout, ...]
    patches: tuple[FleetPatch, ...]


@dataclass(frozen=True)
class RulesReport(Document):
    """The rules that deadlines can be shown by."""

    kind: ClassVar[str] = "comply-rules"

    rules: tuple[RuleSummary, ...]


@dataclass(frozen=True)
class RuleAnswerReport(Document):
    """What each rule says of one hole on one kind of host; rules that are not about it are left out."""

    kind: ClassVar[str] = "comply-check"

    answers: tuple[DeadlineGroup, ...]


@dataclass(frozen=True)
class ComplianceReport(Document):
    """What came of rules from `begin` until before `end`, in hosts of `groups` (none: all). `figures` are counted from
    `deadlines`, one for each rule, host and hole; `exposures` has one row for each host and hole; `names` are those of
    hosts, by id. `exemptions` are all exceptions that held in the period, `sources` the data from elsewhere.
    `audit_entries` and `audit_digest` are the audit log's length and last digest when this was made."""

    kind: ClassVar[str] = "comply-report"

    begin: str
    end: str
    groups: tuple[str, ...]
    figures: tuple[RuleFigures, ...]
    deadlines: tuple[Deadline, ...]
    exposures: tuple[ExposureFigure, ...]
    exemptions: tuple[Exemption, ...]
    sources: tuple[DataSource, ...]
    names: Mapping[str, str]
    audit_entries: int
    audit_digest: str


@dataclass(frozen=True)
class EvidenceReport(Document):
    """A bundle of evidence that its key has signed; `files` are in it, `folder` is where they were written, "" for
    nowhere."""

    kind: ClassVar[str] = "comply-verify"

    made: str
    server: str
    files: tuple[str, ...]
    folder: str


@dataclass(frozen=True)
class RestartReport(OfHost):
    """Processes that still need a restart; `reboot`: the kernel does. A process that is fixed in memory is not among
    them."""

    kind: ClassVar[str] = "restarts"

    processes: tuple[NeededRestart, ...]
    reboot: bool
    unread: tuple[UnreadProcess, ...]


@dataclass(frozen=True)
class ExportReport(OfHost):
    """What the host reports in the `form` of another tool: written to `path`, or in `content` where no file was
    named."""

    kind: ClassVar[str] = "export"

    form: str
    path: str
    content: str


@dataclass(frozen=True)
class ErrorReport(Document):
    """A command that ended with an error, and did nothing that it does not tell of."""

    kind: ClassVar[str] = "error"

    error: str
    remedy: str
    reason: Reason


DOCUMENTS: tuple[type[Document], ...] = (
    ScanReport,
    StatusReport,
    ApplyReport,
    RevertReport,
    PlanReport,
    GuardReport,
    ShowReport,
    MakeReport,
    VerifyReport,
    UnameReport,
    RecordReport,
    ElsPlanReport,
    BackportReport,
    ElsBuildReport,
    ElsReviewReport,
    ElsPublishReport,
    ElsStatusReport,
    ElsLiveReport,
    WatchReport,
    FeedReport,
    FetchReport,
    PolicyReport,
    AgentReport,
    AttemptReport,
    FleetReport,
    FleetHostsReport,
    FleetWaitingReport,
    FleetHolesReport,
    FleetDeadlinesReport,
    FleetRolloutsReport,
    RulesReport,
    RuleAnswerReport,
    ComplianceReport,
    EvidenceReport,
    RestartReport,
    ExportReport,
    ErrorReport,
)
