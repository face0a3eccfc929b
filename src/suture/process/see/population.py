"""Which processes share their memory, asked for many processes in a row without asking each about each.

`Population.sharers` answers what `Tracee.memory_sharers` does. The kernel can put memories in an order (kcmp(2)), so
one sort tells who shares with whom at one moment. Memory comes to be shared by a birth alone, so later only those born
since need to be asked about: their numbers follow the last that was given out (proc_loadavg(5)). When numbers may have
gone round, it starts anew.
"""

from __future__ import annotations

import os
import time
from collections import deque
from functools import cmp_to_key
from itertools import pairwise
from pathlib import Path

from suture.process import syscall
from suture.process.tracee import is_main_thread, list_processes

# More than can be born: a birth costs a core some 20 us or more, and all of them pass one lock in the kernel.
_BIRTHS_PER_CORE, _MOST_BIRTHS = 60_000, 1_000_000
_MOST_ASKED = 256
_UNBORN_SECONDS = 1.0  # a number is given out a little before its bearer can be seen


class Population:
    """All processes at one moment, kept up to date. For one thread, or for the children that a fork of it makes."""

    def __init__(self) -> None:
        self._numbers = int(Path("/proc/sys/kernel/pid_max").read_text())
        births_per_second = min(_BIRTHS_PER_CORE * (os.cpu_count() or 1), _MOST_BIRTHS)
        self._certain_seconds = self._numbers / births_per_second
        self._sort()

    def _sort(self) -> None:
        self._last, self._asked_at, self._born = _last_number(), time.monotonic(), 0
        self._known = frozenset(list_processes())
        self._with: dict[int, tuple[int, ...]] = {}
        self._unborn: deque[tuple[float, int]] = deque()
        self._settled: set[int] = set()
        ordered = _by_memory()
        self._ordered = ordered is not None
        for same in ordered or ():
            self._with |= dict.fromkeys(same, same)

    def sharers(self, via: int, own: int) -> list[int]:
        """Other processes than `own` with the same memory as the thread `via`."""
        if not self._note_births():
            self._sort()
            others: list[int] = list_processes()
        elif len(self._unborn) <= _MOST_ASKED:
            others = [*self._with.get(via, ()), *(n for _, n in self._unborn), *self._settled]
        else:
            others = [*self._with.get(via, ()), *(p for p in list_processes() if p not in self._known)]
        same = {p for p in others if p != own and syscall.kcmp_memory(via, p) == 0}
        return [p for p in same if is_main_thread(p)]

    def _note_births(self) -> bool:
        """False when it cannot be known who was born since the sort."""
        now, last = time.monotonic(), _last_number()
        born = (last - self._last) % self._numbers
        gap = now - self._asked_at
        self._born += born
        if not self._ordered or gap > self._certain_seconds or self._born > self._numbers // 2:
            return False
        self._unborn.extend((now, (self._last + 1 + n) % self._numbers) for n in range(born))
        self._last, self._asked_at = last, now
        while self._unborn and now - self._unborn[0][0] > _UNBORN_SECONDS:
            number = self._unborn.popleft()[1]
            if syscall.kcmp_memory(number, number) is not None:
                self._settled.add(number)
        return True


def _by_memory() -> list[tuple[int, ...]] | None:
    """Processes that share their memory with another, together. None when execve and exits would not let the order
    settle."""
    for _ in range(4):
        # an ended process has no memory, nor has a kernel thread; one that may not be asked about cannot be stopped
        # either
        askable = [p for p in list_processes() if syscall.kcmp_memory(p, p) == 0]
        ordered = sorted(askable, key=cmp_to_key(_compare))
        steps = [syscall.kcmp_memory(a, b) for a, b in pairwise(ordered)]
        # one that called execve or ended meanwhile has misled the sort, or stands between two: so look past each
        # neighbour too
        beyond = (syscall.kcmp_memory(a, b) for a, b in zip(ordered, ordered[2:], strict=False))
        if all(s in (0, -1) for s in steps) and all(s in (0, -1) for s in beyond):
            groups = [[pid] for pid in ordered[:1]]
            for pid, step in zip(ordered[1:], steps, strict=True):
                if step == 0:
                    groups[-1].append(pid)
                else:
                    groups.append([pid])
            return [tuple(g) for g in groups if len(g) > 1]
    return None


def _compare(pid: int, other: int) -> int:
    return syscall.kcmp_memory(pid, other) or 0


def _last_number() -> int:
    with open("/proc/loadavg", "rb", buffering=0) as file:
        return int(file.read(128).split()[4])
