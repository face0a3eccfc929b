"""What became of a process: each group afterwards, and what it cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from suture.error import ExitCode, SutureError
from suture.patch.manifest import Group
from suture.patch.record import PlacedGroup
from suture.process.memory.image import Image
from suture.process.memory.placed import (
    State,
)
from suture.report.patch import Earlier, OldFrames
from suture.report.reason import Reason


@dataclass(frozen=True)
class GroupResult:
    """One group afterwards. `why` says who is in the way when it is not what was wanted; `copy` is where the image
    starts that it belongs to, when the process has loaded several that are the same, else 0."""

    name: str
    state: State
    functions: tuple[str, ...]
    why: str = ""
    copy: int = 0
    reason: Reason | None = None


@dataclass(frozen=True)
class Result:
    """One process afterwards. `changed`: something was written. Pauses in microseconds, one for each stop, all threads
    together."""

    pid: int
    patch: str
    name: str
    wanted: State
    groups: tuple[GroupResult, ...]
    replaced: tuple[str, ...]
    changed: bool
    pauses_us: tuple[float, ...]
    threads: int
    foreign_stacks: int
    suspended_stacks: int
    seconds: float
    old_frames: OldFrames | None = None  # of a relaxed patch that is in force
    lost: tuple[str, ...] = ()  # functions of the patches in `replaced` that run their original code now
    earlier: tuple[
        Earlier, ...
    ] = ()  # after a revert: other patches of these functions that are there, and not in force
    never_applied: bool = False  # there was nothing to revert: the patch is placed, and was never in force
    companions: tuple[Result, ...] = ()  # of the other patches that changed in the same stop; the pause is told here

    @property
    def each(self) -> tuple[Result, ...]:
        """Of every patch one."""
        return (self, *self.companions)

    @property
    def exit_code(self) -> ExitCode:
        whole = all(g.state is r.wanted for r in self.each for g in r.groups)
        return ExitCode.OK if whole else ExitCode.PARTIAL


def joined(
    results: Sequence[tuple[Image, Result]],
    problems: Sequence[tuple[Image, SutureError]],
    groups_of: Callable[[Image], Sequence[Group | PlacedGroup]],
    otherwise: Callable[[Image], State],
) -> Result:
    """One result for all copies of a binary in a process. A copy with a problem is in the state that `otherwise`
    tells."""
    groups = [dataclasses.replace(g, copy=image.start) for image, r in results for g in r.groups]
    groups += [
        GroupResult(
            g.name,
            otherwise(image),
            tuple(f.name for f in g.functions),
            problem.what,
            image.start,
            problem.reason,
        )
        for image, problem in problems
        for g in groups_of(image)
    ]
    return dataclasses.replace(
        results[-1][1],
        groups=tuple(groups),
        replaced=tuple(dict.fromkeys(i for _, r in results for i in r.replaced)),
        changed=any(r.changed for _, r in results),
        pauses_us=tuple(us for _, r in results for us in r.pauses_us),
    )
