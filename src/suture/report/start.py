"""Processes that start with a file that is guarded."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from suture.report.reason import Cause


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


class StartCover(Enum):
    """What keeps a later start from the old code."""

    HELD = "held"  # who opens a guarded file waits until it is patched
    TOLD = "told"  # the kernel tells that programs start: it is found about a second later, and has run until then
    LOOKED_AT = "looked at"  # it is found at the next look, and has run until then
    NOT_NEEDED = "not needed"  # no patch for processes is in force


@dataclass(frozen=True)
class StartsCovered:
    """How an agent covers starts. `why`: why they are not held. `files` are guarded since `since`; the counts begin
    there: starts `patched` before they ran, openings that loaded nothing (`not_loaded`), starts with the old code
    because the patch did not go in (`failed`), because the file is the program itself (`executed`), and because the
    kernel or the guard had no time (`let_go`). All three are patched as soon as they run."""

    cover: StartCover
    why: Cause | None
    files: tuple[GuardedFile, ...]
    since: str
    patched: int
    not_loaded: int
    failed: int
    executed: int
    let_go: int
