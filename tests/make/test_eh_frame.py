"""Unwind tables that a patch brings, read again by pyelftools; pointers are told by their relocations."""

from __future__ import annotations

import io

import pytest
from elftools.dwarf.callframe import CIE, FDE, CallFrameInfo
from elftools.dwarf.structs import DWARFStructs

from suture.delta.frame import Frame
from suture.elf.abi import R
from suture.elf.call_frame import Common, entries
from suture.elf.object_writer import NewRelocation
from suture.make import eh_frame
from suture.make.eh_frame import EhFrame
from suture.number import SectionOffset

PUSH = b"\x0c\x07\x08\x90\x01"


def common(
    code: int = 1, data: int = -8, signal: bool = False, register: int = 16, instructions: bytes = PUSH
) -> Common:
    return Common(code, data, register, True, signal, 0x1B, 0xFF, None, instructions)


def frame(
    start: int, size: int, c: Common | None = None, personality: str = "", code: bytes = b"\x41\x0e\x10"
) -> Frame:
    return Frame(start, size, c or common(), code, personality, None)


def made(*rows: tuple[Frame, str, tuple[str, int] | None]) -> EhFrame:
    out = EhFrame(bytearray(), [])
    for f, code, table in rows:
        out.add(f, code, table, lambda name: f"slot of {name}")
    out.finish()
    return out


def read(out: EhFrame) -> tuple[list[CIE], list[FDE]]:
    structs = DWARFStructs(little_endian=True, dwarf_format=32, address_size=8)
    info = CallFrameInfo(io.BytesIO(bytes(out.data)), len(out.data), 0, structs, for_eh_frame=True)
    found = info.get_entries()
    return [e for e in found if isinstance(e, CIE)], [e for e in found if isinstance(e, FDE)]


def test_entries_of_one_kind_share_what_is_common_to_them() -> None:
    out = made((frame(0, 32), "f", None), (frame(64, 16), "g", None), (frame(0, 8, common(data=-4)), "h", None))
    cies, fdes = read(out)
    assert len(cies) == 2
    assert [f.header.address_range for f in fdes] == [32, 16, 8]
    assert [c.header.data_alignment_factor for c in cies] == [-8, -4]
    assert [f.cie.offset for f in fdes] == [cies[0].offset, cies[0].offset, cies[1].offset]
    places = [e.start.offset for e in entries(bytes(out.data))]
    assert out.relocations == [
        NewRelocation(SectionOffset(places[0]), R.PC32, "f", 0),
        NewRelocation(SectionOffset(places[1]), R.PC32, "g", 64),
        NewRelocation(SectionOffset(places[2]), R.PC32, "h", 0),
    ]
    assert [f.header.CIE_pointer for f in fdes] == [f.offset + 4 - f.cie.offset for f in fdes]
    assert len(out.data) % 4 == 0 and out.data[-4:] == bytes(4)
    assert all((e.header.length + 4) % 8 == 0 for e in (*cies, *fdes))


def test_each_thing_that_differs_makes_an_entry_of_its_own() -> None:
    kinds = [
        common(),
        common(code=2),
        common(signal=True),
        common(register=17),
        common(instructions=PUSH + b"\0"),
        common(data=-16),
    ]
    cies, fdes = read(made(*((frame(0, 8, c), "f", None) for c in kinds)))
    assert len(cies) == len(fdes) == 6
    assert [c.augmentation_bytes.hex() for c in cies] == ["1b"] * 6
    assert [bytes(c.header.augmentation) for c in cies] == [b"zR", b"zR", b"zRS", b"zR", b"zR", b"zR"]
    assert [c.header.code_alignment_factor for c in cies] == [1, 2, 1, 1, 1, 1]
    assert [c.header.return_address_register for c in cies] == [16, 16, 16, 17, 16, 16]
    assert all(c.header.version == 1 for c in cies)


def test_the_instructions_are_those_of_the_compiler() -> None:
    rows = read(made((frame(0, 8, common(), code=b"\x41\x0e\x10\x83\x02"), "f", None)))[1][0].get_decoded().table
    first = rows[0]["pc"]
    assert [(r["pc"] - first, r["cfa"].offset) for r in rows] == [(0, 8), (1, 16)]
    assert rows[1][3].arg == -16
    (entry,) = entries(bytes(made((frame(0, 8, code=b"\x41\x0e\x10\x83\x02"), "f", None)).data))
    assert entry.instructions.rstrip(b"\0") == b"\x41\x0e\x10\x83\x02"
    assert entry.common.instructions.rstrip(b"\0") == PUSH


def test_handlers_and_personality_are_named_by_relocations() -> None:
    out = made(
        (frame(16, 8, personality="routine"), "f", ("table", 24)), (frame(0, 8, personality="routine"), "g", None)
    )
    cies, _ = read(out)
    (cie,) = cies
    assert bytes(cie.header.augmentation) == b"zPLR"
    one, two = entries(bytes(out.data))
    assert one.common.personality is not None and one.table is not None and two.table is not None
    assert (one.common.personality.encoding, one.common.table_encoding, one.common.pointer_encoding) == (
        0x9B,
        0x1B,
        0x1B,
    )
    assert out.relocations == [
        NewRelocation(SectionOffset(one.common.personality.offset), R.GOTPCREL, "slot of routine", 0),
        NewRelocation(SectionOffset(one.start.offset), R.PC32, "f", 16),
        NewRelocation(SectionOffset(one.table.offset), R.PC32, "table", 24),
        NewRelocation(SectionOffset(two.start.offset), R.PC32, "g", 0),
    ]  # fmt: skip
    assert two.table.value == 0
    many = made(*((frame(0, 8, personality="routine", code=b"\x41" * n), "f", ("table", n)) for n in range(1, 40, 3)))
    assert [r for r in many.relocations if r.symbol == "table"] == [
        NewRelocation(SectionOffset(e.table.offset), R.PC32, "table", n)
        for n, e in zip(range(1, 40, 3), entries(bytes(many.data)), strict=True)
        if e.table is not None
    ]
    assert len(read(made((frame(0, 8, personality="a"), "f", None), (frame(0, 8, personality="b"), "f", None)))[0]) == 2


def test_an_empty_section_stays_empty() -> None:
    assert made().data == b""


@pytest.mark.parametrize(
    ("value", "raw"), [(0, "00"), (2, "02"), (127, "7f"), (128, "8001"), (12857, "b964"), (1 << 21, "80808001")]
)
def test_unsigned_numbers_are_leb128(value: int, raw: str) -> None:
    assert eh_frame._uleb(value).hex() == raw


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (2, "02"),
        (-2, "7e"),
        (127, "ff00"),
        (-127, "817f"),
        (128, "8001"),
        (-128, "807f"),
        (63, "3f"),
        (64, "c000"),
        (-64, "40"),
        (0, "00"),
        (-65, "bf7f"),
    ],
)
def test_signed_numbers_are_leb128(value: int, raw: str) -> None:
    """DWARF 5, tables 7.8 and 7.9."""
    assert eh_frame._sleb(value).hex() == raw
