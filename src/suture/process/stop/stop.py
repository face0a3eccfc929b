"""Stopping every thread that can execute a process's memory, for as short as can be.

`Seizure` attaches to all threads while they run; `stop` is the pause; leaving the context detaches. Threads and
processes born meanwhile are attached by the kernel (PTRACE_O_TRACECLONE and so on) and join in. Signals that a stop
meets are handed over at detach. Nothing of ours is left behind if we die: the kernel detaches, and the threads go on.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType

from suture.process import syscall
from suture.process.error import AlreadyTraced, NoProcess, NotStopped
from suture.process.lending import start_alike
from suture.process.proc import open_folder
from suture.process.stop.borrow import refusal
from suture.process.stop.detach import detach_newborn, detach_running, is_ours, release_lingering, sweep
from suture.process.stop.interrupted import repair_interrupted
from suture.process.stop.obstacle import why_uninterruptible
from suture.process.stop.reaper import Reaper
from suture.process.stop.registers import STOPPED, ThreadRegisters
from suture.process.tracee import MOST_THREADS, Tracee, list_threads, read_condition, read_stat
from suture.process.urgency import Urgency, lending
from suture.report.reason import Reason

_OPTIONS = syscall.PTRACE_O_TRACECLONE | syscall.PTRACE_O_TRACEFORK | syscall.PTRACE_O_TRACEVFORK
_BIRTHS = frozenset({syscall.PTRACE_EVENT_CLONE, syscall.PTRACE_EVENT_FORK, syscall.PTRACE_EVENT_VFORK})
_RUNNING = 0


class Seizure:
    """All threads of a process and of those that share its memory, seized and running. A context manager.

    `held` are threads that are ours and stand still already. After `stop`, `tids` are the stopped threads and
    `registers` theirs in the same order: a flat view of 64-bit words, x86_64.WORDS for each.
    """

    def __init__(self, tracee: Tracee, held: Iterable[int] = ()) -> None:
        self.tracee = tracee
        self.tids: list[int] = []
        self.registers = memoryview(b"").cast("Q")
        self.paused_at = 0
        self.paused_ns = 0
        self._status: dict[int, int] = dict.fromkeys((*held, *tracee.kept), STOPPED)
        self._strangers: set[int] = set()
        self._processes = [tracee.pid]
        self._stopping = False
        self._irregular = False
        self._filtered = False  # whether a thread may have a seccomp filter
        self._urgency = Urgency()
        self._lending = lending()
        self._tasks_fd = -1

    def __enter__(self) -> Seizure:
        self._reaper = Reaper(self.tracee.pid)
        try:
            release_lingering()
            self._tasks_fd = open_folder(self.tracee.pid, "task", self.tracee.folder)
            self._refuse_unstoppable(self.tracee.pid)
            self._seize_all()
            self._seize_sharers()
            self._rows = ThreadRegisters(self.tracee.pid, len(self._status))
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        try:
            self._detach_all()
            if self._irregular:
                sweep(self._processes)
        finally:
            self._lending.release()
            self._reaper.end()
            if self._tasks_fd >= 0:
                os.close(self._tasks_fd)

    def _seize_all(self) -> None:
        """Until a whole round finds no new thread. A thread born by a seized one is ours already."""
        rounds = 0
        while True:
            new = 0
            listed: set[int] = set()
            for pid in self._processes:
                for tid in self._list(pid):
                    listed.add(tid)
                    if tid not in self._status and self._seize(tid):
                        new += 1
            if not new:
                # a number may have been another's by the time that it was seized; that one is no thread of ours
                self._let_go([tid for tid in self._status if tid not in listed])
                return
            rounds += 1
            if rounds > 200 or len(self._status) > MOST_THREADS:
                raise NotStopped(self.tracee.pid, "has threads that are born faster than they can be seized")
            if rounds > 2:
                self._collect_births()

    def _seize_sharers(self) -> None:
        """Processes with the same memory. Looked for when all known threads are seized, whose children are ours from
        birth on; what a sharer bore before it was seized is found by looking again."""
        while new := [pid for pid in self.tracee.memory_sharers() if pid not in self._processes]:
            for pid in new:
                self._refuse_unstoppable(pid)
            self._processes += new
            self._seize_all()
            for pid in new:
                if (
                    syscall.kcmp_memory(self.tracee.via, pid) != 0
                ):  # ended or executed a program meanwhile, or is another by now
                    self._processes.remove(pid)
                    self._let_go(self._list(pid))

    def _let_go(self, tids: Iterable[int]) -> None:
        for tid in tids:
            if self._status.pop(tid, None) is not None:
                for child in detach_running(tid):
                    detach_newborn(child)

    def _list(self, pid: int) -> list[int]:
        if pid == self.tracee.pid:
            try:
                return [int(name) for name in os.listdir(self._tasks_fd)]
            except (FileNotFoundError, ProcessLookupError) as problem:
                raise NoProcess(pid) from problem
        try:
            return list_threads(pid)
        except NoProcess:
            return []

    def _seize(self, tid: int) -> bool:
        if self._status and self._reaper.ident is None:
            start_alike(self._reaper)  # before the first is seized, there is no exit to take notice of
        try:
            syscall.seize(tid, _OPTIONS)
        except ProcessLookupError:
            return False
        except PermissionError as problem:
            why = refusal(self.tracee.pid, tid)
            if why is None:
                return False
            if not isinstance(why, AlreadyTraced) or why.tracer != threading.get_native_id():
                raise why from problem
            # born by a seized thread: ours already, and it will report its first stop
        self._status[tid] = _RUNNING
        return True

    def _collect_births(self) -> None:
        """Let those go on that have reported something, so that a storm of births does not hang on us."""
        for tid in list(self._status):
            try:
                _, status = syscall.waitpid(tid, block=False)
            except ChildProcessError:
                self._end(tid)
                continue
            if status and os.WIFSTOPPED(status):
                self._note_birth(tid, status)
                sig = os.WSTOPSIG(status) if status >> 16 == 0 else 0
                if status >> 16 == syscall.PTRACE_EVENT_STOP and os.WSTOPSIG(status) != 5:
                    self._status[tid] = status  # a group stop stays one
                    continue
                try:
                    syscall.cont(tid, sig)
                except ProcessLookupError:
                    self._end(tid)
            elif status:
                self._end(tid)

    def _refuse_unstoppable(self, pid: int) -> None:
        """A thread in uninterruptible sleep (a parent in vfork, or in a dead file system) cannot be stopped: do not
        try."""
        for tid in self._list(pid):
            try:
                state, filtered = read_condition(pid, tid)
            except NoProcess:
                continue
            self._filtered |= filtered
            if state == "D":
                raise NotStopped(tid, why_uninterruptible(pid, tid))

    def stop(self, seconds: float = 0.05) -> None:
        """Stop all. On return nothing can run in the memory. Raises NotStopped, NoProcess, Unsupported; then everything
        runs again once the context is left."""
        try:
            self._stop(seconds)
        except BaseException:
            self._repair_stopped()
            raise

    def _stop(self, seconds: float) -> None:
        ptrace, interrupt = syscall.ptrace_fast, syscall.PTRACE_INTERRUPT
        waiting = [tid for tid, status in self._status.items() if status == _RUNNING]
        lending, lends = self._lending, self._lending.most > 0
        lending.prepare()
        if waiting:
            lending.claim()
        with syscall.wake_after(seconds + len(waiting) * 2e-4):
            self._stopping = self._reaper.rests = True
            self._urgency.begin()
            self.paused_at = time.perf_counter_ns()
            for tid in waiting:
                ptrace(interrupt, tid, None, None)
            births: list[int] = []
            wait, (cell, at), wall, known = syscall.waitpid_fast, syscall.status_cell(), syscall.WALL, self._status
            try:
                for index, tid in enumerate(waiting):
                    got = wait(tid, at, wall | os.WNOHANG) if lends else 0
                    if not got:
                        lending.begin(waiting[index : index + lending.most])
                        got = wait(tid, at, wall)
                    if lends:
                        lending.end(tid)
                    if got != tid:
                        self._wait(tid, births)
                    elif cell.value == STOPPED:
                        known[tid] = STOPPED
                    else:
                        self._take(tid, cell.value, births)
                self._join_newborn(births)
            finally:
                lending.end_all()
        self.tids = list(self._status)
        if not self.tids:
            raise NoProcess(self.tracee.pid, "ended during the work", reason=Reason.ENDED_DURING_WORK)
        self.registers = self._rows.read(self.tids)
        self._rows.repair(self.tids, self.registers, self._status, len(self._processes) == 1, self._filtered)
        lending.release()  # nothing more is to be lent here, and others may be about to stop their process

    def _repair_stopped(self) -> None:
        """After a stop that was not had: those that did stop have been interrupted all the same."""
        for tid, status in self._status.items():
            if status != _RUNNING:
                with suppress(ProcessLookupError):
                    registers = syscall.get_registers(tid)
                    if repair_interrupted(tid, registers, status):
                        syscall.set_registers(tid, registers)

    def _wait(self, tid: int, births: list[int]) -> None:
        try:
            _, status = syscall.waitpid(tid)
        except ChildProcessError:
            self._end(tid)
            return
        except InterruptedError:
            if self._has_ended(tid):
                self._end(tid)
                return
            raise NotStopped(tid, "did not stop in time") from None
        self._take(tid, status, births)

    def _take(self, tid: int, status: int, births: list[int]) -> None:
        if not os.WIFSTOPPED(status):
            self._end(tid)
            return
        self._status[tid] = status
        if status >> 16 in _BIRTHS:
            births.append(tid)

    def _end(self, tid: int) -> None:
        self._status.pop(tid, None)
        self._irregular = True

    def _has_ended(self, tid: int) -> bool:
        try:
            # a main thread that is none of ours any more: another one has called execve and bears its number now
            return read_stat(tid, tid).state in "ZX" or (tid in self._processes and not is_ours(tid))
        except NoProcess:
            return True

    def _join_newborn(self, births: list[int]) -> None:
        """Wait for the children whose births were reported, then look once more at the list of threads."""
        for _ in range(64):
            for parent in births:
                self._note_birth(parent, self._status[parent])
            births = []
            if self._all_known():
                return
            pending = [t for t, s in self._status.items() if s == _RUNNING]
            for pid in self._processes:
                pending += [tid for tid in self._list(pid) if tid not in self._status and self._alive_or_none(pid, tid)]
            if not pending:
                return
            for tid in pending:
                if tid not in self._status:
                    self._reaper.rests = False
                    if not self._seize(tid):
                        continue
                    if self._status[tid] == _RUNNING:
                        syscall.ptrace_fast(syscall.PTRACE_INTERRUPT, tid, None, None)
                if self._status[tid] == _RUNNING:
                    self._wait(tid, births)
        raise NotStopped(self.tracee.pid, "has threads that are born faster than they can be stopped")

    def _all_known(self) -> bool:
        """Whether the process has just as many threads as stand still here: then there is none that is not known.

        The task folder has a link for each thread and two of its own (fs/proc/base.c, proc_task_getattr); one that has
        ended counts until its tracer has taken notice, so that a count can only be too high. Listing 512 threads takes
        50 times as long.
        """
        if len(self._processes) > 1 or _RUNNING in self._status.values():
            return False
        return os.fstat(self._tasks_fd).st_nlink - 2 == len(self._status)

    def _alive_or_none(self, pid: int, tid: int) -> bool:
        """A thread in the list that is no zombie. An ended main thread stays listed while others live."""
        try:
            return read_stat(pid, tid).state not in "ZX"
        except NoProcess:
            return False

    def _note_birth(self, parent: int, status: int) -> None:
        """Take a child of a reported birth into the set when it shares the memory, else remember to let it go."""
        event = status >> 16
        if event not in _BIRTHS:
            return
        try:
            child = syscall.get_event_message(parent)
        except ProcessLookupError:
            return
        if not child or child in self._status or child in self._strangers:
            return
        if not os.path.exists(f"/proc/{self.tracee.pid}/task/{child}"):
            try:
                shares = syscall.kcmp_same_memory(self.tracee.via, child)
            except OSError as problem:
                if problem.errno == errno.ESRCH:
                    return
                shares = True
            if not shares:
                self._strangers.add(child)
                return
            self._processes.append(child)
        self._status[child] = _RUNNING

    def _detach_all(self) -> None:
        """Let everything go: pending signals handed over, group stops left in force."""
        ptrace, detach = syscall.ptrace_fast, syscall.PTRACE_DETACH
        failed = 0
        self._irregular |= any(status == _RUNNING or status >> 16 in _BIRTHS for status in self._status.values())
        running = [tid for tid, status in self._status.items() if status == _RUNNING]
        for tid, status in self._status.items():
            if tid in self.tracee.kept:
                continue
            if status == STOPPED:
                failed |= ptrace(detach, tid, None, None)
            elif status != _RUNNING:
                failed |= ptrace(detach, tid, None, status >> 8 & 0x7F if status >> 16 == 0 else None)
        if self._stopping:
            self.paused_ns = time.perf_counter_ns() - self.paused_at
            self._urgency.end()
            self._reaper.rests = False
        # one that was let go may already have called execve, which kills those that were still stopped
        self._irregular |= failed != 0
        for tid in running:
            for child in detach_running(tid):
                if child not in self._status and child not in self._strangers:
                    detach_newborn(child)
        for tid in self._strangers:
            detach_newborn(tid)
        self._status.clear()
        self._strangers.clear()
