"""Catching threads as they leave a function, for those that are nearly always inside: sampling would hardly ever find
them outside.

Each gets a breakpoint of the processor at the address to which its outermost old frame returns. It is a perf event with
`sigtrap` (perf_event_open(2), Linux 5.13), so it belongs to our descriptor: when we die, it is gone, which a breakpoint
set with ptrace would not be. A thread that meets it takes a SIGTRAP, which we see first and keep from it. Should we die
between the two, the signal would go on to the process; so it is made to ignore SIGTRAP meanwhile, by a borrowed call.
What that can leave behind is a process that ignores SIGTRAP.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from suture.error import SutureError
from suture.process import syscall, x86_64
from suture.process.memory.maps import read_maps
from suture.process.stop.borrow import borrow
from suture.process.stop.detach import detach_running
from suture.process.tracee import Tracee, read_status

MOST_THREADS = 16
_POLL_SECONDS = 0.0005
_HOLD_SECONDS = 0.05
_TRAP_PERF = 6  # include/uapi/asm-generic/siginfo.h
_TRAP_BIT = 1 << (signal.SIGTRAP - 1)
_ACTION = struct.Struct("<QQQQ")  # struct kernel_sigaction: handler, flags, restorer, mask


@dataclass(frozen=True)
class Exit:
    """Where a thread will be when it has left the outermost old frame: program counter, and the least that its stack
    pointer is then."""

    pc: int
    sp: int


@contextmanager
def caught(tracee: Tracee, exits: Mapping[int, Exit], seconds: float) -> Iterator[frozenset[int]]:
    """Hold threads, by number, each at its exit; they stand still when all of them do at the same time, and inside they
    may be given to a `Seizure`. None are held when that did not come about within `seconds`, or where this cannot be
    done."""
    catch = Catch(tracee, exits)
    with ignoring_trap(tracee) as safe:
        try:
            if not (safe and catch.arm() and catch.wait(seconds)):
                catch.let_go()
            yield frozenset(catch.held)
        finally:
            catch.let_go()


class Catch:
    """Attaches to threads and waits for each at its exit. `held` are those that stand there, with the time since
    when."""

    def __init__(self, tracee: Tracee, exits: Mapping[int, Exit]) -> None:
        self._pid = tracee.pid
        self._exits = dict(exits)
        self._events: dict[int, int] = {}
        self._seized: set[int] = set()
        self._stopped: set[int] = set()
        self.held: dict[int, float] = {}

    def arm(self) -> bool:
        """Attach and set the breakpoints. False when that cannot be done."""
        try:
            for tid, way in self._exits.items():
                syscall.seize(tid)
                self._seized.add(tid)
                self._events[tid] = syscall.perf_breakpoint(tid, way.pc)
        except OSError:
            return False
        return True

    def wait(self, seconds: float) -> bool:
        """Until all are held. One that has waited for the others too long goes on, to be caught the next time."""
        deadline = time.monotonic() + seconds
        while len(self.held) < len(self._exits):
            now = time.monotonic()
            if now > deadline or not all(self._look(tid) for tid in list(self._exits) if tid not in self.held):
                return False
            if self.held and len(self.held) < len(self._exits) and now - min(self.held.values()) > _HOLD_SECONDS:
                for tid in self.held:
                    syscall.cont(tid)
                self.held.clear()
            time.sleep(_POLL_SECONDS)
        for event in self._events.values():
            os.close(event)
        self._events.clear()
        return bool(self.held)

    def _look(self, tid: int) -> bool:
        """Take notice of what a thread reports. False when it cannot be caught."""
        try:
            _, status = syscall.waitpid(tid, block=False)
            if not status:
                return True
            if not os.WIFSTOPPED(status):
                self._forget(tid)
                return True
            stop = os.WSTOPSIG(status)
            if status >> 16:
                self._stopped.add(tid)  # a group stop, which detaching leaves in force
                return False
            if not met_breakpoint(tid, status):
                syscall.cont(tid, stop)
            elif syscall.get_registers(tid).rsp < self._exits[tid].sp:
                syscall.cont(tid)  # out of an inner call
            else:
                self.held[tid] = time.monotonic()
        except (ProcessLookupError, ChildProcessError):
            self._forget(tid)
        return True

    def _forget(self, tid: int) -> None:
        del self._exits[tid]
        self._seized.discard(tid)

    def let_go(self) -> None:
        """Of all that nobody has let go since."""
        for event in self._events.values():
            os.close(event)
        self._events.clear()
        for tid in self._seized:
            if tid in self.held or tid in self._stopped:
                with suppress(OSError):
                    syscall.detach(tid)
            else:
                detach_running(tid)
        self._seized.clear()
        self.held.clear()


def met_breakpoint(tid: int, status: int) -> bool:
    """Whether a stop is that of a perf breakpoint (`syscall.perf_breakpoint`)."""
    is_trap = status >> 16 == 0 and os.WSTOPSIG(status) == signal.SIGTRAP
    return is_trap and syscall.get_signal_code(tid) == _TRAP_PERF


@contextmanager
def ignoring_trap(tracee: Tracee) -> Iterator[bool]:
    """Inside, the process ignores SIGTRAP. False when it has a handler of its own, or no thread could be borrowed."""
    status = read_status(tracee.via)
    if (status.caught | status.ignored) & _TRAP_BIT:
        yield not status.caught & _TRAP_BIT
        return
    try:
        _set_trap(tracee, int(signal.SIG_IGN))
    except (SutureError, OSError):
        yield False
        return
    try:
        yield True
    finally:
        with suppress(SutureError, OSError):
            _set_trap(tracee, int(signal.SIG_DFL))


def _set_trap(tracee: Tracee, handler: int) -> None:
    with borrow(tracee, read_maps(tracee.via)) as thread:
        action = thread.put(_ACTION.pack(handler, 0, 0, 0))
        thread.call("rt_sigaction", x86_64.SYS_RT_SIGACTION, int(signal.SIGTRAP), action, 0, 8)
