"""What of the privileged part traces: a process of its own, which only does what it is told with patches that lie in
the register's folder. It hears nothing of who asks, of feeds or of evidence.

It has no seccomp filter, because the kernel lets nobody who has one see or suspend the filter of a process that is
traced (PTRACE_O_SUSPEND_SECCOMP, PTRACE_SECCOMP_GET_FILTER), and a service in a sandbox of its own could not be
patched. So the rest has one (`confinement.py`), and this process is forked before.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol, TypeVar

from suture.agent import confinement, hold
from suture.agent.hold import LineOfJson
from suture.agent.journal import Journal
from suture.error import ExitCode, SutureError
from suture.host import recipient
from suture.host.recipient import ApplyOptions
from suture.process import syscall
from suture.process.see.aside import Told
from suture.report.document import ApplyReport, RevertReport
from suture.report.encoding import NoDocument, of_type
from suture.report.reason import Cause, Reason

T = TypeVar("T")
_NAME = re.compile(r"[0-9a-f]{16}\.(suture\.o|ko)")
_TELL_SECONDS = 60.0


class Patched(Protocol):
    """What patches are put into and taken out of, as a `Recipient`."""

    def apply(self, pids: Sequence[int], options: ApplyOptions) -> ApplyReport: ...

    def revert(self, pids: Sequence[int], to: str, options: ApplyOptions) -> RevertReport: ...


class Hand(Protocol):
    """Who does what takes tracing."""

    def target(self, names: Sequence[str]) -> Patched:
        """Of patch files in the register's folder, which are applied together. What is done with it raises
        `SutureError`."""

    def begin_holding(self) -> tuple[int, socket.socket]:
        """Start what holds starts (`hold.py`): its pid, and a line to it. Raises OSError, SutureError."""

    def end_holding(self, pid: int) -> None:
        """End it."""


def no_holder(problem: OSError) -> Cause:
    """Why starts are not held where nothing can be started that does."""
    return Cause(Reason.NO_OPENINGS, f"starts are not held: {problem.strerror}", "look at the memory")


class OwnHand:
    """In this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def target(self, names: Sequence[str]) -> Patched:
        return recipient.of_files([self._folder / n for n in names], owned=True, where_loaded=True)

    def begin_holding(self) -> tuple[int, socket.socket]:
        return hold.begin(self._folder)

    def end_holding(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


class Deed(Enum):
    """What the other process is told to do; with READ, to have the files ready for the next order."""

    READ = "read"
    APPLY = "apply"
    REVERT = "revert"
    HOLD = "hold"
    LET_GO = "let go"


@dataclass(frozen=True)
class HandOrder:
    """`files`: names in the register's folder. `timeout` and `replace` as in `ApplyOptions`; `pid` of what is to hold
    starts no more."""

    deed: Deed
    files: tuple[str, ...] = ()
    pids: tuple[int, ...] = ()
    timeout: float = 0.0
    replace: bool = False
    pid: int = 0


@dataclass(frozen=True)
class HandReport:
    """What came of an order: one of the reports, the pid of what holds starts, or a problem with its exit code."""

    applied: ApplyReport | None = None
    reverted: RevertReport | None = None
    pid: int = 0
    problem: Cause | None = None
    exit_code: int = 0


def _read(kind: type[T], line: bytes) -> T:
    """What a process of ours has sent, so with numbers that are not whole. Raises `NoDocument`, ValueError."""
    return of_type(kind, json.loads(line), "line")


class HandGone(SutureError):
    """The other process has ended. No other can be made, as its maker has a filter."""

    def __init__(self) -> None:
        super().__init__("what traces processes has ended", "the service begins anew", reason=Reason.AGENT_DOWN)


class OtherHand:
    """In a process that is forked now."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._passing, their_passing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        self.pid = os.fork()
        if not self.pid:
            try:
                syscall.end_with_parent()
                for ended in (signal.SIGTERM, signal.SIGINT):  # it ends when nobody tells it anything any more
                    signal.signal(ended, signal.SIG_IGN)
                line.close()
                self._passing.close()
                if os.getppid() == parent:
                    _Doing(OwnHand(folder), LineOfJson(theirs), their_passing, journal).run()
            finally:
                os._exit(0)
        theirs.close()
        their_passing.close()
        self._line = LineOfJson(line)
        self._is_gone = False

    @property
    def is_there(self) -> bool:
        """Whether it runs."""
        if not self._is_gone:
            try:
                self._is_gone = os.waitpid(self.pid, os.WNOHANG)[0] != 0
            except ChildProcessError:
                self._is_gone = True
        return not self._is_gone

    def watch(self, listener: int) -> None:
        """It answers the calls that a filter refuses, and tells of them. The descriptor is closed here."""
        with suppress(OSError):  # it has ended, which the next order tells
            socket.send_fds(self._passing, [b"!"], [listener])
        os.close(listener)

    def close(self) -> None:
        """After what it is just doing."""
        self._line.socket.close()
        self._passing.close()
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def target(self, names: Sequence[str]) -> Patched:
        self.tell(HandOrder(Deed.READ, tuple(names)))
        return _There(self, tuple(names))

    def begin_holding(self) -> tuple[int, socket.socket]:
        found = self.tell(HandOrder(Deed.HOLD))
        _, fds, _, _ = socket.recv_fds(self._passing, 1, 1)
        return found.pid, socket.socket(fileno=fds[0])

    def end_holding(self, pid: int) -> None:
        with suppress(HandGone):  # then it is gone too
            self.tell(HandOrder(Deed.LET_GO, pid=pid))

    def tell(self, order: HandOrder) -> HandReport:
        """What came of it. Raises what it raised there, as `Told`, and `HandGone`."""
        try:
            self._line.socket.sendall(self._line.put(order))
            while not (lines := self._line.come()):
                select.select([self._line.socket], [], [])
            found = _read(HandReport, lines[-1])
        except (OSError, EOFError, NoDocument, ValueError) as problem:
            self._is_gone = True
            raise HandGone from problem
        if found.problem is not None:
            why = found.problem
            raise Told(why.text, why.remedy, ExitCode(found.exit_code), reason=why.reason)
        return found


class _There:
    """A target in the other process."""

    def __init__(self, hand: OtherHand, names: tuple[str, ...]) -> None:
        self._hand, self._names = hand, names

    def apply(self, pids: Sequence[int], options: ApplyOptions) -> ApplyReport:
        order = HandOrder(Deed.APPLY, self._names, tuple(pids), options.timeout, options.replace)
        found = self._hand.tell(order).applied
        assert found is not None
        return found

    def revert(self, pids: Sequence[int], to: str, options: ApplyOptions) -> RevertReport:
        found = self._hand.tell(HandOrder(Deed.REVERT, self._names, tuple(pids), options.timeout)).reverted
        assert found is not None
        return found


class _Doing:
    """The other process's work."""

    def __init__(self, hand: OwnHand, line: LineOfJson, passing: socket.socket, journal: Journal) -> None:
        self._hand, self._line, self._passing, self._journal = hand, line, passing, journal
        self._listener = -1
        self._told: dict[str, float] = {}
        self._holders: set[int] = set()
        self._ready: tuple[tuple[str, ...], Patched] | None = None

    def run(self) -> None:
        """Until nobody is there to tell it anything."""
        poll = select.poll()
        poll.register(self._line.socket, select.POLLIN)
        poll.register(self._passing, select.POLLIN)
        while True:
            for fd, events in poll.poll():
                if fd == self._line.socket.fileno():
                    try:
                        lines = self._line.come()
                    except EOFError:
                        return
                    for line in lines:
                        self._answer(_read(HandOrder, line))
                elif fd == self._passing.fileno():
                    _, fds, _, _ = socket.recv_fds(self._passing, 1, 1)
                    if fds:
                        self._listener = fds[0]
                        poll.register(self._listener, select.POLLIN)
                    else:
                        poll.unregister(fd)
                elif events & select.POLLIN:
                    self._refuse()
                else:  # nobody has the filter any more
                    poll.unregister(fd)

    def _answer(self, order: HandOrder) -> None:
        passed: socket.socket | None = None
        try:
            if order.deed is Deed.HOLD:
                found, passed = self._hold()
            else:
                found = self._do(order)
        except SutureError as problem:
            found = HandReport(problem=problem.cause, exit_code=int(problem.exit_code))
        except Exception as problem:  # a defect; it must not cost the others their turn
            text = f"unforeseen {type(problem).__name__}: {problem}"
            why = Cause(Reason.DEFECT, text, "this is a defect in Suture: report it")
            found = HandReport(problem=why, exit_code=int(ExitCode.FAILED))
        with suppress(OSError):  # nobody is there any more, which the next turn notes
            self._line.socket.sendall(self._line.put(found))
            if passed is not None:
                socket.send_fds(self._passing, [b"!"], [passed.fileno()])
        if passed is not None:
            passed.close()

    def _hold(self) -> tuple[HandReport, socket.socket | None]:
        try:
            pid, line = self._hand.begin_holding()
        except OSError as problem:
            return HandReport(problem=no_holder(problem), exit_code=int(ExitCode.FAILED)), None
        self._holders.add(pid)
        return HandReport(pid=pid), line

    def _do(self, order: HandOrder) -> HandReport:
        if order.deed is Deed.LET_GO:
            if order.pid in self._holders:
                self._holders.discard(order.pid)
                self._hand.end_holding(order.pid)
            return HandReport()
        if not order.files or not all(_NAME.fullmatch(n) for n in order.files):
            raise ValueError(f"no names of patches: {order.files}")
        ready, self._ready = self._ready, None
        target = ready[1] if ready and ready[0] == order.files else self._hand.target(order.files)
        if order.deed is Deed.READ:
            self._ready = (order.files, target)
            return HandReport()
        options = ApplyOptions(timeout=order.timeout, replace=order.replace)
        if order.deed is Deed.APPLY:
            return HandReport(applied=target.apply(order.pids, options))
        return HandReport(reverted=target.revert(order.pids, "", options))

    def _refuse(self) -> None:
        """Tell of it once a minute for each call."""
        refused = confinement.answer(self._listener)
        now = time.monotonic()
        if refused is not None and now >= self._told.get(refused.call, 0.0):
            self._told[refused.call] = now + _TELL_SECONDS
            self._journal.tell("refused", str(refused))
