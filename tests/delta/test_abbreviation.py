"""Attributes of fixed size are read together, those of variable size one by one."""

from __future__ import annotations

import struct

from suture.delta.abbreviation import pieces
from suture.delta.die import At
from suture.delta.form import FIXED


def test_each_form_of_fixed_size() -> None:
    """DWARF 5, table 7.6 with section 7.5.6."""
    sizes = {
        0x01: 8,
        0x05: 2,
        0x06: 4,
        0x07: 8,
        0x0B: 1,
        0x0C: 1,
        0x0E: 4,
        0x10: 4,
        0x11: 1,
        0x12: 2,
        0x13: 4,
        0x14: 8,
        0x17: 4,
        0x1C: 4,
        0x1D: 4,
        0x1E: 16,
        0x1F: 4,
        0x20: 8,
        0x25: 1,
        0x26: 2,
        0x27: 3,
        0x28: 4,
    }
    assert {f: struct.calcsize("<" + s) for f, s in FIXED.items()} == sizes
    (row,) = pieces([(At.NAME, 0x0B), (0x99, 0x06), (At.TYPE, 0x13)])
    assert row[0] is not None and row[0].size == 9 and row[1] == ((At.NAME, 0x0B), (At.TYPE, 0x13))
    assert [names for _, names in pieces([(At.NAME, 0x08), (0x99, 0x0F), (At.TYPE, 0x13)])] == [
        ((At.NAME, 0x08),),
        ((0, 0x0F),),
        ((At.TYPE, 0x13),),
    ]
