"""Stopping every thread that can execute a process's memory, for as short as can be.

`Seizure` attaches to all threads while they run; `stop` is the pause; leaving the context detaches. Threads and processes
born meanwhile are attached by the kernel (PTRACE_O_TRACECLONE and so on) and join in. Signals that a stop meets are
handed over at detach. Nothing of ours is left behind if we die: the kernel detaches, and the threads go on.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
import time
from types import TracebackType

from suture.error import Unsupported
from suture.process import syscall, x86_64
from suture.process.borrow import refusal
from suture.process.error import AlreadyTraced, NoProcess
from suture.process.interrupted import repair_interrupted
from suture.process.tracee import MOST_THREADS, Tracee, list_threads, read_stat
from suture.process.x86_64 import Registers

_OPTIONS = syscall.PTRACE_O_TRACECLONE | syscall.PTRACE_O_TRACEFORK | syscall.PTRACE_O_TRACEVFORK
_BIRTHS = frozenset({syscall.PTRACE_EVENT_CLONE, syscall.PTRACE_EVENT_FORK, syscall.PTRACE_EVENT_VFORK})
_REGISTERS_SIZE = ctypes.sizeof(Registers)
_RUNNING = 0
_WORD = 8


class NotStopped(Exception):
    """A thread did not stop in time, or the set of threads would not settle; `tid` is one of them. Try again later."""

    def __init__(self, tid: int, why: str) -> None:
        super().__init__(f"thread {tid} {why}")
        self.tid = tid
        self.why = why


_lingering: set[int] = set()
"""Threads that are seized, could not be stopped, and so could not be detached."""


def release_lingering() -> None:
    """Detach those that have stopped since. When we end, the kernel does the same."""
    for tid in list(_lingering):
        try:
            _, status = syscall.waitpid(tid, block=False)
        except ChildProcessError:
            _lingering.discard(tid)
            continue
        if status:
            _lingering.discard(tid)
            if os.WIFSTOPPED(status):
                syscall.ptrace_fast(syscall.PTRACE_DETACH, tid, None, os.WSTOPSIG(status) if status >> 16 == 0 else None)


class Seizure:
    """All threads of a process and of those that share its memory, seized and running. A context manager.

    After `stop`, `tids` are the stopped threads and `registers` theirs in the same order: a flat view of 64-bit words,
    x86_64.WORDS for each.
    """

    def __init__(self, tracee: Tracee) -> None:
        self.tracee = tracee
        self.tids: list[int] = []
        self.registers = memoryview(b"").cast("Q")
        self.paused_at = 0
        self.paused_ns = 0
        self._status: dict[int, int] = {}
        self._strangers: set[int] = set()
        self._processes = [tracee.pid]
        self._stopping = False

    def __enter__(self) -> Seizure:
        try:
            release_lingering()
            self._processes += self.tracee.memory_sharers()
            self._refuse_unstoppable()
            self._seize_all()
            self._make_room(len(self._status))
        except BaseException:
            self._detach_all()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._detach_all()

    def _seize_all(self) -> None:
        """Until a whole round finds no new thread. A thread born by a seized one is ours already."""
        rounds = 0
        while True:
            new = 0
            for pid in self._processes:
                for tid in self._list(pid):
                    if tid not in self._status and self._seize(tid):
                        new += 1
            if not new:
                return
            rounds += 1
            if rounds > 200 or len(self._status) > MOST_THREADS:
                raise NotStopped(self.tracee.pid, "has threads that are born faster than they can be seized")
            if rounds > 2:
                self._collect_births()

    def _list(self, pid: int) -> list[int]:
        try:
            return list_threads(pid)
        except NoProcess:
            if pid == self.tracee.pid:
                raise
            return []

    def _seize(self, tid: int) -> bool:
        try:
            syscall.seize(tid, _OPTIONS)
        except ProcessLookupError:
            return False
        except PermissionError as problem:
            why = refusal(self.tracee.pid, tid)
            if why is None or isinstance(why, NoProcess):
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
                self._status.pop(tid, None)
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
                    self._status.pop(tid, None)
            elif status:
                self._status.pop(tid, None)

    def _refuse_unstoppable(self) -> None:
        """A thread in uninterruptible sleep (a parent in vfork, or in a dead file system) cannot be stopped: do not try."""
        for pid in self._processes:
            for tid in self._list(pid):
                try:
                    if read_stat(pid, tid).state == "D":
                        raise NotStopped(tid, "sleeps in the kernel and cannot be interrupted (vfork or input/output)")
                except NoProcess:
                    continue

    def _make_room(self, count: int) -> None:
        self._room = count + 64
        self._block = (ctypes.c_uint64 * (x86_64.WORDS * self._room))()

    def stop(self, seconds: float = 0.05) -> None:
        """Stop all. On return nothing can run in the memory. Raises NotStopped, NoProcess, Unsupported; then everything runs
        again once the context is left."""
        ptrace, interrupt = syscall.ptrace_fast, syscall.PTRACE_INTERRUPT
        waiting = [tid for tid, status in self._status.items() if status == _RUNNING]
        with syscall.wake_after(seconds + len(waiting) * 2e-4):
            self._stopping = True
            self.paused_at = time.perf_counter_ns()
            for tid in waiting:
                ptrace(interrupt, tid, None, None)
            births: list[int] = []
            for tid in waiting:
                self._wait(tid, births)
            self._join_newborn(births)
        self.tids = list(self._status)
        if not self.tids:
            raise NoProcess(self.tracee.pid, "ended during the work")
        self._read_registers()

    def _wait(self, tid: int, births: list[int]) -> None:
        try:
            _, status = syscall.waitpid(tid)
        except ChildProcessError:
            self._status.pop(tid, None)
            return
        except InterruptedError:
            if self._has_ended(tid):
                self._status.pop(tid, None)
                return
            raise NotStopped(tid, "did not stop in time") from None
        if status & 0xFF != 0x7F:
            self._status.pop(tid, None)
            return
        self._status[tid] = status
        if status >> 16 in _BIRTHS:
            births.append(tid)

    def _has_ended(self, tid: int) -> bool:
        try:
            return read_stat(tid, tid).state in "ZX"
        except NoProcess:
            return True

    def _join_newborn(self, births: list[int]) -> None:
        """Wait for the children whose births were reported, then look once more at the list of threads."""
        for _ in range(64):
            for parent in births:
                self._note_birth(parent, self._status[parent])
            births = []
            pending = [t for t, s in self._status.items() if s == _RUNNING]
            for pid in self._processes:
                pending += [tid for tid in self._list(pid) if tid not in self._status and self._alive_or_none(pid, tid)]
            if not pending:
                return
            for tid in pending:
                if tid not in self._status:
                    if not self._seize(tid):
                        continue
                    if self._status[tid] == _RUNNING:
                        syscall.ptrace_fast(syscall.PTRACE_INTERRUPT, tid, None, None)
                if self._status[tid] == _RUNNING:
                    self._wait(tid, births)
        raise NotStopped(self.tracee.pid, "has threads that are born faster than they can be stopped")

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

    def _read_registers(self) -> None:
        count = len(self.tids)
        if count > self._room:
            self._make_room(count)
        ptrace, getregs, base = syscall.ptrace_fast, syscall.PTRACE_GETREGS, ctypes.addressof(self._block)
        failed = 0
        for tid in self.tids:
            failed |= ptrace(getregs, tid, None, base)
            base += _REGISTERS_SIZE
        if failed:
            raise NotStopped(self.tracee.pid, "lost a thread while it was stopped")
        self.registers = memoryview(self._block).cast("B").cast("Q")[: count * x86_64.WORDS]
        if set(self.registers[x86_64.CS :: x86_64.WORDS]) != {x86_64.USER_CODE_SEGMENT}:
            raise Unsupported(f"pid {self.tracee.pid}: runs 32-bit code", "restart the program with the fixed package")
        eintr = x86_64.EINTR
        for index, rax in enumerate(self.registers[x86_64.RAX :: x86_64.WORDS]):
            if rax == eintr:
                self._repair(index)

    def _repair(self, index: int) -> None:
        # at once, not at detach: it then holds even if we are killed
        tid = self.tids[index]
        own = Registers.from_buffer(self._block, index * _REGISTERS_SIZE)
        if repair_interrupted(tid, own, self._status[tid]):
            syscall.set_registers(tid, own)

    def _detach_all(self) -> None:
        """Let everything go: pending signals handed over, group stops left in force."""
        ptrace, detach = syscall.ptrace_fast, syscall.PTRACE_DETACH
        running = [tid for tid, status in self._status.items() if status == _RUNNING]
        for tid, status in self._status.items():
            if status != _RUNNING:
                ptrace(detach, tid, None, status >> 8 & 0x7F if status >> 16 == 0 else None)
        if self._stopping:
            self.paused_ns = time.perf_counter_ns() - self.paused_at
        for tid in running:
            self._detach_running(tid)
        for tid in self._strangers:
            self._detach_running(tid)
        self._status.clear()
        self._strangers.clear()

    def _detach_running(self, tid: int) -> None:
        """A tracee must stop to be detached. Births that it reports on the way are let go too."""
        syscall.ptrace_fast(syscall.PTRACE_INTERRUPT, tid, None, None)
        with syscall.wake_after(1.0):
            try:
                _, status = syscall.waitpid(tid)
            except (ChildProcessError, InterruptedError):
                _lingering.add(tid)
                return
        if not os.WIFSTOPPED(status):
            return
        if status >> 16 in _BIRTHS:
            child = syscall.get_event_message(tid)
            if child and child not in self._status and child not in self._strangers:
                self._status_of_orphan(child)
        regs = syscall.get_registers(tid)
        if repair_interrupted(tid, regs, status):
            syscall.set_registers(tid, regs)
        syscall.ptrace_fast(syscall.PTRACE_DETACH, tid, None, os.WSTOPSIG(status) if status >> 16 == 0 else None)

    def _status_of_orphan(self, child: int) -> None:
        with syscall.wake_after(1.0):
            try:
                _, status = syscall.waitpid(child)
            except (ChildProcessError, InterruptedError):
                return
        if os.WIFSTOPPED(status):
            syscall.ptrace_fast(syscall.PTRACE_DETACH, child, None, None)
