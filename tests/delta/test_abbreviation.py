"""Attributes of fixed size are read together, those of variable size one by one."""

from __future__ import annotations

import struct

from suture.delta import form
from suture.delta.abbreviation import abbreviations, pieces
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
    assert (form.STRP, form.LINE_STRP, form.STRING, form.SDATA) == (0x0E, 0x1F, 0x08, 0x0D)
    assert (form.FLAG_PRESENT, form.IMPLICIT_CONST, form.EXPRLOC) == (0x19, 0x21, 0x18)
    assert ({0x11, 0x12, 0x13, 0x14, 0x15}, {0x0F, 0x15, 0x1A, 0x1B, 0x22, 0x23}) == (form.UNIT_REFERENCES, form.LEB)
    assert form.BLOCKS == {0x0A: "B", 0x03: "H", 0x04: "I"}


def test_abbreviations_of_one_unit() -> None:
    """DWARF 5, 7.5.3: code, tag, children, pairs of name and form up to a pair of zeros; code 0 ends the unit."""
    data = bytes(
        [
            *(0xFF, 1, 0x2E, 1, At.NAME, 0x08, 0x99, 1, 0x19, At.DECLARATION, 0x19, 0, 0),
            *(2, 0x34, 0, At.TYPE, 0x13, At.BYTE_SIZE, 0x21, 0x7F, 0x99, 1, 0x21, 5, At.NAME, 0x0E, 0, 0),
            *(0, 3, 0x24, 0, 0, 0, 0),
        ]
    )
    found = abbreviations(b"##" + data, 2)
    assert set(found) == {0xFF, 2}
    function, variable = found[0xFF], found[2]
    assert (function.tag, function.has_children, function.constants) == (0x2E, True, ((At.DECLARATION, 1),))
    assert (variable.tag, variable.has_children, variable.constants) == (0x34, False, ((At.BYTE_SIZE, -1),))
    assert [names for _, names in function.pieces] == [((At.NAME, 0x08),)]
    assert [names for _, names in variable.pieces] == [((At.TYPE, 0x13), (At.NAME, 0x0E))]
    assert set(abbreviations(data, data.index(bytes([3, 0x24])))) == {3}


def test_a_piece_of_fixed_size_alone_and_none() -> None:
    assert list(pieces([])) == []
    (row,) = pieces([(0x99, 0x07)])
    assert row[0] is not None and row[0].size == 8 and row[1] == ()
