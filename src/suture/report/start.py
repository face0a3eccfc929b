"""Processes that start with a file that is guarded."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class StartEnd(Enum):
    """What came of a thread that opened a guarded file."""

    PATCHED = "patched"
    NOT_LOADED = "not loaded"  # it opened the file for something else
    FAILED = "failed"  # it runs with the old code
    EXECUTED = "executed"  # it is the program itself, which was not held


@dataclass(frozen=True)
class GuardedFile:
    """A file that nobody opens without being looked at, under one of its names, and the id of the patch for it."""

    path: str
    build_id: str
    patch: str


@dataclass(frozen=True)
class StartedProcess:
    """One opening of a guarded file. `stops`: how often the thread stood still, `held_us`: microseconds from when it
    was taken to when it was let go, the patching included. `error`: why it runs with the old code."""

    pid: int
    command: str
    file: str
    patch: str
    end: StartEnd
    stops: int
    held_us: float
    error: str
