"""Compiling: many commands in one entry of a room, in parallel, with a cache of objects by all that goes into them."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from suture.compile import complaint
from suture.compile.room import INSIDE
from suture.compile.unit import Unit, Variant
from suture.error import ExitCode, SutureError
from suture.source import cache

Enter = Callable[[str, Sequence[tuple[Path, str]]], str]
"""Runs a script that may write to folders (host path, place in the room) and returns its output."""


_NAMED, _QUOTED = 5, 30  # units, lines
_MOST_MEMORY = 8 << 20  # KiB; `#include "/dev/zero"` is read until there is no more


@dataclass(frozen=True)
class RejectedUnit:
    """A unit that the compiler rejects, and all that it says."""

    source: str
    object: str
    output: str


class CompileFailed(SutureError):
    """The compiler rejects units. The first one is quoted, the others are named."""

    exit_code = ExitCode.COMMAND

    def __init__(self, rejected: Sequence[RejectedUnit]) -> None:
        first, *others = rejected
        said = [line for line in first.output.splitlines() if line.strip()]
        names = ", ".join(r.source for r in others[:_NAMED]) + ", ..." * (len(others) > _NAMED)
        more = [f"and {len(others)} more: {names}"] if others else []
        super().__init__(
            "\n".join([f"{first.source}: the compiler rejects it", *said[:_QUOTED], *more]),
            "correct the fix, or check that it belongs to this version (a fix may need others before it)",
        )
        self.rejected = tuple(rejected)


@dataclass(frozen=True)
class CompiledObject:
    """An object file made from a unit; `path` lies in the cache and never changes."""

    unit: Unit
    variant: Variant
    path: Path


@dataclass(frozen=True)
class Job:
    """One command of the compiler whose single output is wanted. `ending` are the arguments before the output's
    path."""

    unit: Unit
    flags: tuple[str, ...]
    ending: tuple[str, ...]

    def key(self, state: str) -> str:
        """What the output depends on, as a hash; `state` names the contents of all that the unit may read."""
        parts = (state, self.unit.directory, *self.unit.command, *self.flags, *self.ending)
        return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()


def outputs(
    jobs: Sequence[Job],
    state: Callable[[Unit], str],
    enter: Enter,
    env: Mapping[str, str],
    root: str,
    place: Path | None = None,
) -> list[Path]:
    """The output file of each job, from the cache or made now, all missing ones in one entry of the room.

    `state` names the contents of all that a unit may read. `root` is the tree's, whose lines an error may quote. Raises
    `CompileFailed` for all units of which a job fails; the outputs of the other jobs are kept.
    """
    store = place or cache.root() / "object"
    paths = [store / key[:2] / key for key in (job.key(state(job.unit)) for job in jobs)]
    missing = {path: job for path, job in zip(paths, jobs, strict=True) if not path.exists()}
    if missing:
        with cache.scratch_folder(store) as folder:
            _make(missing, folder, enter, env, root)
    return paths


def _make(missing: Mapping[Path, Job], folder: Path, enter: Enter, env: Mapping[str, str], root: str) -> None:
    for number, job in enumerate(missing.values()):
        (folder / f"{number}.sh").write_text(_script(job, f"{INSIDE}/out/{number}", env), errors="surrogateescape")
    workers = len(os.sched_getaffinity(0))
    numbers = " ".join(str(n) for n in range(len(missing)))
    one = f"if sh {INSIDE}/out/$1.sh >{INSIDE}/out/$1.log 2>&1; then : >{INSIDE}/out/$1.ok; fi"
    enter(
        f"printf '%s\\n' {numbers} | xargs -P {workers} -n 1 sh -c {shlex.quote(one)} job\n",
        [(folder, f"{INSIDE}/out")],
    )
    rejected: dict[str, RejectedUnit] = {}
    for number, (path, job) in enumerate(missing.items()):
        made = folder / str(number)
        if (folder / f"{number}.ok").exists() and cache.is_plain(made):
            path.parent.mkdir(exist_ok=True)
            made.rename(path)
        else:
            log = folder / f"{number}.log"
            said = log.read_text(errors="replace") if cache.is_plain(log) else ""
            quoted = complaint.told(said, job.unit.directory, (root, *job.unit.named))
            rejected.setdefault(job.unit.object, RejectedUnit(job.unit.source, job.unit.object, quoted))
    if rejected:
        raise CompileFailed(tuple(rejected.values()))


def _script(job: Job, output: str, env: Mapping[str, str]) -> str:
    settings = "".join(f"export {k}={shlex.quote(v)}\n" for k, v in env.items())
    command = shlex.join([*job.unit.command, *job.flags, *job.ending, output])
    return f"{settings}ulimit -S -v {_MOST_MEMORY}\ncd {shlex.quote(job.unit.directory)}\nexec {command}\n"
