"""Call frame information: that of gcc and the C library as pyelftools reads it, and entries made by hand."""

from __future__ import annotations

import io
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile

from suture.elf.call_frame import BadCallFrame, Common, FrameEntry, Pointer, entries
from suture.elf.file import ElfFile

LIBRARY = "/usr/lib/x86_64-linux-gnu/libc.so.6"
CXX = "/usr/lib/x86_64-linux-gnu/libstdc++.so.6"


@pytest.mark.parametrize("path", [LIBRARY, CXX])
def test_entries_are_those_of_another_reader(path: str) -> None:
    elf = ElfFile.read(Path(path))
    section = elf.section(".eh_frame")
    assert section is not None
    judge = ELFFile(io.BytesIO(elf.data)).get_dwarf_info().EH_CFI_entries()
    wanted = [e for e in judge if isinstance(e, FDE)]
    found = list(entries(elf.bytes_of(section)))
    assert len(found) == len(wanted) > 100
    for mine, theirs in zip(found, wanted, strict=True):
        cie = theirs.cie
        letters = bytes(cie.header.augmentation).decode()
        known = cie.augmentation_dict
        assert mine.offset == theirs.offset
        assert mine.start.target(section.sh_addr) == theirs.header.initial_location
        assert mine.size == theirs.header.address_range
        c = mine.common
        assert (c.code_align, c.data_align) == (cie.header.code_alignment_factor, cie.header.data_alignment_factor)
        assert (c.return_register, c.is_signal, c.augmented) == (16, "S" in letters, True)
        assert (c.pointer_encoding, c.table_encoding) == (known["FDE_encoding"], known.get("LSDA_encoding", 0xFF))
        assert (c.personality is not None) == ("P" in letters)
        if c.personality is not None:
            assert c.personality.target(section.sh_addr) == known["personality"].function + (
                section.sh_addr + c.personality.offset if c.personality.encoding & 0x70 == 0x10 else 0
            )
        if mine.table is not None:
            assert mine.table.target(section.sh_addr) == (theirs.lsda_pointer or 0)
        else:
            assert theirs.lsda_pointer is None


def cie(
    more: bytes = b"\x01\x1b",
    letters: bytes = b"zR",
    version: int = 1,
    tail: bytes = b"\x0c\x07\x08",
    register: bytes = b"\x10",
) -> bytes:
    return bytes(4) + bytes([version]) + letters + b"\0\x01\x78" + register + more + tail


def section_of(*bodies: bytes | tuple[int, bytes]) -> bytes:
    """Entries by number: bytes are a common one, (which, bytes) one of a function."""
    out = bytearray()
    starts = []
    for body in bodies:
        starts.append(len(out))
        raw = body if isinstance(body, bytes) else struct.pack("<I", len(out) + 4 - starts[body[0]]) + body[1]
        out += struct.pack("<I", len(raw)) + raw
    return bytes(out)


def only(*bodies: bytes | tuple[int, bytes]) -> FrameEntry:
    (entry,) = entries(section_of(*bodies))
    return entry


def test_an_entry_by_hand() -> None:
    entry = only(cie(), (0, struct.pack("<ii", -256, 64) + b"\0\x41\x0e\x10"))
    common = Common(1, -8, 16, True, False, 0x1B, 0xFF, None, b"\x0c\x07\x08")
    assert entry == FrameEntry(20, common, Pointer(28, 0x1B, -256), 64, None, b"\x41\x0e\x10")
    assert entry.start.target(0x4000) == 0x4000 + 28 - 256
    assert Pointer(30, 0x0B, -256).target(0x4000) == -256
    assert Pointer(30, 0x1B, 0).target(0x4000) == 0
    assert Pointer(30, 0x9B, 16).target(0x4000) == 0x4000 + 46


@pytest.mark.parametrize(
    ("encoding", "form", "value"),
    [
        (0x00, "<QQ", 1 << 63),
        (0x02, "<HH", 0xFFF0),
        (0x03, "<II", 0xFFFFFFF0),
        (0x04, "<QQ", 1 << 63),
        (0x0A, "<hH", -2),
        (0x0B, "<iI", -2),
        (0x0C, "<qQ", -2),
        (0x1C, "<qQ", -9),
    ],
)
def test_pointers_of_each_size(encoding: int, form: str, value: int) -> None:
    entry = only(cie(bytes([1, encoding])), (0, struct.pack(form, value, 64) + b"\0\x90"))
    assert (entry.start.value, entry.start.encoding, entry.size, entry.instructions) == (value, encoding, 64, b"\x90")


def test_handlers_and_signals() -> None:
    entry = only(cie(b"\x07\x9b\x08\0\0\0\x1b\x1b", b"zPLR"), (0, struct.pack("<iiBi", -256, 64, 4, 32) + b"\x90"))
    assert entry.common.personality == Pointer(4 + 4 + 1 + 5 + 3 + 2, 0x9B, 8)
    assert (entry.common.table_encoding, entry.common.pointer_encoding) == (0x1B, 0x1B)
    assert entry.table is not None and entry.table.value == 32
    assert only(cie(b"\x01\x1b", b"zRS"), (0, struct.pack("<ii", 1, 2) + b"\0")).common.is_signal
    # what is longer than what is known of it is passed over
    assert only(cie(b"\x03\x1bab"), (0, struct.pack("<ii", 1, 2) + b"\x03xyz\x90")).instructions == b"\x90"


def test_an_entry_without_augmentation() -> None:
    entry = only(cie(b"", b""), (0, struct.pack("<QQ", 0x1000, 64) + b"\x90"))
    assert (entry.common.augmented, entry.start.value, entry.size, entry.instructions) == (False, 0x1000, 64, b"\x90")
    assert only(cie(version=3), (0, struct.pack("<ii", 1, 2) + b"\0")).common.return_register == 16
    assert (
        only(cie(version=3, register=b"\x91\x01"), (0, struct.pack("<ii", 1, 2) + b"\0")).common.return_register == 145
    )


def test_each_entry_belongs_to_the_common_one_that_it_names() -> None:
    row = struct.pack("<ii", 1, 2) + b"\0"
    found = list(entries(section_of(cie(), cie(tail=b"\x0c\x07\x10"), (0, row), (1, row)) + bytes(4)))
    assert [e.common.instructions for e in found] == [b"\x0c\x07\x08", b"\x0c\x07\x10"]
    # a terminator in the middle of an object's section
    assert len(list(entries(section_of(cie(), (0, row)) + bytes(4) + section_of(cie(), (0, row))))) == 2
    assert list(entries(b"")) == list(entries(bytes(4))) == list(entries(b"\1\2\3")) == []


BAD: dict[str, Any] = {
    "impossible length 0x3 at 0x0": b"\3\0\0\0abc",
    "impossible length 0x5 at 0x0": b"\5\0\0\0abcd",
    "impossible length 0xffffffff at 0x0": b"\xff" * 16,
    "no common entry for the one at 0x0": b"\4\0\0\0\4\0\0\0",
    "version 2, augmentation 'zR'": section_of(cie(version=2)),
    "version 1, augmentation 'eh'": section_of(cie(letters=b"eh")),
    "augmentation 'zRX'": section_of(cie(letters=b"zRX")),
    "pointer encoding 0x1": section_of(cie(b"\x01\x01"), (0, bytes(9))),
    "pointer encoding 0x2b": section_of(cie(b"\x01\x2b"), (0, bytes(9))),
    "pointer encoding 0x9": section_of(cie(b"\x05\x09" + bytes(4), b"zP")),
    "truncated entry": section_of(cie(), (0, struct.pack("<ii", 1, 2) + b"\x05abcd")),
}


@pytest.mark.parametrize("message", BAD)
def test_what_is_none_is_refused(message: str) -> None:
    with pytest.raises(BadCallFrame, match=message):
        list(entries(BAD[message]))


def test_the_least_length_is_that_of_an_empty_entry() -> None:
    with pytest.raises(BadCallFrame, match="truncated"):
        list(entries(section_of(cie(), (0, b""))))
    raw = section_of(cie(), (0, struct.pack("<ii", 1, 2) + b"\x04abcd"))
    assert only(cie(), (0, struct.pack("<ii", 1, 2) + b"\x04abcd")).instructions == b""
    for cut in range(1, len(raw) - 22):
        with pytest.raises(BadCallFrame):
            list(entries(raw[: len(raw) - cut] if cut < 16 else raw[:24]))
            raise BadCallFrame  # fewer bytes than a length field are no entry


def test_the_assembler_makes_what_is_read(tmp_path: Path) -> None:
    text = ".cfi_sections .eh_frame\n.text\nf: .cfi_startproc\n.cfi_signal_frame\nnop\n"
    text += ".cfi_def_cfa_offset 16\nret\n.cfi_endproc\n"
    (tmp_path / "a.s").write_text(text)
    subprocess.run(["as", "-o", tmp_path / "a.o", tmp_path / "a.s"], check=True)
    elf = ElfFile.read(tmp_path / "a.o")
    section = elf.section(".eh_frame")
    assert section is not None
    (entry,) = entries(elf.bytes_of(section))
    (row,) = (r for s in elf.sections if s.sh_type == 4 for r in elf.relocations(s))
    assert (entry.size, entry.common.is_signal, entry.start.offset) == (2, True, row.r_offset)
    assert entry.instructions.rstrip(b"\0") == b"\x41\x0e\x10"
