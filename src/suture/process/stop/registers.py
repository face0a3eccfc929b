"""Registers of all threads that a stop holds: read in one go, and what the stop did to their system calls undone."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence

from suture.error import Unsupported
from suture.process import syscall, x86_64
from suture.process.error import NotStopped
from suture.process.stop.interrupted import repair_interrupted
from suture.refusal import RESTART
from suture.report.reason import Reason

STOPPED = syscall.PTRACE_EVENT_STOP << 16 | signal.SIGTRAP << 8 | 0x7F


class ThreadRegisters:
    """Room for the registers of all threads of a process, made before a stop so that nothing is made in it."""

    def __init__(self, pid: int, count: int) -> None:
        self._pid = pid
        self._make_room(count)

    def _make_room(self, count: int) -> None:
        self._rows = syscall.RegisterRows(count + 64)

    def read(self, tids: Sequence[int]) -> memoryview[int]:
        """Those of stopped threads, in the same order: 64-bit words, x86_64.WORDS for each. Raises NotStopped,
        Unsupported."""
        count = len(tids)
        if count > len(self._rows):
            self._make_room(count)
        ptrace, getregs = syscall.ptrace_fast, syscall.PTRACE_GETREGS
        failed = 0
        for tid, row in zip(tids, self._rows.places, strict=False):
            failed |= ptrace(getregs, tid, None, row)
        if failed:
            raise NotStopped(self._pid, "lost a thread while it was stopped")
        words = self._rows.words(count)
        if set(words[x86_64.CS :: x86_64.WORDS]) != {x86_64.USER_CODE_SEGMENT}:
            raise Unsupported(
                f"pid {self._pid}: runs 32-bit code",
                RESTART,
                reason=Reason.BITS_32,
            )
        return words

    def repair(
        self, tids: Sequence[int], words: memoryview[int], status: Mapping[int, int], alone: bool, filtered: bool
    ) -> None:
        """Undo what the stop did to calls of threads that were read (`words`). `alone`: no other process has their
        memory; `filtered`: one may have a seccomp filter. At once, not at detach: it then holds even if we are
        killed."""
        ends = frozenset({x86_64.EINTR, x86_64.RESTARTBLOCK} if filtered else {x86_64.EINTR})
        indexes = [i for i, rax in enumerate(words[x86_64.RAX :: x86_64.WORDS]) if rax in ends]
        if not indexes:
            return
        if alone and not syscall.has_pending(tids[indexes[0]], shared=True):
            indexes = self._repaired(indexes, tids, words, status)
        for index in indexes:
            own = self._rows.row(index)
            if repair_interrupted(tids[index], own, status[tids[index]], filtered):
                syscall.set_registers(tids[index], own)

    def _repaired(
        self, indexes: Sequence[int], tids: Sequence[int], words: memoryview[int], status: Mapping[int, int]
    ) -> list[int]:
        """Repair those that show by their registers alone how; the others."""
        ptrace, rows, (peek, arguments, room) = syscall.ptrace_fast, self._rows.places, syscall.PEEK_OWN
        slow = []
        for index in indexes:
            tid, at = tids[index], index * x86_64.WORDS
            if words[at + x86_64.RAX] != x86_64.EINTR:
                slow.append(index)
                continue
            if not x86_64.is_repeated_after_eintr(words[at + x86_64.ORIG_RAX], words[at + x86_64.RSI]):
                continue
            if status[tid] != STOPPED or ptrace(peek, tid, arguments, room):
                slow.append(index)
                continue
            x86_64.repeat_call_in(words, at)
            if ptrace(syscall.PTRACE_SETREGS, tid, None, rows[index]):
                raise NotStopped(tid, "was lost while it was stopped")
        return slow
