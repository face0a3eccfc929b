"""Why something was not done, or stands as it does: identifiers that stay the same when a sentence is written anew.

The word before the dot tells what kind it is and how to go on; who does not know what comes after it acts by that word.
Identifiers are kept for good: one may come, none changes its meaning, and one that is not given any more is not used
for another thing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """The identifiers, by kind."""

    # what has no narrower one
    DEFECT = "defect"
    USAGE = "usage"
    REFUSED = "refused"
    BUSY = "busy"
    PARTIAL = "partial"
    PATCH = "patch"
    GONE = "gone"
    HOSTILE = "hostile"
    DENIED = "denied"
    MISSING = "missing"
    NO_MATCH = "no-match"
    COMMAND = "command"
    UNSUPPORTED = "unsupported"
    FEED = "feed"
    MEMORY = "memory"
    DISK = "disk"

    BUSY_ON_STACK = "busy.function-on-stack"
    BUSY_STACK_UNKNOWN = "busy.stack-unknown"
    BUSY_NOT_STOPPED = "busy.thread-not-stopped"
    BUSY_NO_THREAD = "busy.no-thread-to-borrow"
    BUSY_FROZEN = "busy.control-group-frozen"
    BUSY_LOCKED = "busy.another-suture"
    BUSY_MAPPING = "busy.process-is-mapping"
    BUSY_THREAD_ENDED = "busy.thread-ended"
    BUSY_NOT_TRIED = "busy.not-tried"
    BUSY_TRANSITION = "busy.kernel-in-transition"
    BUSY_TASKS = "busy.kernel-tasks"

    BUILD_DIFFERS = "refused.build-id-differs"
    CODE_DIFFERS = "refused.code-differs"
    CODE_MISSING = "refused.code-not-loaded"
    CODE_CHANGED = "refused.code-changed-meanwhile"
    MEMORY_UNREADABLE = "refused.memory-unreadable"
    MEMORY_UNWRITABLE = "refused.memory-unwritable"
    SHARED_MAPPING = "refused.shared-mapping"
    NO_ROOM = "refused.no-room-in-reach"
    IMPORT_MISSING = "refused.import-missing"
    IMPORT_THREAD_LOCAL = "refused.import-thread-local"
    IMPORT_CHOICE = "refused.import-choice-unknown"
    NO_LOADER = "refused.no-dynamic-loader"
    NAMESPACE_UNKNOWN = "refused.namespace-unknown"
    UNWINDER = "refused.unwinder-unknown"
    NO_CXX_RUNTIME = "refused.no-cxx-runtime"
    OVERLAP = "refused.function-replaced-already"
    BOUNDS = "refused.function-bounds-differ"
    LOSS = "refused.fixes-lost"
    SEVERAL_FIXES = "refused.several-fixes"
    APPLIED_TOGETHER = "refused.applied-together"
    REPLACED = "refused.replaced-by-another"
    NOT_CARRIED = "refused.not-carried"
    AMBIGUOUS = "refused.carried-more-than-once"
    ENTRY_UNKNOWN = "refused.entry-unknown"
    ENTRY_PAGE = "refused.entry-crosses-page"
    TRACED = "refused.traced-already"
    LOCK_FOLDER = "refused.lock-folder"
    LIMIT_MEMORY = "refused.memory-limit"
    LIMIT_FILES = "refused.open-files-limit"
    LIMIT_SPACE = "refused.address-space-limit"
    LIMIT_MAPPINGS = "refused.mappings-limit"
    NO_MEMORY = "refused.no-memory"
    FORBIDDEN = "refused.security-policy"
    NOT_OWNED = "refused.patch-not-owned"
    PATCH_PARTIAL = "refused.patch-partial"
    PATCH_UNPROVED = "refused.patch-unproved"
    NO_ANSWER = "refused.no-answer"
    KERNEL_DIFFERS = "refused.kernel-differs"
    MODULE_DIFFERS = "refused.module-differs"
    KERNEL_TAINTED = "refused.kernel-tainted"
    UNSIGNED = "refused.module-unsigned"
    FOREIGN_PATCH = "refused.foreign-livepatch"
    MODULE_REJECTED = "refused.module-rejected"
    MODULE_IN_USE = "refused.module-in-use"

    NOT_SAFE = "refused.patch-not-safe"
    WITHDRAWN = "refused.patch-withdrawn"

    POLICY = "refused.by-policy"
    POLICY_DELAY = "busy.policy-delay"
    POLICY_ASK = "busy.policy-asks"
    POLICY_FREEZE = "busy.policy-freeze"
    POLICY_FLEET = "busy.policy-fleet"
    AGENT_HELD = "refused.held-after-failure"
    AGENT_CRASHED = "refused.crashed-after-patch"
    AGENT_REQUEST = "refused.agent-request"
    AGENT_DOWN = "missing.agent-service"

    ENDED = "gone.ended"
    ENDED_DURING_WORK = "gone.ended-during-work"
    EXECUTED = "gone.executed-another-program"
    KERNEL_THREAD = "gone.kernel-thread"

    DENIED_READ = "denied.read"
    DENIED_SECCOMP = "denied.seccomp"
    DENIED_PATCH = "denied.patch-file"
    DENIED_OPENINGS = "denied.openings"

    TOO_COSTLY = "hostile.too-costly"
    TOO_MANY_MAPS = "hostile.too-many-mappings"
    TOO_MANY_FILES = "hostile.too-many-files"
    TOO_MUCH_CODE = "hostile.too-much-code"
    RESTLESS = "hostile.threads-never-settle"
    ENDLESS_LIST = "hostile.endless-list"
    PLACE_TAKEN = "hostile.place-taken"

    MACHINE = "unsupported.machine"
    BITS_32 = "unsupported.32-bit"
    SHADOW_STACK = "unsupported.shadow-stack"
    SYSCALL_DISPATCH = "unsupported.syscall-user-dispatch"
    SECCOMP = "unsupported.seccomp"
    NO_SIGRETURN = "unsupported.no-signal-return"
    STACKS_UNSEARCHABLE = "unsupported.too-much-memory-for-stacks"
    NO_LIVEPATCH = "unsupported.kernel-without-livepatch"
    NO_OPENINGS = "unsupported.openings"
    NO_TRACEPOINT = "unsupported.tracepoint"

    NO_PATCH_FILE = "missing.patch-file"
    NO_KERNEL_PATCH = "missing.kernel-patch"
    NO_SUCH_BUILD = "missing.build"

    PATCH_MALFORMED = "patch.malformed"
    PATCH_ALTERED = "patch.altered"
    PATCH_DIFFERS = "patch.differs-when-made-again"
    PATCH_FOREIGN = "patch.foreign"

    FEED_EXPIRED = "feed.expired"
    FEED_ROLLED_BACK = "feed.rolled-back"
    FEED_SIGNATURE = "feed.not-signed"
    FEED_ALTERED = "feed.altered"
    FEED_TOO_LONG = "feed.too-long"

    FEED_UNREACHABLE = "missing.feed"
    FLEET_UNREACHABLE = "missing.fleet"
    FLEET_REFUSED = "refused.by-fleet"

    KILLED = "defect.worker-killed"

    IN_FORCE = "memory.patch-in-force"
    HALF = "memory.patch-in-part"
    DOUBTED = "memory.patch-doubted"
    CLAIMED = "memory.patch-unknown"
    NOT_APPLIED = "memory.patch-not-applied"
    LEFT_OUT = "memory.patch-leaves-out"
    OTHER_PART = "memory.other-binary-not-patched"
    OLD_FRAMES = "memory.old-code-in-use"
    UNTIL_EXEC = "memory.executes-itself"
    MITIGATED = "memory.mitigated"
    MITIGATION_ENDED = "memory.mitigation-ended"
    COPY_OPEN = "memory.copy-not-patched"
    IMAGE_GONE = "memory.image-gone"
    INTERRUPTED = "memory.applier-died"
    NEVER_APPLIED = "memory.patch-never-applied"
    DAMAGED = "memory.entries-damaged"
    REMAINS = "memory.no-whole-patch"
    STATIC_COPY = "memory.static-copy"
    DISK_REPLACED = "disk.replaced"
    DISK_DELETED = "disk.deleted"
    DISK_UNREAD = "disk.not-read"
    DISK_PATCHED = "disk.replaced-by-an-open-build"
    LOST_AT_NEXT_START = "disk.lost-at-next-start"

    @property
    def kind(self) -> Reason:
        """The word before the dot, which tells how to go on; as a reason of its own."""
        return Reason(self.value.partition(".")[0])


@dataclass(frozen=True)
class Cause:
    """One reason: its identifier, a sentence for people, and what to do, "" where nothing is to be done."""

    reason: Reason
    text: str
    remedy: str = ""
