"""Which processes have a binary loaded, by the build-id in their memory.

Finding is hurried: on a loaded machine it would take a hundred times as long as its work, and what is not looked at is
not known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TypeVar

from suture.error import ExitCode, SutureError
from suture.number import BuildId
from suture.process.allowance import limited
from suture.process.error import Hostile, NoProcess
from suture.process.memory.image import Image, Look, look
from suture.process.memory.maps import Maps, read_maps_among_all
from suture.process.see.aside import each
from suture.process.tracee import Tracee, command_name, list_processes, list_threads, read_stat
from suture.process.urgency import Urgency
from suture.report.reason import Reason

URGENT_SECONDS = 1.0
_TRIES = 5
T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """A process and what of interest it has mapped. `via` is the thread that it is read through, as in `Tracee`."""

    pid: int
    via: int
    start_time: int
    command: str
    maps: Maps
    images: tuple[Image, ...]


@dataclass(frozen=True)
class Unread:
    """A process that could not be looked at, and why."""

    pid: int
    command: str
    why: str
    reason: Reason

    @classmethod
    def of(cls, pid: int, problem: SutureError) -> Unread:
        return cls(pid, command_name(pid), problem.what, problem.reason)


@dataclass(frozen=True)
class _Like:
    """A process with the same maps and images as an earlier one, as forked workers have: much less to say than
    `Found`."""

    pid: int
    via: int
    start_time: int
    command: str
    first: int

    def found(self, by_pid: Mapping[int, Found]) -> Found:
        first = by_pid[self.first]
        return Found(self.pid, self.via, self.start_time, self.command, first.maps, first.images)


def every_process(known: Set[tuple[int, int]] = frozenset()) -> tuple[list[Found], list[Unread]]:
    """All processes with their images; kernel threads, those that end meanwhile and `known` (pid, start time) are left
    out."""
    found: list[Found] = []
    unread: list[Unread] = []
    seen: dict[bytes, Look] = {}
    told: dict[bytes, Found] = {}  # in the child
    by_pid: dict[int, Found] = {}

    def look_at(pid: int) -> Found | _Like | None:
        if known and (pid, read_stat(pid).start_time) in known:
            return None
        one = _look(pid, seen)
        if one is None:
            return None
        first = told.setdefault(one.maps.raw, one)
        is_like = first is not one and first.images is one.images
        return _Like(pid, one.via, one.start_time, one.command, first.pid) if is_like else one

    for answer in hurried(each(sorted(list_processes()), look_at, hurried)):
        if answer.result is not None:
            one = answer.result.found(by_pid) if isinstance(answer.result, _Like) else answer.result
            by_pid[answer.pid] = one
            found.append(one)
        elif answer.problem is not None and answer.problem.exit_code is not ExitCode.NO_PROCESS:
            unread.append(Unread.of(answer.pid, answer.problem))
    return sorted(found, key=lambda p: p.pid), unread


def hurried(rows: Iterable[T]) -> Iterator[T]:
    """These rows. Until the last is done with, or the caller has used a second of the processor (a thousand processes
    take half of that), it has real-time priority where that is allowed.

    Children do not inherit it: who looks and who takes the answers each have their own.
    """
    urgency = Urgency()
    urgency.begin()
    until = time.thread_time() + URGENT_SECONDS
    try:
        for row in rows:
            yield row
            if time.thread_time() > until:
                urgency.end()
    finally:
        urgency.end()


def _look(pid: int, seen: dict[bytes, Look]) -> Found | None:
    """None for a kernel thread and a process that has ended."""

    def read(tracee: Tracee, maps: Maps) -> Found:
        # forked workers have the very same maps, and mostly the same in them
        like = seen[maps.raw] = look(tracee.via, maps, seen.get(maps.raw))
        return Found(pid, tracee.via, tracee.start_time, command_name(pid), maps, like.images)

    return through_living_thread(pid, read)


def through_living_thread(pid: int, read: Callable[[Tracee, Maps], T]) -> T | None:
    """What `read` gives; None for a kernel thread and a process that has ended. Another thread is taken when the one
    that the process is read through ends. Raises Hostile when that goes on, and what `read` raises."""
    for _ in range(_TRIES):
        try:
            with Tracee(pid) as tracee, limited(pid):
                maps = read_maps_among_all(tracee.via)
                if maps.raw:
                    return read(tracee, maps)
        except NoProcess:
            pass
        if not _lives_without_main_thread(pid):
            return None
    raise Hostile(pid, "its threads end faster than one of them can be looked at", reason=Reason.RESTLESS)


def _lives_without_main_thread(pid: int) -> bool:
    """Whether the main thread has ended and another has not. (Ended ones may stand beside it, until their tracer has
    heard of them.)"""
    try:
        return read_stat(pid).state in "ZX" and any(_is_alive(pid, tid) for tid in list_threads(pid))
    except NoProcess:
        return False


def _is_alive(pid: int, tid: int) -> bool:
    try:
        return read_stat(pid, tid).state not in "ZX"
    except NoProcess:
        return False


def find(build_id: BuildId) -> list[int]:
    """Processes that have an image with this build-id loaded, by rising pid."""
    return [p.pid for p in every_process()[0] if any(i.build_id == build_id for i in p.images)]
