"""Nobody waits long for an answer: a child answers in place of a guard that has stalled.

It shares the guard's descriptor, and is told in shared memory that the guard is at work and which opening it has in
hand. While nobody opens anything it sleeps: it is woken by an opening, and by the guard before that takes one. What it
lets go starts with the old code, as every process does without a guard, and is counted.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import struct
import time
from contextlib import suppress

from suture.process import syscall
from suture.process.start.opening import Openings, answer

STALLED_SECONDS = 0.05
_LOOK_SECONDS = 0.025
_WAKE_SECONDS, _AWAKE_SECONDS = 0.1, 0.5
_WORDS = struct.Struct("<QQQ")  # beats, the opening in hand (its descriptor and one), openings that the child let go


class Watchdog:
    """A context manager. `beat` is to be called at least every `STALLED_SECONDS` while something waits."""

    def __init__(self, openings: Openings) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._beats, self._woken = 0, 0.0
        wakes, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        parent = os.getpid()
        self._child = os.fork()
        if not self._child:
            try:
                syscall.end_with_parent()
                if os.getppid() == parent:
                    os.close(self._wake)
                    _watch(openings.group, self._memory, wakes)
            finally:
                os._exit(1)
        os.close(wakes)

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(self, *what: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._child, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(self._child, 0)
        os.close(self._wake)
        self._memory.close()

    def beat(self, in_hand: int = -1) -> None:
        """`in_hand`: the descriptor of the opening that is to be answered next."""
        self._beats += 1
        now = time.monotonic()
        if in_hand >= 0 and now - self._woken > _WAKE_SECONDS:
            self._woken = now
            with suppress(OSError):  # it has ended, or is awake and has not read the last
                os.write(self._wake, b"!")
        struct.pack_into("<QQ", self._memory, 0, self._beats, in_hand + 1)

    @property
    def let_go(self) -> int:
        """How many openings it had to answer."""
        return int(_WORDS.unpack_from(self._memory)[2])


def _watch(group: int, memory: mmap.mmap, wakes: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    last, since, let_go = -1, time.monotonic(), 0
    awake_until = 0.0
    while True:
        if time.monotonic() > awake_until:
            select.select([group, wakes], [], [])
            awake_until = time.monotonic() + _AWAKE_SECONDS
        with suppress(BlockingIOError):
            if os.read(wakes, 4096):
                awake_until = time.monotonic() + _AWAKE_SECONDS
        time.sleep(_LOOK_SECONDS)
        beats, in_hand, _ = _WORDS.unpack_from(memory)
        now = time.monotonic()
        waits = in_hand or select.select([group], [], [], 0)[0]
        if waits:
            awake_until = now + _AWAKE_SECONDS
        if beats != last or not waits:
            last, since = beats, now
        elif now - since > STALLED_SECONDS:
            if in_hand and answer(group, in_hand - 1):
                let_go += 1
            let_go += Openings.let_all_go(group)
            struct.pack_into("<Q", memory, 16, let_go)
