"""How often one address may try something."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from suture.fleet.error import TooMany

_MOST_KEYS = 100_000


class RateLimit:
    """`most` tries of one key in a time; each key has a bucket that fills again evenly."""

    def __init__(self, most: int, within: timedelta) -> None:
        self._most, self._rate = float(most), most / within.total_seconds()
        self._left: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def use(self, key: str) -> None:
        """Raises `TooMany`."""
        now = time.monotonic()
        with self._lock:
            left, last = self._left.get(key, (self._most, now))
            left = min(left + (now - last) * self._rate, self._most)
            if left < 1:
                raise TooMany("too many tries from this address", f"try again in {1 / self._rate:.0f} s")
            if len(self._left) >= _MOST_KEYS:
                self._left.clear()
            self._left[key] = (left - 1, now)
