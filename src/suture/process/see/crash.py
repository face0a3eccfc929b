"""Processes that die of a signal that tells of a defect, and those that end by themselves with an exit code that is not
0, whosoever child they are: the kernel's tracepoints signal:signal_deliver and syscalls:sys_enter_exit_group.

Only signals without a handler count: who handles SIGSEGV goes on, or raises it again without one.
"""

from __future__ import annotations

import signal
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from suture.process.see.tracepoint import Tracepoint

SIGNALS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS)
_SIGNAL = struct.Struct("<8xi")  # common fields, sig
_EXIT = struct.Struct("<8xi4xQ")  # common fields, the call's number, error_code


@dataclass(frozen=True)
class Crash:
    """A process that a signal has ended."""

    pid: int
    signal: signal.Signals


@dataclass(frozen=True)
class ErrorExit:
    """A process that has ended itself; `code` is not 0."""

    pid: int
    code: int


class Crashes:
    """From when it is made. Raises as `Tracepoint`."""

    def __init__(self) -> None:
        wanted = " || ".join(f"sig == {int(s)}" for s in SIGNALS)
        self._events = Tracepoint("signal/signal_deliver", f"sa_handler == 0 && ({wanted})")

    @property
    def lost(self) -> int:
        """How many there was no room for."""
        return self._events.lost

    def fileno(self) -> int:
        """What can be read when one has come."""
        return self._events.fileno()

    def close(self) -> None:
        self._events.close()

    def come(self) -> Iterator[Crash]:
        """Those since the last call."""
        for pid, record in self._events.come():
            if len(record) >= _SIGNAL.size:
                yield Crash(pid, signal.Signals(_SIGNAL.unpack_from(record)[0]))


class Exits:
    """From when it is made. Raises as `Tracepoint`. They wake nobody: on a busy host there are many."""

    def __init__(self) -> None:
        self._events = Tracepoint("syscalls/sys_enter_exit_group", "error_code != 0", wakes=False)

    @property
    def lost(self) -> int:
        """How many there was no room for."""
        return self._events.lost

    def close(self) -> None:
        self._events.close()

    def come(self) -> Iterator[ErrorExit]:
        """Those since the last call."""
        for pid, record in self._events.come():
            if len(record) >= _EXIT.size:
                code = _EXIT.unpack_from(record)[1] & 0xFF
                if code:
                    yield ErrorExit(pid, code)
