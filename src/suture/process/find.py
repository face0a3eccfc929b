"""Which processes have a binary mapped, by the build-id in their memory."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from suture.error import SutureError
from suture.process.error import NoProcess
from suture.process.image import Image, images
from suture.process.maps import Maps, read_maps
from suture.process.status import all_pids
from suture.process.tracee import Tracee, command_name, read_stat


@dataclass(frozen=True)
class Found:
    """A process and what of interest it has mapped."""

    pid: int
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


def every_process(known: Set[tuple[int, int]] = frozenset()) -> tuple[list[Found], list[Unread]]:
    """All processes with their images; kernel threads, those that end meanwhile and `known` (pid, start time) are left out."""
    found: list[Found] = []
    unread: list[Unread] = []
    seen: dict[bytes, tuple[Image, ...]] = {}
    for pid in all_pids():
        try:
            if known and (pid, read_stat(pid).start_time) in known:
                continue
            with Tracee(pid) as tracee:
                maps = read_maps(tracee.via)
                if maps.raw not in seen:  # forked workers have the very same maps
                    seen[maps.raw] = tuple(images(tracee.via, maps))
                found.append(Found(pid, tracee.start_time, command_name(pid), maps, seen[maps.raw]))
        except NoProcess:
            continue
        except (SutureError, OSError) as problem:
            why = problem.what if isinstance(problem, SutureError) else str(problem)
            unread.append(Unread(pid, command_name(pid), why))
    return found, unread


def find(build_id: str) -> list[int]:
    """Processes that have an image with this build-id mapped, by rising pid."""
    return [p.pid for p in every_process()[0] if any(i.build_id == build_id for i in p.images)]
