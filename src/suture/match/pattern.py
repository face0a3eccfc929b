"""Masked byte patterns: code with the fields that the linker fills in left open, and where it occurs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

_ANCHOR = 64


@dataclass(frozen=True)
class Pattern:
    """`data` with the byte ranges of `open` (sorted, not overlapping, start and end offsets) matching anything."""

    data: bytes
    open: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, data: bytes, ranges: Iterable[tuple[int, int]]) -> Pattern:
        """Join overlapping ranges and cut them to the data."""
        joined: list[tuple[int, int]] = []
        for low, high in sorted((max(0, a), min(b, len(data))) for a, b in ranges):
            if low >= high:
                continue
            if joined and low <= joined[-1][1]:
                joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
            else:
                joined.append((low, high))
        return cls(data, tuple(joined))

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """What `str` gives back. Raises ValueError for anything else."""
        pairs = [text[n : n + 2] for n in range(0, len(text), 2)]
        data = bytes.fromhex("".join("00" if p == ".." else p for p in pairs))
        return cls.of(data, ((n, n + 1) for n, p in enumerate(pairs) if p == ".."))

    def __str__(self) -> str:
        """Hex digits, two dots for each byte that matches anything."""
        digits = bytearray(self.data.hex().encode())
        for low, high in self.open:
            digits[2 * low : 2 * high] = b"." * (2 * (high - low))
        return digits.decode()

    @cached_property
    def fixed(self) -> tuple[tuple[int, int], ...]:
        """The ranges that must be equal."""
        found: list[tuple[int, int]] = []
        at = 0
        for low, high in self.open:
            if at < low:
                found.append((at, low))
            at = high
        if at < len(self.data):
            found.append((at, len(self.data)))
        return tuple(found)

    @property
    def compared(self) -> int:
        """Number of bytes that must be equal."""
        return sum(high - low for low, high in self.fixed)

    def matches(self, text: bytes, at: int) -> bool:
        """Whether the pattern holds at offset `at` of `text`."""
        if at < 0 or at + len(self.data) > len(text):
            return False
        return all(text[at + low : at + high] == self.data[low:high] for low, high in self.fixed)

    def find(self, text: bytes, limit: int = 3) -> list[int]:
        """Offsets where it holds, at most `limit`. The longest fixed run (64 bytes at most) is the anchor."""
        if not self.fixed:
            return []
        low, high = max(self.fixed, key=lambda r: (min(r[1] - r[0], _ANCHOR), r[0]))
        key = self.data[low : min(high, low + _ANCHOR)]
        hits: list[int] = []
        at = text.find(key)
        while at >= 0 and len(hits) < limit:
            if self.matches(text, at - low):
                hits.append(at - low)
            at = text.find(key, at + 1)
        return hits
