"""A patch's memory against what its file writes. The process is this one: its old code and the patch lie in buffers
of our own."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import struct
from dataclasses import replace

import pytest

from suture.elf.abi import R, SectionFlag, SymbolType
from suture.elf.object_writer import NewRelocation, NewSection, NewSymbol, write_object
from suture.number import Address, Bias, BuildId, FileOffset, SectionOffset, Vaddr
from suture.patch.file import PatchFile, parse_patch
from suture.patch.link import Place, lay_out, link
from suture.patch.manifest import Group, ImportedSymbol, Manifest, ReplacedFunction, SymbolKind, Target
from suture.patch.record import Record
from suture.patch.seal import seal
from suture.process.memory.maps import Mapping
from suture.process.memory.placed import Placed
from suture.process.see.comparison import doubt

ME = os.getpid()
AX, A, WA = SectionFlag.ALLOC | SectionFlag.EXECINSTR, SectionFlag.ALLOC, SectionFlag.ALLOC | SectionFlag.WRITE
OLD = bytes(range(64))
ENTRY = 4
NOWHERE = Mapping(Address(0), Address(0), True, False, True, False, FileOffset(0), b"", 0, b"")
WORDS = [8, *(8 + (1 << n) for n in range(5, 13))]
"""Where constants hold the address of an import."""
SLOT, IMPORTED, WORD = 0x7F00_0000_1230, 0x7F00_0000_4560, 0x7F00_0000_7890


def made() -> PatchFile:
    """f of 200 bytes at 0x2000 that calls an import, loads a slot, and has a constant with the address of another
    import in it."""
    function = ReplacedFunction("f", Vaddr(0x2000), 64, hashlib.sha256(OLD).hexdigest(), ENTRY, 5, "f", "f.orig")
    symbols = {
        "slot": ImportedSymbol(SymbolKind.SLOT, Vaddr(0x5000)),
        "called": ImportedSymbol(SymbolKind.IMPORT, name="called"),
        "word": ImportedSymbol(SymbolKind.IMPORT, name="word"),
        "image": ImportedSymbol(SymbolKind.IMAGE, Vaddr(0x2010)),
    }
    target = Target(BuildId("aa"), "lib.so", "p", "s", "1", "x86_64")
    manifest = Manifest("test", target, (), (Group("g", (function,)),), symbols)
    calls = [
        NewRelocation(SectionOffset(8), R.PLT32, "called", -4),
        NewRelocation(SectionOffset(16), R.GOTPCREL, "slot", -4),
    ]
    constants = [
        *(NewRelocation(SectionOffset(at), R.R_64, "word", 0) for at in WORDS),
        NewRelocation(SectionOffset(16), R.R_64, "image", 0),
    ]
    sections = [
        NewSection(".text", AX, b"\x90" * 256, 16, relocations=calls),
        NewSection(".text.orig", AX, b"\x90" * 16, 16),
        NewSection(".rodata", A, bytes(range(256)) * 17, 8, relocations=constants),
        NewSection(".data", WA, bytes(64), 8),
        NewSection(".suture.manifest", 0, manifest.to_json()),
    ]
    names = [
        NewSymbol("f", ".text", SectionOffset(0), 200, SymbolType.FUNC),
        NewSymbol("f.orig", ".text.orig", SectionOffset(0), 16, SymbolType.FUNC),
        *(NewSymbol(n, None) for n in symbols),
    ]
    return parse_patch(seal(write_object(sections, names)), "test")


PATCH = made()
LAYOUT = lay_out(PATCH)


class Process:
    """The patch, placed: `text` can be changed as a hostile process would."""

    def __init__(self) -> None:
        self._room = mmap.mmap(-1, LAYOUT.size + 4096)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._room))
        self.base = start
        self._old = ctypes.create_string_buffer(OLD, 64)
        bias = ctypes.addressof(self._old) - 0x2000
        place = Place(
            Address(start),
            Bias(bias),
            {Vaddr(0x5000): Address(SLOT)},
            {"called": Address(IMPORTED), "word": Address(WORD)},
            {Vaddr(0x2000): OLD[ENTRY : ENTRY + 5]},
        )
        linked = link(PATCH, LAYOUT, place)
        self._room[: len(linked.text)] = linked.text
        self._room[len(linked.text) : len(linked.text) + len(linked.data)] = linked.data
        self.record: Record = linked.record

    def told(self, record: Record | None = None) -> str:
        return doubt(ME, PATCH, Placed(record or self.record, NOWHERE, NOWHERE))

    def put(self, offset: int, data: bytes) -> None:
        self._room[offset : offset + len(data)] = data

    def flip(self, offset: int) -> None:
        self._room[offset : offset + 1] = bytes([self._room[offset] ^ 1])

    def put_old(self, offset: int, data: bytes) -> None:
        ctypes.memmove(ctypes.addressof(self._old) + offset, data, len(data))


@pytest.fixture
def process() -> Process:
    return Process()


def section(name: str) -> int:
    return next(LAYOUT.sections[s.index] for s in PATCH.sections if s.name == name)


def test_a_patch_as_its_file_writes_it_is_beyond_doubt(process: Process) -> None:
    assert process.told() == ""
    process.put_old(ENTRY, b"\xe9\1\2\3\4")  # the jump to it
    assert process.told() == ""


def test_every_byte_counts_that_the_file_alone_decides(process: Process) -> None:
    text, constants = section(".text"), section(".rodata")
    stub = LAYOUT.stubs[Vaddr(0x2000)]
    open_ = {*range(stub, stub + 32), *range(constants + 8, constants + 16)}
    for at in {0, 5, text, text + 8, text + 12, text + 255, section(".text.orig"), constants, constants + 7,
    constants + 16, constants + 24,
               stub - 1, stub + 32, *LAYOUT.thunks.values(), LAYOUT.text_size - 1}:  # fmt: skip
        assert at not in open_
        process.flip(at)
        assert process.told() == f"other bytes at {process.base + at:#x}", at
        process.flip(at)
    assert process.told() == ""


def test_stubs_and_words_of_imports_are_left_to_others(process: Process) -> None:
    stub, constants = LAYOUT.stubs[Vaddr(0x2000)], section(".rodata")
    process.put(stub, b"\xcc" * 32)
    for at in WORDS:
        process.put(constants + at, struct.pack("<Q", 0x1111_2222_3333))
    assert process.told() == ""


def test_where_imports_are_is_for_the_process_to_say(process: Process) -> None:
    for slot in LAYOUT.slots.values():
        process.put(slot, struct.pack("<Q", 0x7F00_1111_2220))
    assert process.told() == ""


def test_a_record_of_another_size_or_place_is_not_the_files(process: Process) -> None:
    for field in ("text_size", "data_size"):
        other = replace(process.record, **{field: getattr(process.record, field) + 4096})
        assert process.told(other) == "its memory has another size"
    gone = replace(process.record, base=Address(process.base + (1 << 45)))
    assert process.told(gone) != ""


def test_the_old_code_must_be_what_the_patch_is_for(process: Process) -> None:
    wrong = "f was not the code that the patch is for"
    process.put_old(20, b"\xff")
    assert process.told() == wrong
    process.put_old(20, OLD[20:21])
    assert process.told() == ""
    (group,) = process.record.groups
    (f,) = group.functions
    for change in ({"sha256": "00"}, {"old": f.old + 16}, {"size": 63}, {"original": b"12345"}, {"entry": 5}):
        record = replace(process.record, groups=(replace(group, functions=(replace(f, **change),)),))
        assert process.told(record) == wrong, change
    assert process.told(replace(process.record, groups=())) == wrong
    process.put_old(63, b"\0")
    assert process.told() == wrong
