"""Where a process stands with one binary that it has loaded. Pure: facts go in, words and a verdict come out.

Two things are kept apart. What the process executes now: fixed, in part, not at all, or only by its own word. And what
the file will make it execute at its next start: a live patch is lost then, unless the file is fixed too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from suture.report.reason import Cause, Reason


class Memory(Enum):
    """What the process executes."""

    FIXED = "fixed in memory"
    UNTIL_EXEC = "fixed until it executes itself anew"
    PARTLY = "partly fixed"
    CLAIMED = "not proved"  # it carries what no given patch file accounts for
    OPEN = "not fixed"
    UNKNOWN = "unknown"  # no patch is known for the binary, or the process could not be looked at


class Disk(Enum):
    """What the next start would execute: the file that has the binary's path now, as the process sees it."""

    OPEN = "not fixed"  # a build that a given patch is for
    SAME = "same build"  # what runs, and no given patch is for it
    REPLACED = "replaced"  # another build, and no given patch is for it: fixed as far as the patches tell
    PATCHED_AT_BOOT = "patched at boot"  # of a kernel: what is fixed in memory is loaded again
    DELETED = "deleted"
    UNREAD = "not read"


@dataclass(frozen=True)
class Standing:
    """Memory and disk of one loaded binary in one process."""

    memory: Memory
    disk: Disk

    @property
    def is_open(self) -> bool:
        """Whether something is left to be done now."""
        return self.memory is not Memory.FIXED

    @property
    def is_lost_at_next_start(self) -> bool:
        """Whether what is fixed in memory is open again when the program is started again."""
        fixed = self.memory in (Memory.FIXED, Memory.UNTIL_EXEC, Memory.PARTLY)
        return fixed and self.disk in (Disk.OPEN, Disk.SAME)


@dataclass(frozen=True)
class Known:
    """A patch file that is for the binary. `cves`: what its fixes are for; `closes`: those of them of which it leaves
    nothing open in this binary, each with the other binaries that have to be patched too. `left_out`: what its fixes
    change and it does not, in words."""

    id: str
    name: str
    cves: tuple[str, ...]
    supersedes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    closes: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Carried:
    """A patch in the process's memory. `is_whole`: all of it is in force, `state` says it in a word. `doubt`: why it is
    not what its patch file writes, "" when it is that byte for byte, or when no such file is known. `old_frames`: who
    is still in old code, in words, "" for nobody; then not all of what runs is fixed. `cves`: what it says that it
    closes. `companions`: ids of patches in force that were applied together with it."""

    id: str
    name: str
    state: str
    is_whole: bool
    doubt: str = ""
    old_frames: str = ""
    cves: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """`missing` are the patches that are not in force; `closed` those whose fixes are all that runs, with what those in
    force stand for; `claimed` what patches say that no known file accounts for."""

    memory: Memory
    missing: tuple[Known, ...]
    causes: tuple[Cause, ...]
    closed: tuple[Known, ...] = ()
    claimed: tuple[Carried, ...] = ()


def judge(known: Sequence[Known], carried: Sequence[Carried]) -> Judgement:
    """What a process executes of a binary, from the patches that are for it and those that the process carries for it.

    A patch counts where its memory is what its file would have written. One whose file is not known counts for nothing,
    but is told.
    """
    by_id = {k.id: k for k in known}
    proved = [c for c in carried if c.id in by_id and c.is_whole and not c.doubt]
    doubted = [c for c in carried if c.id in by_id and c.doubt]
    halves = [c for c in carried if c.id in by_id and not c.is_whole and not c.doubt]
    strange = [c for c in carried if c.id not in by_id]
    in_force = {c.id for c in proved}
    retired = {r for c in proved for r in by_id[c.id].supersedes}
    missing = tuple(k for k in known if k.id not in in_force and not {k.id, k.name} & retired)
    left_out = [
        Cause(Reason.LEFT_OUT, f"{by_id[c.id].name} leaves out {what}") for c in proved for what in by_id[c.id].left_out
    ]
    staying = [Cause(Reason.OLD_FRAMES, f"{c.name}: {c.old_frames}") for c in proved if c.old_frames]
    told = {c.id for c in (*doubted, *halves)}
    causes = [
        *(Cause(Reason.IN_FORCE, f"{c.name} is {c.state}{_beside(c)}") for c in proved),
        *(Cause(Reason.HALF, f"{c.name} is {c.state}") for c in halves),
        *(Cause(Reason.DOUBTED, f"{c.name} is not what its patch file writes: {c.doubt}") for c in doubted),
        *(
            Cause(Reason.CLAIMED, f"{c.name or c.id} is {c.state}, says the process; its patch file is not here")
            for c in strange
        ),
        *(
            Cause(Reason.NOT_APPLIED, f"{k.name} ({', '.join(k.cves) or k.id}) is not applied")
            for k in missing
            if k.id not in told
        ),
    ]
    if not known:
        memory = Memory.CLAIMED if strange else Memory.UNKNOWN
    elif not missing and not left_out and not halves and not staying:
        memory = Memory.FIXED
    elif proved or halves:
        memory = Memory.PARTLY
    else:
        memory = Memory.CLAIMED if any(c.is_whole for c in strange) and not doubted else Memory.OPEN
    gone = {k.id for k in missing} | {c.id for c in proved if c.old_frames}
    return Judgement(
        memory,
        missing,
        (*causes, *staying, *left_out),
        tuple(k for k in known if k.id not in gone),
        tuple(strange),
    )


def _beside(carried: Carried) -> str:
    return f", together with {', '.join(carried.companions)}" if carried.companions else ""
