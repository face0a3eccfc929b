"""Numbers of variable length: LEB128 (DWARF 5, 7.6)."""

from __future__ import annotations


def uleb(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and the offset behind it (DWARF 5, 7.6)."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def sleb(data: bytes, at: int) -> tuple[int, int]:
    """A signed one."""
    start = at
    value, at = uleb(data, at)
    bits = 7 * (at - start)
    return value - (1 << bits) if value >> (bits - 1) & 1 else value, at
