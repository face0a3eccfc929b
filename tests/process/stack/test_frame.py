"""Call frame information read from our own memory: that of the C library, with pyelftools as the judge, and entries
made by hand."""

from __future__ import annotations

import ctypes
import io
import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from elftools.dwarf.callframe import FDE, CFARule
from elftools.elf.elffile import ELFFile

from suture.process.memory.image import frame_headers
from suture.process.memory.maps import read_maps
from suture.process.stack.frame import (
    RA,
    RBP,
    RBX,
    RSP,
    FrameRow,
    FrameTable,
    NoFrame,
    Rule,
    Undescribed,
    caller,
    entry_row,
)

ME = os.getpid()
LIBRARY = "/usr/lib/x86_64-linux-gnu/libc.so.6"


def leb(value: int, signed: bool = False) -> bytes:
    out = bytearray()
    while True:
        byte = value & 0x7F
        value >>= 7
        if value == (-1 if signed and byte & 0x40 else 0):
            return bytes([*out, byte])
        out.append(byte | 0x80)


class Memory:
    def __init__(self, data: bytes) -> None:
        self._held = ctypes.create_string_buffer(data, len(data))
        self.address = ctypes.addressof(self._held)


START, SIZE = 0x40_0000, 0x400


class Entry:
    """A common entry and one of a function of SIZE bytes at START, in our memory."""

    def __init__(
        self,
        code: bytes,
        initial: bytes = b"",
        *,
        augmentation: bytes = b"",
        more: bytes = b"",
        version: int = 1,
        register: int = 16,
        align: int = -8,
        code_align: int = 1,
        pointers: bytes | None = None,
        own: bytes = b"",
    ) -> None:
        head = bytes([version]) + augmentation + b"\0" + leb(code_align) + leb(align, True)
        head += bytes([register]) if version == 1 else leb(register)
        cie = bytes(4) + head + more + initial
        fde = (struct.pack("<QQ", START, SIZE) if pointers is None else pointers) + own + code
        raw = struct.pack("<I", len(cie)) + cie
        self.at = len(raw)
        raw += struct.pack("<II", len(fde) + 4, len(raw) + 4) + fde
        self.memory = Memory(raw)
        self.address = self.memory.address + self.at

    def row(self, pc: int = START) -> FrameRow:
        return entry_row(ME, self.address, pc)


@pytest.fixture(scope="module")
def library() -> tuple[int, FrameTable]:
    """Load bias and table of the C library in this process."""
    maps = read_maps(ME)
    mapping = next(m for m in maps.mappings if m.name == LIBRARY.encode() and m.offset == 0)
    (header,) = (h for start, _, h in frame_headers(ME, maps) if start == mapping.start)
    return mapping.start, FrameTable(ME, header)


def wanted(line: Mapping[Any, Any]) -> tuple[object, dict[int, object]]:
    """A row as pyelftools has it."""
    cfa: CFARule = line["cfa"]
    rules: dict[int, object] = {}
    for register, rule in line.items():
        if isinstance(register, int):
            arg = bytes(rule.arg) if isinstance(rule.arg, list) else rule.arg
            rules[register] = (rule.type, arg)
    return (bytes(cfa.expr) if cfa.expr is not None else (cfa.reg, cfa.offset)), rules


NAMES = {"offset": "OFFSET", "value_offset": "VAL_OFFSET", "register": "REGISTER", "expression": "EXPRESSION",
         "value_expression": "VAL_EXPRESSION", "undefined": "UNDEFINED"}  # fmt: skip


def told(row: FrameRow) -> tuple[object, dict[int, object]]:
    def value(rule: Rule) -> object:
        return rule.code if "expression" in rule.kind else None if rule.kind == "undefined" else rule.number

    cfa = row.cfa_expression or (row.cfa_register, row.cfa_offset)
    return cfa, {n: (NAMES[r.kind], value(r)) for n, r in row.rules.items()}


def test_the_c_library_is_read_as_another_reader_reads_it(library: tuple[int, FrameTable]) -> None:
    bias, table = library
    elf = ELFFile(io.BytesIO(Path(LIBRARY).read_bytes()))
    entries = [e for e in elf.get_dwarf_info().EH_CFI_entries() if isinstance(e, FDE)]
    seen = 0
    for entry in entries[::12]:
        start = entry.header.initial_location
        assert table.start_below(bias + start) == bias + start
        decoded = entry.get_decoded().table
        for line, following in zip(decoded, [*decoded[1:], {"pc": start + entry.header.address_range}], strict=True):
            if line["pc"] == following["pc"]:
                continue
            for pc in {line["pc"], following["pc"] - 1}:
                row = table.row(bias + pc)
                assert told(row) == wanted(line), hex(pc)
                assert row.is_start == (pc == start)
                assert row.is_signal == (
                    b"S" in entry.cie.augmentation_dict.get("augmentation", b"")
                    or b"S" in entry.cie.header.augmentation
                )
                seen += 1
    assert seen > 500


def test_addresses_before_the_first_function_and_behind_one_are_described_by_nobody(
    library: tuple[int, FrameTable],
) -> None:
    bias, table = library
    assert table.start_below(bias) is None
    with pytest.raises(Undescribed, match=f"nothing describes {bias:#x}"):
        table.row(bias)
    with pytest.raises(Undescribed):
        Entry(b"").row(START + SIZE)
    with pytest.raises(Undescribed):
        Entry(b"").row(START - 1)
    assert Entry(b"").row(START + SIZE - 1) == FrameRow(RSP, 0, b"", {}, False)
    assert Entry(b"").row(START) == FrameRow(RSP, 0, b"", {}, False, True)


def header(raw: bytes, rows: bytes = b"") -> FrameTable:
    memory = Memory(raw + rows)
    table = FrameTable(ME, memory.address)
    table.memory = memory  # type: ignore[attr-defined]
    return table


def test_a_search_table_that_is_none_is_refused() -> None:
    good = struct.pack("<4BiI", 1, 0x1B, 0x03, 0x3B, 0, 2)
    rows = struct.pack("<4i", -64, -32, 16, 48)
    table = header(good, rows)
    assert [table.start_below(table.header + at) for at in (-65, -64, 15, 16, 99)] == [
        None, table.header - 64, table.header - 64, table.header + 16, table.header + 16,
    ]  # fmt: skip
    assert header(struct.pack("<4BiI", 1, 0x03, 0x03, 0x3B, 0, 2), rows)
    for wrong in ((2, 0x1B, 3, 0x3B), (1, 0x1C, 3, 0x3B), (1, 0x1B, 2, 0x3B), (1, 0x1B, 3, 0x1B)):
        with pytest.raises(NoFrame, match="no binary search table"):
            header(struct.pack("<4BiI", *wrong, 0, 2), rows)
    with pytest.raises(NoFrame, match="no binary search table"):
        FrameTable(ME, 8)
    for count in (0, (8 << 20) + 1):
        with pytest.raises(NoFrame, match="impossible search table"):
            header(struct.pack("<4BiI", 1, 0x1B, 3, 0x3B, 0, count), rows)
    end = mmap.mmap(
        -1, 256 << 20, prot=mmap.PROT_READ | mmap.PROT_WRITE
    )  # a table that goes on where nothing may be read
    libc = ctypes.CDLL(None, use_errno=True)
    address = ctypes.addressof(ctypes.c_char.from_buffer(end))
    assert libc.mprotect(ctypes.c_void_p(address + 4096), ctypes.c_size_t((256 << 20) - 4096), 0) == 0
    ctypes.memmove(address, struct.pack("<4BiI", 1, 0x1B, 3, 0x3B, 0, 8 << 20), 12)
    with pytest.raises(NoFrame, match="truncated search table"):
        FrameTable(ME, address)


def rules(code: bytes, pc: int = START, **more: Any) -> dict[int, Rule]:
    return dict(Entry(code, **more).row(pc).rules)


def test_every_instruction_of_a_table_is_carried_out() -> None:
    assert rules(b"\x83\x05") == {3: Rule("offset", -40)}
    assert rules(b"\xbf\x01") == {63: Rule("offset", -8)}
    assert rules(b"\x05\x86\x01\x02") == {134: Rule("offset", -16)}
    assert rules(b"\x11\x03\x7e") == {3: Rule("offset", 16)}
    assert rules(b"\x14\x03\x02") == {3: Rule("value_offset", -16)}
    assert rules(b"\x15\x03\x7e") == {3: Rule("value_offset", 16)}
    assert rules(b"\x07\x10") == {16: Rule("undefined")}
    assert rules(b"\x09\x10\x03") == {16: Rule("register", 3)}
    assert rules(b"\x10\x03\x02\x77\x08") == {3: Rule("expression", 0, b"\x77\x08")}
    assert rules(b"\x16\x03\x02\x77\x08") == {3: Rule("value_expression", 0, b"\x77\x08")}
    assert rules(b"\x83\x05\x08\x03\x08\x04\x00\x2e\x10") == {}


def test_rules_go_back_to_those_of_the_common_entry() -> None:
    initial = b"\x83\x05\x90\x01"
    assert rules(b"\x83\x06\xc3", initial=initial) == {3: Rule("offset", -40), 16: Rule("offset", -8)}
    assert rules(b"\x83\x06\x06\x03", initial=initial)[3] == Rule("offset", -40)
    assert rules(b"\x84\x06\xc4\xc5", initial=initial) == {3: Rule("offset", -40), 16: Rule("offset", -8)}
    assert rules(b"\x84\x06\x06\x04", initial=initial) == {3: Rule("offset", -40), 16: Rule("offset", -8)}


def cfa(code: bytes, pc: int = START, **more: Any) -> tuple[int, int, bytes]:
    row = Entry(code, **more).row(pc)
    return row.cfa_register, row.cfa_offset, row.cfa_expression


def test_the_frame_address_is_a_register_and_an_offset_or_an_expression() -> None:
    assert cfa(b"\x0c\x06\x10") == (6, 16, b"")
    assert cfa(b"\x0c\x06\x10\x0e\x90\x01") == (6, 144, b"")
    assert cfa(b"\x0c\x06\x10\x0d\x07") == (7, 16, b"")
    assert cfa(b"\x12\x06\x7e") == (6, 16, b"")
    assert cfa(b"\x0c\x06\x08\x13\x7d") == (6, 24, b"")
    assert cfa(b"\x0f\x02\x77\x08")[2] == b"\x77\x08"
    assert cfa(b"\x0f\x02\x77\x08\x0c\x07\x08") == (7, 8, b"")
    assert cfa(b"\x0f\x02\x77\x08\x12\x07\x7e") == (7, 16, b"")


def test_what_was_kept_comes_back_with_all_that_belongs_to_it() -> None:
    code = b"\x0c\x07\x10\x83\x02" + b"\x0a" + b"\x0c\x06\x20\x84\x03\x08\x03\x0a\x07\x05" + b"\x0b\x0b"
    row = Entry(code).row()
    assert (row.cfa_register, row.cfa_offset, row.rules) == (7, 16, {3: Rule("offset", -16)})
    with pytest.raises(NoFrame, match="nothing to restore"):
        Entry(b"\x0b").row()
    with pytest.raises(NoFrame, match="instruction 0x1d"):
        Entry(b"\x1d").row()


def test_a_row_is_that_of_the_last_place_not_behind_the_address() -> None:
    code = b"\x41\x0e\x08" + b"\x02\x10\x0e\x10" + b"\x03\x00\x01\x0e\x18" + b"\x04\x00\x02\x00\x00\x0e\x20"
    expected = {0: 0, 1: 8, 0x10: 8, 0x11: 16, 0x110: 16, 0x111: 24, 0x310: 24, 0x311: 32, 0x3FF: 32}
    assert {at: cfa(code, START + at)[1] for at in expected} == expected
    assert {at: cfa(code, START + at, code_align=2)[1] for at in (0, 1, 2, 0x21, 0x22)} == {
        0: 0,
        1: 0,
        2: 8,
        0x21: 8,
        0x22: 16,
    }
    # the common entry's own are all carried out
    assert cfa(b"", START, initial=b"\x7f\x0e\x08") == (7, 8, b"")


def test_pointers_are_absolute_or_relative_to_where_they_stand() -> None:
    for encoding, form in ((0x00, "<QQ"), (0x04, "<QQ"), (0x03, "<II"), (0x0B, "<ii"), (0x0C, "<qq")):
        e = Entry(
            b"\x0e\x08",
            augmentation=b"zR",
            more=b"\x01" + bytes([encoding]),
            pointers=struct.pack(form, START, SIZE),
            own=b"\0",
        )
        assert e.row(START + 1).cfa_offset == 8
    e = Entry(
        b"\x0e\x08", augmentation=b"zR", more=b"\x01\x1b", pointers=struct.pack("<ii", -16, 8), own=b"\x02\xff\xff"
    )
    here = e.address + 8
    assert e.row(here - 16).is_start and e.row(here - 9).cfa_offset == 8
    with pytest.raises(Undescribed):
        e.row(here - 8)
    e = Entry(b"", augmentation=b"zR", more=b"\x01\x0b", pointers=struct.pack("<ii", -(1 << 30), 8), own=b"\0")
    assert e.row((1 << 64) - (1 << 30)).is_start
    for wrong in (0x01, 0x02, 0x0A, 0x20, 0x30, 0x50, 0x8B, 0xFF):
        with pytest.raises(NoFrame, match=f"pointer encoding {wrong:#x}"):
            Entry(b"", augmentation=b"zR", more=bytes([1, wrong]), own=b"\0").row()


def test_the_augmentation_is_understood_or_passed_over() -> None:
    plain = struct.pack("<ii", START, SIZE)
    for kind, size in ((0x1B, 4), (0x9B, 4), (0x00, 8), (0x04, 8), (0x0C, 8), (0x03, 4)):
        more = bytes([size + 3, kind]) + bytes(size) + b"\x1b\x0b"
        assert (
            Entry(b"\x0e\x08", augmentation=b"zPLR", more=more, pointers=plain, own=b"\x04abcd")
            .row(START + 3)
            .cfa_offset
            == 8
        )
    signal = Entry(b"\x0e\x08", augmentation=b"zRS", more=b"\x01\x0b", pointers=plain, own=b"\0").row()
    assert signal.is_signal and signal.cfa_offset == 8
    # what is not known of it is passed over by its length
    unknown = Entry(b"\x0e\x08", b"\x83\x02", augmentation=b"zRX", more=b"\x03\x0bab", pointers=plain, own=b"\0").row()
    assert (unknown.cfa_offset, unknown.rules, unknown.is_signal) == (8, {3: Rule("offset", -16)}, False)
    assert Entry(b"\x0e\x08", version=3).row().cfa_offset == 8
    with pytest.raises(NoFrame, match="strange augmentation"):
        Entry(b"", augmentation=b"eh").row()
    odd: tuple[dict[str, Any], ...] = ({"version": 2}, {"version": 4}, {"register": 17}, {"version": 3, "register": 15})
    for fields in odd:
        with pytest.raises(NoFrame, match="strange common information"):
            Entry(b"", **fields).row()


def test_an_entry_that_is_none_is_refused() -> None:
    def at(raw: bytes) -> None:
        memory = Memory(raw + bytes(64))
        entry_row(ME, memory.address, START)

    for length in (0, 4, (1 << 16) + 1, 0xFFFFFFFF):
        with pytest.raises(NoFrame, match="impossible entry"):
            at(struct.pack("<I", length))
    with pytest.raises(NoFrame, match="impossible entry"):
        entry_row(ME, 8, START)
    with pytest.raises(NoFrame, match="not a function's entry"):
        at(struct.pack("<II", 5, 0))
    with pytest.raises(NoFrame, match="truncated"):
        Entry(b"\x0e").row()
    stack = next(m for m in read_maps(ME).mappings if m.name == b"[stack]")
    ctypes.memmove(stack.end - 12, struct.pack("<I", 16), 4)
    with pytest.raises(NoFrame, match="truncated entry"):
        entry_row(ME, stack.end - 12, START)


STACK = {0x1000: 11, 0x1008: 22, 0x1010: 33, 0x1018: 44, 0x8: 55}


def word(address: int) -> int:
    if address not in STACK:
        raise NoFrame(f"{address:#x}")
    return STACK[address]


REGISTERS = {RBX: 3, RBP: 0x1010, RSP: 0x1000, RA: 99, 0: 5}


def called(
    rules: dict[int, Rule], register: int = RSP, offset: int = 16, expression: bytes = b""
) -> dict[int, int] | None:
    return caller(FrameRow(register, offset, expression, rules, False), REGISTERS, word)


def test_the_caller_is_what_the_rules_say() -> None:
    back = Rule("offset", -8)
    assert called({RA: back}) == {**REGISTERS, RSP: 0x1010, RA: 22}
    assert called({RA: back, RBX: Rule("offset", -16)}) == {**REGISTERS, RSP: 0x1010, RA: 22, RBX: 11}
    assert called({RA: back, RBX: Rule("value_offset", -16)}, RBP, 8) == {**REGISTERS, RSP: 0x1018, RA: 33, RBX: 0x1008}
    assert called({RA: Rule("register", RBX)}) == {**REGISTERS, RSP: 0x1010, RA: 3}
    assert called({RA: back, RBX: Rule("undefined")}) == {RBP: 0x1010, RSP: 0x1010, RA: 22, 0: 5}
    assert called({RA: back, 13: Rule("undefined")}) == {**REGISTERS, RSP: 0x1010, RA: 22}
    assert called({RA: Rule("undefined")}) is None
    # expressions begin with the frame address
    assert called({RA: Rule("expression", 0, b"\x23\x08")}) == {**REGISTERS, RSP: 0x1010, RA: 44}
    assert called({RA: Rule("value_expression", 0, b"\x23\x08")}) == {**REGISTERS, RSP: 0x1010, RA: 0x1018}
    assert called({RA: back}, expression=b"\x77\x10") == {**REGISTERS, RSP: 0x1010, RA: 22}
    assert called({RA: Rule("offset", 0)}, offset=-0xFF8) == {**REGISTERS, RSP: 8, RA: 55}


def test_what_the_rules_do_not_give_is_no_frame() -> None:
    for rules, message in (
        ({}, "no return address"),
        ({RA: Rule("register", 12)}, "a register that is not known"),
        ({RA: Rule("offset", 0x800)}, "0x1810"),
    ):
        with pytest.raises(NoFrame, match=message):
            called(rules)
    with pytest.raises(NoFrame, match="a frame address in a register"):
        called({RA: Rule("offset", -8)}, register=12)


@pytest.mark.parametrize(
    ("code", "value"),
    [
        (b"\x76\x08", 0x1018),
        (b"\x76\x78", 0x1008),
        (b"\x70\x00", 5),
        (b"\x80\x7f", 98),
        (b"\x30", 0),
        (b"\x4f", 31),
        (b"\x35", 5),
        (b"\x77\x00\x06", 11),
        (b"\x31\x23\x7f", 128),
        (b"\x08\xff", 255),
        (b"\x0a\x01\x02", 0x201),
        (b"\x0c\x01\x02\x03\x84", 0x84030201),
        (b"\x3c\x36\x1a", 4),
        (b"\x35\x37\x1c", (1 << 64) - 2),
        (b"\x3c\x36\x21", 14),
        (b"\x3c\x36\x22", 18),
        (b"\x31\x34\x24", 16),
        (b"\x31\x08\x40\x24", 1),
        (b"\x4f\x32\x25", 7),
        (b"\x4f\x08\x42\x25", 7),
        (b"\x33\x33\x2a", 1),
        (b"\x33\x34\x2a", 0),
        (b"\x34\x33\x2a", 1),
        (b"\x76\x78\x06\x76\x00\x06\x22", 55),
        (b"\x77\x08\x80\x00\x3f\x1a\x3b\x2a\x33\x24\x22", 0x1008),
    ],
)
def test_expressions_are_worked_out(code: bytes, value: int) -> None:
    found = called({RA: Rule("value_expression", 0, code)})
    assert found is not None and found[RA] == value
    assert called({RA: Rule("value_offset", 0)}, expression=code) == {**REGISTERS, RSP: value, RA: value}


def test_expressions_that_do_not_work_out_are_no_frame() -> None:
    for code in (b"\x06\x06\x06", b"\x22\x22", b"\x73\x08\x7d\x00"):
        with pytest.raises(NoFrame, match=r"does not work out|0x"):
            called({RA: Rule("offset", -8)}, expression=code)
    with pytest.raises(NoFrame, match="does not work out"):
        called({RA: Rule("value_expression", 0, b"\x22")})
    for op in (0x01, 0x05, 0x09, 0x0B, 0x0D, 0x1B, 0x20, 0x29, 0x2B, 0x50, 0x6F, 0x90):
        with pytest.raises(NoFrame, match=f"operation {op:#x}"):
            called({RA: Rule("value_expression", 0, bytes([op]))})
    assert called({RA: Rule("value_expression", 0, b"\x31" * 511)}) is not None
    with pytest.raises(NoFrame, match="an endless expression"):
        called({RA: Rule("value_expression", 0, b"\x31" * 513)})
