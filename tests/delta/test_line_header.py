"""Tables of .debug_line and where their programs lie."""

from __future__ import annotations

import struct

import pytest

from suture.delta import dwarf
from suture.delta.line_header import header_files, line_headers
from suture.elf.file import BadElf, ElfFile
from tests.delta.compiled import object_of
from tests.delta.test_dwarf import C


def test_tables_of_lines_stand_one_behind_the_other() -> None:
    data = object_of(C, "-gdwarf-5")
    raw = dwarf._raw(ElfFile(data), ".debug_line")
    ((start, version, program, end),) = line_headers(raw)
    assert (start, version, end) == (0, 5, len(raw)) and 20 < program < end
    both = list(line_headers(raw + raw))
    assert both[1] == (len(raw), 5, len(raw) + program, 2 * len(raw))
    four = dwarf._raw(ElfFile(object_of(C, "-gdwarf-4")), ".debug_line")
    ((_, version, program, end),) = line_headers(four)
    assert (version, end) == (4, len(four)) and struct.unpack_from("<I", four, 6)[0] == program - 10
    for wrong in (1, 6):
        with pytest.raises(BadElf, match=f"version {wrong}"):
            list(line_headers(raw[:4] + struct.pack("<H", wrong) + raw[6:]))
    with pytest.raises(BadElf):
        list(line_headers(struct.pack("<IH", 0xFFFFFFFF, 5) + raw))


def table(version: int, names: bytes, opcodes: int = 13) -> bytes:
    """A table whose header holds `names`, as DWARF 4 section 6.2.4 and DWARF 5 section 6.2.4 lay it out."""
    body = (b"\1\1" if version >= 4 else b"\1") + b"\1\xfb\x0e" + bytes([opcodes]) + b"\1" * (opcodes - 1) + names
    sized = (b"\x08\x00" if version >= 5 else b"") + struct.pack("<I", len(body)) + body
    return struct.pack("<IH", 2 + len(sized), version) + sized


def told(form: int, at: int) -> str:
    return f"{form:#x}@{at}"


FOUR = (
    b"inc\0/usr/include\0\0"
    + b"a.c\0\0\x80\x01\x02"
    + b"b.h\0\1\0\0"
    + b"c.h\0\2\0\0"
    + b"/d.h\0\1\0\0"
    + b"e.h\0\3\0\0\0"
)


@pytest.mark.parametrize("version", [2, 3, 4])
@pytest.mark.parametrize("opcodes", [10, 13])
def test_files_of_a_table_by_their_folders(version: int, opcodes: int) -> None:
    """File 0 is none; folder 0 is that of the unit, and one that is not listed is left out."""
    wanted = ["", "a.c", "inc/b.h", "/usr/include/c.h", "/d.h", "e.h"]
    assert header_files(b"##" + table(version, FOUR, opcodes), 2, told) == wanted


def test_files_of_a_table_of_dwarf_5_in_every_form() -> None:
    """Folders as strings and offsets of strings; numbers as LEB128 and of fixed size; a digest that nobody wants."""
    folders = bytes([1, 1, 0x08, 2]) + b"/src\0inc\0"
    digest = b"\x61" * 16
    files = (
        bytes([3, 1, 0x1F, 2, 0x0B, 5, 0x1E, 4])
        + (struct.pack("<IB", 7, 0) + digest)
        + (struct.pack("<IB", 300, 1) + digest)
        + (struct.pack("<IB", 9, 2) + digest)
        + (struct.pack("<IB", 9, 3) + digest)
    )
    found = header_files(table(5, folders + files), 0, told)
    assert found == ["/src/0x1f@7", "inc/0x1f@300", "0x1f@9", "0x1f@9"]
    files = (
        bytes([3, 2, 0x0F, 1, 0x0E, 3, 0x0F, 2])
        + b"\1"
        + struct.pack("<I", 5)
        + b"\7"
        + b"\0"
        + struct.pack("<I", 6)
        + b"\1"
    )
    assert header_files(table(5, folders + files), 0, told) == ["inc/0xe@5", "/src/0xe@6"]
    files = bytes([1, 1, 0x08, 1]) + b"x.c\0"
    assert header_files(table(5, folders + files), 0, told) == ["/src/x.c"]
    files = bytes([2, 1, 0x08, 2, 0x1E, 1]) + b"x.c\0" + digest  # sixteen bytes are no number of a folder
    assert header_files(table(5, folders + files), 0, told) == ["/src/x.c"]
