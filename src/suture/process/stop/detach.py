"""Letting go of a tracee in whatever state it is. PTRACE_DETACH works only on a stopped one, so a running one is
stopped first.

A thread deep in the kernel does not stop; it is remembered and let go as soon as it has. When we end, the kernel lets
all go.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable

from suture.process import syscall
from suture.process.error import NoProcess
from suture.process.stop.interrupted import repair_interrupted
from suture.process.tracee import list_threads, read_status

_SLICE_SECONDS = 0.02
_BIRTHS = frozenset({syscall.PTRACE_EVENT_CLONE, syscall.PTRACE_EVENT_FORK, syscall.PTRACE_EVENT_VFORK})
_lingering: set[int] = set()


def is_ours(tid: int) -> bool:
    """Whether this thread of ours is the tracer. After execve a main thread's number belongs to another thread, which
    is not traced."""
    try:
        return read_status(tid).tracer == threading.get_native_id()
    except NoProcess:
        return False


def wait_while_ours(tid: int, seconds: float) -> int | None:
    """The next wait status of a tracee; None when it is none of ours any more. Raises TimeoutError.

    Waits in slices, because for a child of our own, the kernel would go on waiting when it is no tracee any more.
    """
    deadline = time.monotonic() + seconds
    while True:
        with syscall.wake_after(_SLICE_SECONDS):
            try:
                return syscall.waitpid(tid)[1]
            except ChildProcessError:
                return None
            except InterruptedError:
                pass
        if not is_ours(tid):
            return None
        if time.monotonic() > deadline:
            raise TimeoutError(f"thread {tid} does not stop")


def detach_running(tid: int, seconds: float = 1.0) -> list[int]:
    """Stop and let go; a call that this interrupts starts again, a signal is handed over. Returns children of its whose
    birth the stop has reported: they are attached too."""
    syscall.ptrace_fast(syscall.PTRACE_INTERRUPT, tid, None, None)
    try:
        status = wait_while_ours(tid, seconds)
    except TimeoutError:
        _lingering.add(tid)
        return []
    if status is None or not os.WIFSTOPPED(status):
        return []
    return _detach_stopped(tid, status)


def _detach_stopped(tid: int, status: int) -> list[int]:
    children = []
    try:
        if status >> 16 in _BIRTHS and (child := syscall.get_event_message(tid)):
            children.append(child)
        registers = syscall.get_registers(tid)
        if repair_interrupted(tid, registers, status):
            syscall.set_registers(tid, registers)
        signalled = status >> 16 == 0 and os.WSTOPSIG(status) != syscall.CALL_STOP  # else at the end of a call
        syscall.detach(tid, os.WSTOPSIG(status) if signalled else 0)
    except ProcessLookupError:
        pass  # it was killed meanwhile
    return children


def detach_newborn(tid: int) -> None:
    """Let go of a child that the kernel attached at its birth: its first stop comes by itself."""
    try:
        status = wait_while_ours(tid, 1.0)
    except TimeoutError:
        _lingering.add(tid)
        return
    if status is not None and os.WIFSTOPPED(status):
        _detach_stopped(tid, status)


def sweep(pids: Iterable[int]) -> None:
    """Let go of every thread of these processes that is still ours.

    For when threads have ended or would not stop: the process may have called execve, and then a thread of ours lives
    on under the main thread's number, and others may have been born attached. Two rounds must find nothing, because the
    number may change hands within one.
    """
    deadline = time.monotonic() + 1.0
    clean = 0
    while clean < 2 and time.monotonic() < deadline:
        clean += 1
        for pid in pids:
            try:
                tids = list_threads(pid)
            except NoProcess:
                continue
            for tid in tids:
                if is_ours(tid):
                    clean = 0
                    for child in detach_running(tid):
                        detach_newborn(child)
        time.sleep(0.001)


def release_lingering(seconds: float = 0.0) -> None:
    """Let go of those that have stopped since; wait up to `seconds` for the others."""
    deadline = time.monotonic() + seconds
    while _lingering:
        for tid in list(_lingering):
            if not is_ours(tid):
                _lingering.discard(tid)
                continue
            try:
                _, status = syscall.waitpid(tid, block=False)
            except ChildProcessError:
                _lingering.discard(tid)
                continue
            if status:
                _lingering.discard(tid)
                if os.WIFSTOPPED(status):
                    _detach_stopped(tid, status)
        if time.monotonic() >= deadline:
            return
        time.sleep(0.005)
