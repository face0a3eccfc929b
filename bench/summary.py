"""Many numbers in three: median, 99th percentile, largest."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """`p99` is the smallest of the numbers that at least 99 of 100 do not exceed (nearest rank)."""

    p50: float
    p99: float
    most: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Spread:
        """Raises ValueError when there are none."""
        if not numbers:
            raise ValueError("no numbers")
        ordered = sorted(numbers)
        return cls(statistics.median(ordered), ordered[math.ceil(0.99 * len(ordered)) - 1], ordered[-1])

    def cells(self) -> list[str]:
        return [f"{x:.0f}" for x in (self.p50, self.p99, self.most)]


def ratio(numbers: Sequence[float], floor: Sequence[float]) -> float:
    """Of the medians."""
    return statistics.median(numbers) / statistics.median(floor)
