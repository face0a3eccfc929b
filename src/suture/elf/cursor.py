"""Numbers one behind the other, as call frame information writes them: little-endian integers, LEB128 (DWARF 5, 7.6)
and text."""

from __future__ import annotations

from typing import ClassVar


class Cursor:
    """Reads `data` from `at` to `end`. What cannot be read raises `error`, which each kind of cursor sets."""

    error: ClassVar[type[Exception]] = ValueError

    def __init__(self, data: bytes, at: int = 0, end: int | None = None) -> None:
        self.data, self.at = data, at
        self.end = len(data) if end is None else end

    def take(self, count: int) -> bytes:
        if count < 0 or self.at + count > self.end:
            raise self.error("truncated entry")
        part = self.data[self.at : self.at + count]
        self.at += count
        return part

    def u(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def s(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little", signed=True)

    def uleb(self) -> int:
        value = shift = 0
        while True:
            byte = self.u(1)
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value
            if shift > 63:
                raise self.error("number too long")

    def sleb(self) -> int:
        start = self.at
        value = self.uleb()
        bits = 7 * (self.at - start)
        return value - (1 << bits) if value >> (bits - 1) & 1 else value

    def text(self) -> bytes:
        """Up to a zero byte, which is passed over."""
        end = self.data.find(b"\0", self.at, self.end)
        if end < 0:
            raise self.error("truncated entry")
        part = self.data[self.at : end]
        self.at = end + 1
        return part
