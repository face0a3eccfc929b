"""How often one address may try something."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from suture.fleet.error import TooMany

_MOST_KEYS = 100_000


class RateLimit:
    """`most` tries of one key in a time; each key has a bucket that fills again evenly."""

    def __init__(self, most: int, within: timedelta, what: str = "address") -> None:
        self._what = what
        self._most, self._rate = float(most), most / within.total_seconds()
        self._left: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def use(self, key: str, amount: float = 1.0) -> None:
        """Raises `TooMany`."""
        now = time.monotonic()
        with self._lock:
            left, last = self._left.get(key, (self._most, now))
            left = min(left + (now - last) * self._rate, self._most)
            if left < amount:
                wait = (amount - left) / self._rate
                raise TooMany(f"too many tries from this {self._what}", f"try again in {wait:.0f} s")
            if len(self._left) >= _MOST_KEYS:
                self._left.clear()
            self._left[key] = (left - amount, now)
