"""One change in many processes: shared out among workers, each process on its own, whatever happens to the others.

Workers are forked, because a tracer is one thread and Python runs one at a time. What threads are busy with must not
hold up the rest: a first round waits for each process a moment only, a second one has the full time and more workers,
which sleep mostly. Processes that start meanwhile are found by looking again until nobody is new.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, Pipe, wait

from suture.error import ExitCode, SutureError
from suture.patch.file import PatchFile
from suture.process.change.apply import apply
from suture.process.change.fitting import NotLoaded
from suture.process.change.result import Result
from suture.process.see.aside import GRACE, is_blocked
from suture.process.see.find import Unread, every_process
from suture.process.see.population import Population
from suture.process.tracee import command_name
from suture.process.urgency import hurry, is_loaded, urgent
from suture.report.reason import Reason

_FIRST_SECONDS = 0.2
_MOST_WAITING = 32
_MOST_PASSES = 8
_COLLECT = 100  # processes after which a worker looks for garbage that refers to itself
_LOOK_SECONDS = 0.5
_STARVED = 60.0  # for a worker that is not blocked, only has no processor
_AHEAD = 3  # requests that lie ready for a worker


@dataclass(frozen=True)
class Failure:
    """A process that was left as it was."""

    pid: int
    command: str
    error: str
    remedy: str
    exit_code: ExitCode
    reason: Reason
    has_left: bool = False  # the binary is not loaded any more, or another program was executed meanwhile


Outcome = Result | Failure
Change = Callable[[int, float, Population], Result]
"""What is done in a process, given its number and how many seconds it may wait for busy threads."""
Report = Callable[[int, int], None]
"""Called with how many processes are done with, and how many there are by now."""


@dataclass(frozen=True)
class Everywhere:
    """What became of all processes that were found. `unread` could not be looked at; before their turn was over `ended`
    have ended and `executed` have executed a program that has not loaded the binary.

    `passes` counts the looks at all processes that found a new one; times in seconds: of the first look, and all
    together.
    """

    outcomes: tuple[Outcome, ...]
    ended: tuple[int, ...]
    executed: tuple[int, ...]
    unread: tuple[Unread, ...]
    passes: int
    scan_seconds: float
    seconds: float


def apply_everywhere(
    patch: PatchFile,
    *,
    companions: Sequence[PatchFile] = (),
    timeout: float = 10.0,
    replace: bool = False,
    accept_loss: bool = False,
    jobs: int | None = None,
    report: Report = lambda done, of: None,
) -> Everywhere:
    """Apply a patch in all processes that run the binary it is for, but this one. With `companions` each process gets
    in one stop all that are for what it has loaded."""
    started = time.monotonic()
    seen: set[tuple[int, int]] = set()
    outcomes: list[Outcome] = []
    unread: Sequence[Unread] = ()
    passes, scan_seconds = 0, 0.0
    while passes < _MOST_PASSES:
        begin = time.monotonic()
        found, unread = every_process(seen)
        scan_seconds = scan_seconds or time.monotonic() - begin
        targets = {p.manifest.target.build_id for p in (patch, *companions)}
        new = [p for p in found if any(i.build_id in targets for i in p.images)]
        new = [p for p in new if p.pid != os.getpid()]
        if not new:
            break
        passes += 1
        seen |= {(p.pid, p.start_time) for p in new}
        before = len(outcomes)

        def change(pid: int, seconds: float, population: Population) -> Result:
            return apply(
                pid,
                patch,
                companions=companions,
                where_loaded=bool(companions),
                timeout=seconds,
                replace=replace,
                accept_loss=accept_loss,
                population=population,
            )

        def told(done: int, of: int, before: int = before) -> None:
            report(before + done, before + of)

        latest = in_each([p.pid for p in new], change, timeout=timeout, jobs=jobs, report=told)
        # what these execute now may have loaded the binary too
        gone = {o.pid for o in latest if _has_left(o)}
        seen -= {(p.pid, p.start_time) for p in new if p.pid in gone}
        outcomes += latest
    ended = tuple(o.pid for o in outcomes if _has_ended(o))
    kept = tuple(o for o in outcomes if not _has_ended(o) and not _has_left(o))
    executed = tuple({o.pid for o in outcomes if _has_left(o)} - {o.pid for o in kept})
    return Everywhere(kept, ended, executed, tuple(unread), passes, scan_seconds, time.monotonic() - started)


def _has_ended(outcome: Outcome) -> bool:
    return isinstance(outcome, Failure) and outcome.exit_code is ExitCode.NO_PROCESS and not outcome.has_left


def _has_left(outcome: Outcome) -> bool:
    return isinstance(outcome, Failure) and outcome.has_left


def in_each(
    pids: Sequence[int],
    change: Change,
    *,
    timeout: float,
    jobs: int | None = None,
    report: Report = lambda done, of: None,
) -> list[Outcome]:
    """Make a change in each of these processes; what came of it, in their order.

    `timeout` is for all of them together: one whose turn comes when it is over is not waited for. A worker that does
    not come back within it is killed.
    """
    until = time.monotonic() + timeout
    jobs = jobs or len(os.sched_getaffinity(0))
    first = min(timeout, _FIRST_SECONDS)
    outcomes: dict[int, Outcome] = {}
    todo: dict[int, None] = dict.fromkeys(pids)
    with urgent():  # who gives out the work and has next to none of it itself
        for seconds, workers in ((first, jobs), (timeout - first, max(jobs, _MOST_WAITING))):
            if not todo:
                break
            for outcome in _share_out(todo, change, _Time(seconds, until), min(workers, len(todo)), Population()):
                outcomes[outcome.pid] = _joined(outcomes.get(outcome.pid), outcome)
                report(len(outcomes), len(set(pids)))
            todo = {pid: None for pid, o in outcomes.items() if _is_waiting(o) and timeout > first}
    return [outcomes[pid] for pid in dict.fromkeys(pids)]


def _is_waiting(outcome: Outcome) -> bool:
    return outcome.exit_code in (ExitCode.BUSY, ExitCode.PARTIAL)


def _joined(before: Outcome | None, now: Outcome) -> Outcome:
    """One result of both rounds."""
    if isinstance(before, Result) and isinstance(now, Result):
        pauses, seconds = before.pauses_us + now.pauses_us, before.seconds + now.seconds
        return replace(now, changed=before.changed or now.changed, pauses_us=pauses, seconds=seconds)
    if isinstance(before, Result) and now.exit_code is ExitCode.BUSY:
        return before  # some of its groups are there, and no more came
    return now


@dataclass(frozen=True)
class _Time:
    """How long one process may be waited for, and until when (time.monotonic) any."""

    seconds: float
    until: float

    @property
    def left(self) -> float:
        return max(0.0, min(self.seconds, self.until - time.monotonic()))


@dataclass
class _Worker:
    """`since` is when it got to the first of what it was given."""

    pid: int
    line: Connection
    given: list[int]
    alive: bool = True
    since: float = field(default_factory=time.monotonic)

    def is_late(self, seconds: float) -> bool:
        """Whether it waits in the kernel for what may never come, long after its time."""
        late = time.monotonic() - self.since - seconds
        return bool(self.given) and (late > _STARVED or (late > GRACE and is_blocked(self.pid)))


def _share_out(
    pids: Iterable[int], change: Change, time_left: _Time, count: int, population: Population
) -> Iterable[Outcome]:
    """Outcomes as they come. A worker that dies costs the processes that it was given, and no others."""
    left = list(reversed(list(pids)))
    workers: dict[object, _Worker] = {}
    for _ in range(count):
        worker = _start(change, time_left, population, [w.line for w in workers.values()])
        workers[worker.line] = worker
    try:
        for worker in workers.values():
            _give(worker, left, 1)
        while any(w.given for w in workers.values()):
            for worker in workers.values():
                if worker.is_late(time_left.seconds):
                    os.kill(worker.pid, signal.SIGKILL)
            for line in wait([w.line for w in workers.values() if w.given], _LOOK_SECONDS):
                worker = workers[line]
                try:
                    outcome = worker.line.recv()
                except (EOFError, OSError):
                    yield _unfinished(worker.given[0])
                    left += reversed(worker.given[1:])
                    worker.given, worker.alive = [], False
                    if left:
                        other = _start(change, time_left, population, [w.line for w in workers.values() if w.alive])
                        workers[other.line] = other
                    for other in workers.values():
                        _give(other, left, 1)
                    continue
                worker.given.remove(outcome.pid)
                worker.since = time.monotonic()
                _give(worker, left, _AHEAD if len(left) > _AHEAD * count else 1)
                yield outcome
        yield from (_unfinished(pid) for pid in left)
    finally:
        for worker in workers.values():
            worker.line.close()  # its sign to end, after what it is at
        for worker in workers.values():
            _wait_for(worker, time_left.seconds)


def _wait_for(worker: _Worker, seconds: float) -> None:
    """Until it has ended; one that the kernel does not even let die is left behind."""
    killed = not worker.alive
    while os.waitpid(worker.pid, os.WNOHANG)[0] == 0:
        if worker.is_late(seconds) or not worker.alive:
            if killed and worker.is_late(seconds + GRACE):
                return
            os.kill(worker.pid, signal.SIGKILL)
            killed = True
        time.sleep(0.002)


def _give(worker: _Worker, left: list[int], ahead: int) -> None:
    while worker.alive and left and len(worker.given) < ahead:
        worker.given.append(left.pop())
        try:
            worker.line.send(worker.given[-1])
        except OSError:  # it has died; `recv` tells
            return


def _unfinished(pid: int) -> Failure:
    what = f"pid {pid}: the worker that was at it was killed, by a person or because reading the process did not return"
    return Failure(
        pid, command_name(pid), what, f"see where it stands: suture status {pid}", ExitCode.FAILED, Reason.KILLED
    )


def _start(change: Change, time_left: _Time, population: Population, others: Sequence[Connection]) -> _Worker:
    ours, theirs = Pipe()
    pid = os.fork()
    if pid:
        theirs.close()
        return _Worker(pid, ours, [])
    code = 1
    try:
        for line in (ours, *others):
            line.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent: what was begun here is ended well
        with hurry():
            _work(theirs, change, time_left, population)
        code = 0
    finally:
        os._exit(code)


def _work(line: Connection, change: Change, time_left: _Time, population: Population) -> None:
    # looking for cycles all the time costs a seventh of the work; what the parent has made is left out of it
    gc.freeze()
    gc.disable()
    done = 0
    while True:
        try:
            pid = line.recv()
        except (EOFError, OSError):
            return
        begin = time.thread_time()
        line.send(outcome_of(pid, change, time_left.left, population))
        if is_loaded():
            time.sleep(time.thread_time() - begin)  # what was done in a hurry, others had to wait for
        done += 1
        if done % _COLLECT == 0:
            gc.collect()


def outcome_of(pid: int, change: Change, seconds: float, population: Population) -> Outcome:
    """The change in one process; what it raises as a value."""
    try:
        return change(pid, seconds, population)
    except SutureError as problem:
        has_left = isinstance(problem, NotLoaded) or problem.reason is Reason.EXECUTED
        return Failure(
            pid, command_name(pid), problem.what, problem.remedy, problem.exit_code, problem.reason, has_left
        )
    except Exception as problem:  # a defect; it must not cost the other processes their turn
        what = f"pid {pid}: {type(problem).__name__}: {problem}"
        remedy = f"this is a defect; give its pid alone to see where: --debug {pid}"
        return Failure(pid, command_name(pid), what, remedy, ExitCode.FAILED, Reason.DEFECT)
