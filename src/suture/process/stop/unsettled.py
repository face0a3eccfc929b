"""A process that is just starting a program: what is wrong with it now may be right in a moment."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from suture.error import SutureError
from suture.process.error import EXECUTES, Busy, NoProcess, WrongTarget
from suture.process.memory.maps import Maps, read_raw
from suture.process.tracee import Tracee
from suture.report.reason import Reason

_SECONDS, _LOOK_SECONDS = 0.05, 0.002
_PATCH = b"/memfd:suture:"


def refuse_unsettled(tracee: Tracee, maps: Maps, seconds: float = _SECONDS) -> None:
    """Raises NoProcess when the process executes another program since `tracee` was opened, Busy when the code that it
    has loaded is not that of `maps` any more. Looks for a moment."""
    until = time.monotonic() + seconds
    while True:
        tracee.check_same()
        if _code(read_raw(tracee.via)) != _code(maps.raw):
            raise loading(tracee.pid)
        if time.monotonic() > until:
            return
        time.sleep(_LOOK_SECONDS)


def loading(pid: int) -> Busy:
    """The error for a process that is loading."""
    return Busy(
        f"pid {pid}: is just loading a program or its libraries", f"try again; {EXECUTES}", reason=Reason.BUSY_MAPPING
    )


def is_loading(problem: Busy) -> bool:
    """Whether this is what is said of a process that is loading."""
    return type(problem) is Busy and problem.reason is Reason.BUSY_MAPPING


@contextmanager
def naming_unsettled(tracee: Tracee) -> Iterator[None]:
    """Inside, what is wrong with a process that is just starting a program is told as that, with what helps."""
    maps = Maps(read_raw(tracee.via))
    try:
        yield
    except (Busy, NoProcess):
        raise
    except SutureError as problem:
        try:
            refuse_unsettled(tracee, maps, _SECONDS if isinstance(problem, WrongTarget) else 0)
        except SutureError as cause:
            raise cause from problem
        raise


def _code(raw: bytes) -> list[bytes]:
    """What is mapped to be executed, but for patches of ours."""
    return [line for line in raw.split(b"\n") if b"x" in line.partition(b" ")[2][:4] and _PATCH not in line]
