"""What can go wrong with a process. Every error names the pid, and leaves the process as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from suture.error import ExitCode, Refused, SutureError
from suture.report.reason import Reason


class NoProcess(SutureError):
    """The process is gone, dying, or was never there."""

    exit_code = ExitCode.NO_PROCESS

    def __init__(
        self,
        pid: int,
        why: str = "no such process",
        remedy: str = "list what runs with: suture scan",
        *,
        reason: Reason = Reason.ENDED,
    ) -> None:
        super().__init__(f"pid {pid}: {why}", remedy, reason=reason)
        self.pid = pid


EXECUTES = "one that executes programs all the time runs the fixed code as soon as their files are fixed"


def executed(pid: int) -> NoProcess:
    """The error for a process that runs another program than before."""
    return NoProcess(pid, "executes another program now", f"try again; {EXECUTES}", reason=Reason.EXECUTED)


class _Named(Protocol):
    pid: int


@contextmanager
def naming_its_end(process: _Named) -> Iterator[None]:
    """Inside, where the process was found before, NoProcess says that it has ended meanwhile, unless it executes
    another program."""
    try:
        yield
    except NoProcess as problem:
        if os.path.exists(f"/proc/{process.pid}/exe"):
            raise
        raise NoProcess(
            process.pid,
            "has ended while Suture was at work on it, or right after",
            "see in its log or core dump why it ended; if it was the patch, do not apply it again. What runs: suture "
            "scan",
            reason=Reason.ENDED_DURING_WORK,
        ) from problem


class NoPermission(SutureError):
    """Not allowed to trace the process or to read its memory."""

    exit_code = ExitCode.NO_PERMISSION

    def __init__(self, pid: int, why: str, *, reason: Reason) -> None:
        remedy = "run as root, or as the process's own user where ptrace is allowed"
        super().__init__(f"pid {pid}: {why}", remedy, reason=reason)
        self.pid = pid


class AlreadyTraced(Refused):
    """Another process is its tracer; there can be only one."""

    def __init__(self, pid: int, tracer: int) -> None:
        by = f"pid {tracer}" if tracer else "another process"
        super().__init__(
            f"pid {pid}: is already traced by {by}",
            "end the debugger or tracer, then try again",
            reason=Reason.TRACED,
        )
        self.pid = pid
        self.tracer = tracer


class WrongTarget(SutureError):
    """The build-id or the code bytes are not what the patch was made for."""

    exit_code = ExitCode.WRONG_TARGET


class Busy(SutureError):
    """Threads stayed inside functions to be replaced, or could not be stopped, until the time was over."""

    exit_code = ExitCode.BUSY


class CallFailed(OSError):
    """A system call that a borrowed thread made has failed; `call` is its name."""

    def __init__(self, number: int, call: str, pid: int) -> None:
        super().__init__(number, f"{call} in pid {pid}: {os.strerror(number)}")
        self.call = call


class Hostile(SutureError):
    """What the process shows of itself is beyond every bound or contradicts itself."""

    exit_code = ExitCode.REFUSED

    def __init__(self, pid: int, what: str, *, reason: Reason) -> None:
        super().__init__(f"pid {pid}: {what}", "look at the process by hand; Suture does not touch it", reason=reason)
        self.pid = pid


class NotCarried(Refused):
    """The process does not carry the patch that is to be reverted."""

    exit_code = ExitCode.NO_PROCESS


class NotStopped(Exception):
    """A thread did not stop in time, or the set of threads would not settle; `tid` is one of them. Try again later."""

    def __init__(self, tid: int, why: str) -> None:
        super().__init__(f"thread {tid} {why}")
        self.tid = tid
        self.why = why
