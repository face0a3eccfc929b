"""How a flood of attempts stays a few events: nothing that was counted is lost, it is told later and together."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass
class HeldAttempts(Generic[T]):
    """What waits to be told under one key: the sum of counts, the processes that they are of, and the last fact."""

    count: int = 0
    processes: set[int] = field(default_factory=set)
    last: T | None = None
    told: float = float("-inf")


class Flood(Generic[K, T]):
    """At most one event for a key in `apart` seconds, and `most` events in all in a minute."""

    def __init__(self, apart: float, most: int) -> None:
        self._apart, self._most = apart, most
        self._held: dict[K, HeldAttempts[T]] = {}
        self._told: list[float] = []

    def add(self, key: K, count: int, pid: int, fact: T) -> None:
        """Something was counted."""
        one = self._held.setdefault(key, HeldAttempts())
        one.count += count
        one.processes.add(pid)
        one.last = fact

    def due(self, now: float) -> Iterator[tuple[T, int, int]]:
        """(last fact, count, number of processes) of what may be told now, seconds by any clock that does not go
        back."""
        self._told = [t for t in self._told if now - t < 60.0]
        for key, one in sorted(self._held.items(), key=lambda row: row[1].told):
            if not one.count:
                if now - one.told >= self._apart:
                    del self._held[key]
                continue
            if now - one.told < self._apart or len(self._told) >= self._most:
                continue
            assert one.last is not None
            self._told.append(now)
            self._held[key] = HeldAttempts(told=now)
            yield one.last, one.count, len(one.processes)
