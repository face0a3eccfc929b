"""A live patch as reports name it, and what is true of it where it was put."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from suture.report.reason import Cause


class PatchKind(Enum):
    """What a patch is for."""

    PROCESS = "process"
    KERNEL = "kernel"


class PatchState(Enum):
    """What is true of a patch, or of one of its groups."""

    APPLIED = "applied"
    REVERTED = "reverted"
    REPLACED = "replaced"
    PARTIAL = "partial"
    INTERRUPTED = "interrupted"
    UNMAPPED = "unmapped"
    DAMAGED = "damaged"
    NEVER_APPLIED = "never applied"


@dataclass(frozen=True)
class Patch:
    """A patch file. `file` is the binary that it is for, or `release` the kernel; `source` and `version` are the source
    package's.

    `cves` are those that it closes by itself, `shared_cves` those that it closes where the patches of other binaries
    (named) are in force too, `named_cves` all that its fixes are for. `complete`: nothing of its fixes is missing.
    `functions` of a kernel patch are OBJECT:NAME.
    """

    id: str
    name: str
    kind: PatchKind
    file: str
    release: str
    build_id: str
    package: str
    source: str
    version: str
    cves: tuple[str, ...]
    shared_cves: Mapping[str, tuple[str, ...]]
    named_cves: tuple[str, ...]
    fixes: tuple[str, ...]
    functions: tuple[str, ...]
    complete: bool


@dataclass(frozen=True)
class OldFrames:
    """Frames of old functions: in how many threads, and how many on suspended stacks; `functions` names them, `endless`
    those that never return. `unknown` says why it could not be told."""

    threads: int
    coroutines: int
    functions: tuple[str, ...]
    endless: tuple[str, ...]
    unknown: str = ""

    @property
    def text(self) -> str:
        """For people; empty when nobody is left."""
        if self.unknown:
            return f"who is still in old code cannot be told: {self.unknown}"
        if not self.functions:
            return ""
        who = [
            f"{n} {what}{'s' * (n != 1)}" for n, what in ((self.threads, "thread"), (self.coroutines, "coroutine")) if n
        ]
        stay = f" ({', '.join(self.endless)} never returns)" if self.endless else ""
        return f"{' and '.join(who)} still in old code of {', '.join(self.functions)}{stay}"


@dataclass(frozen=True)
class Earlier:
    """Another patch of the same functions that a process carries and that is not in force."""

    id: str
    name: str


@dataclass(frozen=True)
class ReportedGroup:
    """Functions that switch in one stop. `effective` is how the process behaves when `state` is interrupted, else the
    same. `why` says what is in the way of what was wanted; `copy` is where the image starts that it belongs to, when
    the process has loaded several that are the same, else 0."""

    name: str
    functions: tuple[str, ...]
    state: PatchState
    effective: PatchState
    copy: int
    why: Cause | None


@dataclass(frozen=True)
class CarriedPatch:
    """One patch in one process, as the process says. `file` is the binary that it changes, loaded with `bias`; its
    memory is `size` bytes at `address`. `relaxed` is the reason why old frames may finish in old code, "" for a strict
    patch. `companions` are ids of patches in force that were applied together with it."""

    id: str
    name: str
    state: PatchState
    file: str
    build_id: str
    package: str
    version: str
    fixes: tuple[str, ...]
    cves: tuple[str, ...]
    notes: tuple[str, ...]
    groups: tuple[ReportedGroup, ...]
    address: int
    size: int
    bias: int
    why: Cause | None
    relaxed: str
    old_frames: OldFrames | None
    companions: tuple[str, ...] = ()
