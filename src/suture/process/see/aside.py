"""Looking at processes from a child, because a look may never return.

A page of a process may lie in a file whose server does not answer (FUSE in a user namespace of its own, a network that
is gone), and what waits for it can only be killed. So a scout, forked once, looks at one process after the other. When
it is blocked, another goes on behind it; the blocked one has a little time left, as a slow disk may be all there is,
and is then killed and its process named.
"""

from __future__ import annotations

import mmap
import os
import pickle
import select
import signal
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from suture.error import ExitCode, SutureError
from suture.process.allowance import BY_NAME_SECONDS, limited_by_name
from suture.report.reason import Reason

STALL = 0.05
PATIENCE = 2.0
_STARVED = 60.0  # for a scout that is not blocked, only has no processor
GRACE = 10.0
_MOST_LATE = 64
_LENGTH = struct.Struct("<Q")
T = TypeVar("T")


class Told(SutureError):
    """An error that happened in the child, in its own words."""

    def __init__(self, what: str, remedy: str, exit_code: ExitCode, reason: Reason) -> None:
        super().__init__(what, remedy, reason=reason)
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[type[Told], tuple[str, str, ExitCode, Reason]]:
        return Told, (self.what, self.remedy, self.exit_code, self.reason)


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What a look at one process came to."""

    pid: int
    result: T | None
    problem: SutureError | None


def blocked(pid: int) -> Told:
    """The error for a process that a look does not return from."""
    return Told(
        f"pid {pid}: reading its memory or files does not return (a file system that does not answer)",
        f"see what it has mapped: cat /proc/{pid}/maps",
        ExitCode.REFUSED,
        reason=Reason.NO_ANSWER,
    )


class _Pipe:
    """The reading end of a pipe that answers come through. (multiprocessing has one too; to import it takes longer than
    a scan.)"""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def poll(self, seconds: float) -> bool:
        """Whether an answer, or the end, is there within this time."""
        return bool(self._poll.poll(max(seconds, 0) * 1000))

    def receive(self) -> Any:
        """Raises EOFError when the child has ended."""
        return pickle.loads(self._exactly(_LENGTH.unpack(self._exactly(_LENGTH.size))[0]))

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size:
            part = os.read(self.fd, min(size, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _send(fd: int, answer: Answer[Any]) -> None:
    raw = pickle.dumps(answer)
    raw = _LENGTH.pack(len(raw)) + raw
    while raw:
        raw = raw[os.write(fd, raw) :]


@dataclass
class _Scout:
    """A child that answers for processes in order."""

    child: int
    line: _Pipe
    retired: mmap.mmap  # shared with the child: not zero once another has taken over
    since: float = 0.0
    is_lost: bool = False

    def end(self, seconds: float = 0.0) -> None:
        """Kill the child, after this much time to end by itself. One that cannot even be killed is left to the
        kernel."""
        os.close(self.line.fd)
        if not self._has_ended(seconds):
            os.kill(self.child, signal.SIGKILL)
            self._has_ended(0.2)

    def _has_ended(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while os.waitpid(self.child, os.WNOHANG)[0] == 0:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.001)
        return True


def is_blocked(pid: int) -> bool:
    """Whether a child waits in the kernel, not for a processor."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            raw = file.read(512)
    except OSError:
        return True
    return raw[raw.rindex(b")") + 2 :][:1] != b"R"


def each(
    pids: Sequence[int], look: Callable[[int], T], order: Callable[[Sequence[int]], Iterable[int]] = iter
) -> Iterator[Answer[T]]:
    """`look` at each of them in a child. Answers come in the order of `pids`, but for those that made a scout wait.

    `order` gives each scout its numbers one by one, and may do something around them.
    """
    late: list[tuple[_Scout, int]] = []
    at = 0
    scout: _Scout | None = None
    try:
        while at < len(pids):
            if scout is None:
                scout = _start(pids[at:], look, [s.line.fd for s, _ in late], order)
            answer = _next(scout, pids[at], STALL if len(late) < _MOST_LATE else PATIENCE)
            if answer is None:
                scout.retired[0] = 1
                late.append((scout, pids[at]))
                scout = None
            else:
                yield answer
                if scout.is_lost:
                    scout.end()
                    scout = None
            at += 1
        for one, pid in late:
            yield _last(one, pid)
    finally:
        for one in (*(s for s, _ in late), *((scout,) if scout else ())):
            one.end()


def alone(pid: int, work: Callable[[], T], seconds: float) -> T:
    """The result of `work` on one process, done in a child that has this much time and a little more. Raises what it
    raises, as `Told`."""
    scout = _start([pid], lambda _: work())
    try:
        until = time.monotonic() + seconds + GRACE
        while not (came := scout.line.poll(max(until - time.monotonic(), STALL))):
            if is_blocked(scout.child) or time.monotonic() > until + _STARVED:
                break
        answer: Answer[T] | None = _receive(scout, pid) if came or scout.line.poll(0) else None
    except KeyboardInterrupt:
        scout.end(1.0)  # the child has had the signal too, and ends what it is at
        raise
    scout.end()
    if answer is None:
        raise blocked(pid)
    if answer.problem is not None:
        raise answer.problem
    return answer.result  # type: ignore[return-value]


def named(pid: int, work: Callable[[], T]) -> T:
    """The result of a look at one process that somebody has named, in a child and within what such a one may cost.
    Raises as `alone`."""

    def look() -> T:
        with limited_by_name(pid):
            return work()

    return alone(pid, look, BY_NAME_SECONDS)


def _next(scout: _Scout, pid: int, stall: float) -> Answer[Any] | None:
    """The next answer; None when the scout is blocked."""
    begin = time.monotonic()
    while not scout.line.poll(stall):
        if is_blocked(scout.child) or time.monotonic() - begin > _STARVED:
            if scout.line.poll(0):
                break
            scout.since = begin
            return None
    return _receive(scout, pid)


def _last(scout: _Scout, pid: int) -> Answer[Any]:
    left = scout.since + PATIENCE - time.monotonic()
    return _receive(scout, pid) if scout.line.poll(max(left, 0)) else Answer(pid, None, blocked(pid))


def _receive(scout: _Scout, pid: int) -> Answer[Any]:
    try:
        answer: Answer[Any] = scout.line.receive()
    except (EOFError, OSError):
        scout.is_lost = True
        what = f"pid {pid}: what looked at it was killed, for want of memory or by a person"
        return Answer(pid, None, Told(what, "look again", ExitCode.FAILED, reason=Reason.KILLED))
    return answer


def _start(
    pids: Sequence[int],
    look: Callable[[int], Any],
    others: Sequence[int] = (),
    order: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> _Scout:
    ours, theirs = os.pipe()
    retired = mmap.mmap(-1, mmap.PAGESIZE)
    child = os.fork()
    if child:
        os.close(theirs)
        return _Scout(child, _Pipe(ours), retired)
    try:
        for fd in (ours, *others):
            os.close(fd)
        for pid in order(pids):
            if retired[0]:
                break
            _send(theirs, _answer(pid, look))
    except (OSError, KeyboardInterrupt):
        pass
    finally:
        os._exit(0)


def _answer(pid: int, look: Callable[[int], T]) -> Answer[T]:
    try:
        return Answer(pid, look(pid), None)
    except SutureError as problem:
        return Answer(pid, None, Told(problem.what, problem.remedy, problem.exit_code, reason=problem.reason))
    except Exception as problem:  # a defect; it must not cost the other processes their turn
        what = f"pid {pid}: unforeseen {type(problem).__name__}: {' '.join(str(problem).split())}"
        return Answer(
            pid, None, Told(what, "this is a defect in Suture: report it", ExitCode.REFUSED, reason=Reason.DEFECT)
        )
