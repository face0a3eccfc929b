"""Numbers of variable length are read back as they were written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from suture.delta.leb128 import sleb, uleb


def leb(value: int, signed: bool) -> bytes:
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        if (value == 0 and not (signed and byte & 0x40)) or (signed and value == -1 and byte & 0x40):
            return bytes([*out, byte])
        out.append(byte | 0x80)


@given(st.integers(0, 1 << 70), st.integers(-(1 << 62), 1 << 62), st.binary(max_size=3))
def test_numbers_of_variable_length(unsigned: int, signed: int, before: bytes) -> None:
    raw = before + leb(unsigned, False)
    assert uleb(raw + b"\xff", len(before)) == (unsigned, len(raw))
    raw = before + leb(signed, True)
    assert sleb(raw + b"\xff", len(before)) == (signed, len(raw))
