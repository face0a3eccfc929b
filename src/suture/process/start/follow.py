"""A thread that has opened a file is followed, call by call, until it has mapped it to be executed.

A loader reads the file's head, asks for its size and maps it; nothing else comes between. Whoever calls anything else
(cp, ldconfig, dpkg) is let go at once. It stands still only inside the kernel, at the ends of calls, so nothing of it
is changed.
"""

from __future__ import annotations

import mmap
import os
from enum import Enum

from suture.process import syscall, x86_64

_MOST_CALLS, _MOST_OF_HANDLERS = 48, 1000


class Stage(Enum):
    """What is known of a thread that is followed."""

    ON_ITS_WAY = "on its way"
    MAPPED = "mapped"  # stands behind the call that mapped the file to be executed
    OTHERWISE = "otherwise"  # does not load the file; stands


class Follower:
    """Follows one thread, which is seized with PTRACE_O_TRACESYSGOOD and was interrupted before its open was
    answered."""

    def __init__(self, tid: int) -> None:
        self.tid = tid
        self.calls = 0
        self._fd = -1
        self._maps_code = False
        self._inside = False
        self._handlers = 0  # of signals, which may call what they like until they return
        self._of_handlers = 0

    def on_stop(self, status: int) -> Stage:
        """Take notice of a stop. The thread goes on, unless this is the end of the way."""
        if status >> 16 == syscall.PTRACE_EVENT_STOP:
            if self._fd < 0 and not self._has_opened():
                return Stage.OTHERWISE
            return self._on()
        if os.WSTOPSIG(status) != syscall.CALL_STOP:
            self._handlers += status >> 16 == 0
            syscall.cont_to_syscall(self.tid, os.WSTOPSIG(status) if status >> 16 == 0 else 0)
            return Stage.ON_ITS_WAY
        self._inside = not self._inside
        if self._inside:
            return self._on() if self._may_be_loading() else Stage.OTHERWISE
        if self._maps_code:
            if not x86_64.error_of(syscall.get_registers(self.tid).rax):
                return Stage.MAPPED
            self._maps_code = False
        return self._on()

    def _on(self) -> Stage:
        self.calls += 1
        self._of_handlers += self._handlers > 0
        if self.calls - self._of_handlers > _MOST_CALLS or self._of_handlers > _MOST_OF_HANDLERS:
            return Stage.OTHERWISE
        syscall.cont_to_syscall(self.tid)
        return Stage.ON_ITS_WAY

    def _has_opened(self) -> bool:
        found = syscall.get_registers(self.tid).rax
        self._fd = -1 if x86_64.error_of(found) else found
        return self._fd >= 0

    def _may_be_loading(self) -> bool:
        """Whether the call that it enters is one that a loader makes now."""
        call = syscall.get_registers(self.tid)
        number = call.orig_rax
        if number == x86_64.SYS_RT_SIGRETURN:
            self._of_handlers += self._handlers == 1
            self._handlers = max(self._handlers - 1, 0)
            return True
        if number == x86_64.SYS_MMAP:
            of_file = call.r8 & 0xFFFFFFFF == self._fd
            self._maps_code = of_file and bool(call.rdx & mmap.PROT_EXEC)
            return True
        if self._handlers or number in x86_64.OF_LOADERS:
            return True
        return number in x86_64.OF_LOADERS_ON_FILE and call.rdi & 0xFFFFFFFF == self._fd
