"""Guards files with a hole: a process that starts never executes the old code of one.

A thread that opens such a file waits inside open (opening.py). There it is seized and interrupted, then let on, and
followed until it has mapped the file to be executed (follow.py). From there it runs to the place where its loader
tells debuggers that the list of what is loaded is whole (`r_brk` of struct r_debug, link.h): the file is in place, and
neither its code nor a constructor has run. It stands still there while the patch is applied as to any process.

A program that is itself the file cannot be held so: nobody may attach to a process inside execve. It is told of, and is
to be patched as one that runs.

The breakpoint is a perf event, so it is gone when we are. Should we die between its being met and our taking notice,
the process takes the SIGTRAP; so it ignores that meanwhile, unless it has a handler of its own.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from suture.error import SutureError
from suture.patch.file import PatchFile
from suture.patch.parts import parts_of_fixes
from suture.process import syscall
from suture.process.change.apply import apply
from suture.process.error import NoProcess
from suture.process.memory.loaded import loader_state
from suture.process.start.follow import Follower, Stage
from suture.process.start.opening import FileId, Opening, Openings
from suture.process.start.watchdog import Watchdog
from suture.process.stop.borrow import wait_stop
from suture.process.stop.catch import ignoring_trap, met_breakpoint
from suture.process.stop.detach import detach_running
from suture.process.tracee import Tracee, command_name, process_of
from suture.report.start import StartEnd

_APPLY_SECONDS = 2.0
_REACH_SECONDS = 5.0  # from mapping the file to the loader's mark
_STOP_SECONDS = 0.2
_IDLE_SECONDS = 1.0
_LOOK_SECONDS = 0.00005


@dataclass(frozen=True)
class Start:
    """One opening of a guarded file; a process that loads several has one for each. `held_us`: how long, from being
    seized to being let go."""

    pid: int
    command: str
    file: FileId
    end: StartEnd
    stops: int
    held_us: float
    error: str = ""


@dataclass
class _Held:
    """A thread that is followed, and the guarded files that it has opened meanwhile. `event` is its breakpoint, -1
    before it has one."""

    tid: int
    pid: int
    command: str
    files: list[FileId]
    begin: float
    follower: Follower
    stops: int = 0
    is_loading: bool = False
    event: int = -1
    at_mark: bool = False
    keeping: ExitStack = field(default_factory=ExitStack)


def _anybody(pid: int) -> bool:
    return True


class Guard:
    """Holds what starts with one of the files, and applies the patches of that file in their order. `wants` tells
    whether a process (its pid) is to be held at all. Its thread is the tracer, so it is for one thread, and `run` is to
    be called from there."""

    def __init__(
        self,
        openings: Openings,
        patches: Mapping[FileId, Sequence[PatchFile]],
        wants: Callable[[int], bool] = _anybody,
    ) -> None:
        self._openings = openings
        self._wants = wants
        self._held: dict[int, _Held] = {}
        self._executing: set[int] = set()
        self.let_go = 0
        """Openings that were not held, as `run` counts them."""
        self.watch(patches)

    def watch(self, patches: Mapping[FileId, Sequence[PatchFile]]) -> None:
        """From now on these are applied, in what is held already too."""
        self._patches = dict(patches)

    def run(self, told: Callable[[Start], None], go_on: Callable[[], bool], wakes: int = -1) -> int:
        """Until `go_on` says no, asked once a second or so and whenever `wakes`, a descriptor, can be read; `told` of
        each opening. How many openings were not held: the watchdog had to answer, or the kernel had no room for
        more."""
        sources = [self._openings.group] if wakes < 0 else [self._openings.group, wakes]
        with Watchdog(self._openings) as watchdog:
            try:
                while go_on():
                    wait = _LOOK_SECONDS if self._held else _IDLE_SECONDS
                    select.select(sources, [], [], wait)
                    self.let_go = watchdog.let_go + self._openings.overflows
                    watchdog.beat()
                    for opening in self._openings.waiting():
                        watchdog.beat(opening.fd)
                        end = self._take(opening)
                        watchdog.beat()
                        if end is not None:
                            told(end)
                    for held in list(self._held.values()):
                        for end in self._look(held):
                            told(end)
                        watchdog.beat()
            finally:
                for held in list(self._held.values()):
                    self._let_go(held)
            return watchdog.let_go + self._openings.overflows

    def _take(self, opening: Opening) -> Start | None:
        """Seize who opens the file, and let it open it."""
        tid = opening.tid
        try:
            if opening.executes:  # nobody may attach to it before execve is through (ptrace(2), cred_guard_mutex)
                self._executing.add(tid)
            elif tid in self._executing:
                self._executing.discard(tid)
                if opening.file not in self._patches or not self._wants(pid := process_of(tid)):
                    return None
                return Start(pid, command_name(tid), opening.file, StartEnd.EXECUTED, 0, 0.0)
            elif opening.file in self._patches and tid in self._held:
                held = self._held[tid]
                held.files += [opening.file] if opening.file not in held.files else []
            elif opening.file in self._patches:
                pid = process_of(tid)
                if pid != os.getpid() and self._wants(pid):
                    syscall.seize(tid, syscall.PTRACE_O_TRACESYSGOOD)
                    syscall.interrupt(tid)
                    self._held[tid] = _Held(
                        tid, pid, command_name(pid), [opening.file], time.monotonic(), Follower(tid)
                    )
        except (OSError, SutureError):
            pass  # somebody else traces it, or it is gone: as without a guard
        finally:
            self._openings.allow(opening)
        return None

    def _look(self, held: _Held) -> list[Start]:
        """Take notice of what a thread reports; what came of it, when it is done with."""
        try:
            _, status = syscall.waitpid(held.tid, block=False)
            if not status:
                if time.monotonic() - held.begin > _REACH_SECONDS:
                    return self._end(held, StartEnd.FAILED, "did not come to its loader's mark in time")
                return []
            held.stops += 1
            if not os.WIFSTOPPED(status):
                self._forget(held)
                return []
            if held.is_loading:
                return self._at_stop(held, status)
            way = held.follower.on_stop(status)
            if way is Stage.OTHERWISE:
                return self._end(held, StartEnd.NOT_LOADED)
            if way is Stage.MAPPED:
                held.is_loading = True
                _to_event_stop(held.tid)
        except (ProcessLookupError, ChildProcessError, NoProcess):
            self._forget(held)
        except (OSError, SutureError) as problem:
            return self._end(held, StartEnd.FAILED, str(problem))
        return []

    def _at_stop(self, held: _Held, status: int) -> list[Start]:
        """Of a thread that has mapped the file, and runs to its loader's mark."""
        tid, stop = held.tid, os.WSTOPSIG(status)
        if status >> 16 == syscall.PTRACE_EVENT_STOP:
            if held.at_mark:
                return self._patch(held)
            if held.event < 0:
                return self._run_to_mark(held)
        if not met_breakpoint(tid, status):
            syscall.cont(tid, stop if status >> 16 == 0 else 0)
            return []
        state = loader_state(held.pid)
        if state is None or not state.is_consistent:
            syscall.cont(tid)
            return []
        self._close(held)
        held.at_mark = True
        _to_event_stop(tid)
        return []

    def _run_to_mark(self, held: _Held) -> list[Start]:
        state = loader_state(held.pid)
        if state is None:
            return self._end(held, StartEnd.FAILED, "its loader does not say where it passes when all is loaded")
        tracee = held.keeping.enter_context(Tracee(held.pid, writes=True, kept=(held.tid,)))
        held.keeping.enter_context(ignoring_trap(tracee))
        held.event = syscall.perf_breakpoint(held.tid, state.passes)
        syscall.cont(held.tid)
        return []

    def _patch(self, held: _Held) -> list[Start]:
        held.keeping.close()
        problems = []
        for first, *others in self._together(held):
            try:
                apply(
                    held.pid,
                    first,
                    companions=others,
                    where_loaded=bool(others),
                    timeout=_APPLY_SECONDS,
                    kept=(held.tid,),
                )
            except NoProcess:
                raise
            except SutureError as problem:
                problems.append(problem.what)
        return self._end(held, StartEnd.FAILED if problems else StartEnd.PATCHED, "; ".join(problems))

    def _together(self, held: _Held) -> list[list[PatchFile]]:
        """The patches of its files: those of one fix together, with its parts in other files, which may be loaded
        already. Several patches of one file go in one after the other."""
        wanted = {p.id for file in held.files for p in self._patches.get(file, ())}
        found: list[list[PatchFile]] = []
        for parts in parts_of_fixes(p for patches in self._patches.values() for p in patches):
            mine = [p for p in parts if p.id in wanted]
            if len({p.manifest.target.build_id for p in parts}) < len(parts):
                found += [[p] for p in mine]
            elif mine:
                found.append([*mine, *(p for p in parts if p.id not in wanted)])
        return found

    def _end(self, held: _Held, end: StartEnd, error: str = "") -> list[Start]:
        self._let_go(held)
        held_us = (time.monotonic() - held.begin) * 1e6
        return [Start(held.pid, held.command, file, end, held.stops, held_us, error) for file in held.files]

    def _let_go(self, held: _Held) -> None:
        if held.is_loading and not _stands(held.tid):  # what was done to it can be taken back of one that stands
            with suppress(OSError, SutureError):
                syscall.interrupt(held.tid)
                wait_stop(held.pid, held.tid, _STOP_SECONDS)
        self._close(held)
        self._forget(held)
        try:
            syscall.detach(held.tid)
        except ProcessLookupError:  # it runs, or has ended
            with suppress(OSError):
                detach_running(held.tid)

    def _forget(self, held: _Held) -> None:
        self._held.pop(held.tid, None)
        self._close(held)
        with suppress(OSError, SutureError):
            held.keeping.close()

    def _close(self, held: _Held) -> None:
        if held.event >= 0:
            os.close(held.event)
            held.event = -1


def _stands(tid: int) -> bool:
    try:
        syscall.get_registers(tid)
    except ProcessLookupError:
        return False
    return True


def _to_event_stop(tid: int) -> None:
    """From any stop to the one of an interrupt, without executing anything: what borrows a thread knows that one."""
    syscall.interrupt(tid)
    syscall.cont(tid)
