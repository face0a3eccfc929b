"""Tables of .debug_line and where their programs lie."""

from __future__ import annotations

import struct

import pytest

from suture.delta import dwarf
from suture.delta.line_header import line_headers
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
