"""Damaged patch files: each is refused or is a patch, and nothing else ever happens."""

from __future__ import annotations

import contextlib
import random
import struct
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suture.elf import abi
from suture.elf.abi import SectionFlag, SectionType, SymbolType
from suture.elf.file import ElfFile
from suture.elf.object_writer import NewRelocation, NewSection, NewSymbol, write_object
from suture.number import Address, Bias, BuildId, SectionOffset, Vaddr
from suture.patch.file import MANIFEST_SECTION, parse_patch, read_patch
from suture.patch.link import Place, lay_out, link, slots_read
from suture.patch.manifest import (
    BadPatch,
    FixFact,
    Group,
    ImportedSymbol,
    Manifest,
    ReplacedFunction,
    SymbolKind,
    Target,
    parse_manifest,
)
from suture.patch.seal import seal
from suture.patch.tripwire import SECTION as COUNTERS
from suture.patch.tripwire import Tripwire

MANIFEST = Manifest(
    "p", Target(BuildId("ab" * 20), "lib.so", "p", "p", "1", "x86_64"), (FixFact("x.patch", ("CVE-2099-1",), "00"),),
    (Group("f", (ReplacedFunction("f", Vaddr(0x1000), 64, "00" * 32, 4, 6, "f", "f.orig"),)),),
    {"g@got": ImportedSymbol(SymbolKind.SLOT, Vaddr(0x4000)), "h": ImportedSymbol(SymbolKind.IMAGE, Vaddr(0x2000))},
)  # fmt: skip
SEALED = len(seal(b""))
CODE = SectionFlag.ALLOC | SectionFlag.EXECINSTR


def patch(flags: int = CODE, bss: int = 64, align: int = 16, manifest: Manifest = MANIFEST) -> bytes:
    text = NewSection(
        ".text",
        flags,
        b"\x90" * 40,
        align,
        relocations=[
            NewRelocation(SectionOffset(2), abi.R.GOTPCRELX, "g@got", -4),
            NewRelocation(SectionOffset(9), abi.R.PLT32, "h", -4),
        ],
    )
    orig = NewSection(".text.orig", CODE, b"\x90" * 16, 16)
    zero = NewSection(".bss", SectionFlag.ALLOC | SectionFlag.WRITE, b"", 8, SectionType.NOBITS, bss)
    own = NewSection(MANIFEST_SECTION, 0, manifest.to_json())
    symbols = [
        NewSymbol("f", ".text", SectionOffset(0), 40, SymbolType.FUNC),
        NewSymbol("f.orig", ".text.orig", SectionOffset(0), 16, SymbolType.FUNC),
    ]
    return seal(write_object([text, orig, zero, own], [*symbols, NewSymbol("g@got", None), NewSymbol("h", None)]))


def use(data: bytes) -> None:
    """All that a host does with a patch before it looks at a process; the digest is made to fit, so that what comes
    after it is tried."""
    data = seal(data[:-SEALED])
    parsed = parse_patch(data, "test")
    place = Place(
        Address(0x7F0000000000),
        Bias(0x7F0000100000),
        {a: Address(1) for a in slots_read(parsed)},
        {n: Address(1) for n in parsed.manifest.symbols},
        {},
    )
    link(parsed, lay_out(parsed), place)


def test_a_whole_patch_is_read_and_can_be_linked() -> None:
    use(patch())


def test_a_truncated_patch_is_refused() -> None:
    data = patch()
    for end in range(0, len(data) - 1, 3):
        with pytest.raises(BadPatch):
            parse_patch(data[:end], "test")


def test_flipped_bytes_cost_an_error_and_no_more() -> None:
    data, rng = patch(), random.Random(7)
    headers = range(len(data) - 8 * 64, len(data))
    places = [*range(64), *headers, *(rng.randrange(len(data)) for _ in range(1500))]
    refused = 0
    for at in places:
        for bit in (0x01, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[at] ^= bit
            try:
                use(bytes(damaged))
            except BadPatch:
                refused += 1
    assert refused > 500


def test_overwritten_words_cost_an_error_and_no_more() -> None:
    data, rng = patch(), random.Random(8)
    for _ in range(1500):
        damaged = bytearray(data)
        word = rng.choice((0, 1, 0xFFFF, 1 << 31, (1 << 32) - 1, (1 << 63), (1 << 64) - 1, len(data)))
        struct.pack_into("<Q", damaged, rng.randrange(len(data) - 8) & ~7, word)
        with contextlib.suppress(BadPatch):
            use(bytes(damaged))


@pytest.mark.parametrize(
    "data",
    [
        patch(CODE | SectionFlag.WRITE), patch(SectionFlag.ALLOC),
        patch(bss=1 << 60), patch(align=1 << 20), patch(align=24),
        b"", b"\x7fELF", b"not a patch at all" * 10,
    ],
    ids=["writable code", "code that is none", "huge", "far alignment", "odd alignment", "empty", "magic", "text"],
)  # fmt: skip
def test_a_patch_that_breaks_the_format_is_refused(data: bytes) -> None:
    with pytest.raises(BadPatch):
        parse_patch(data, "test")


@pytest.mark.parametrize("raw", [b"[" * 100000,
b"{}", b"[]", b"null", b"\xff", MANIFEST.to_json().replace(b'"lib.so"', b'"\\ud800"'),
                                 MANIFEST.to_json().replace(b"4096", b"-1"),
                                 MANIFEST.to_json().replace(b"4096", b"1e99")])  # fmt: skip
def test_a_manifest_that_is_none_is_refused(raw: bytes) -> None:
    with pytest.raises(BadPatch):
        parse_manifest(raw, "test")


def test_a_manifest_is_the_same_after_writing_and_reading() -> None:
    assert parse_manifest(MANIFEST.to_json(), "test") == MANIFEST


def test_a_folder_is_no_patch(tmp_path: Path) -> None:
    with pytest.raises(BadPatch):
        read_patch(tmp_path)


def test_the_id_is_that_of_the_bytes(tmp_path: Any) -> None:
    path = tmp_path / "p.suture.o"
    path.write_bytes(patch())
    assert read_patch(path).id == parse_patch(patch(), "again").id


def refusal(data: bytes) -> str:
    """Why a file is no patch, "" when it is one; the digest is made to fit."""
    try:
        parse_patch(seal(data[:-SEALED]), "test")
    except BadPatch as problem:
        return problem.what.removeprefix("test: ")
    return ""


def with_parts(
    *sections: NewSection,
    manifest: Manifest = MANIFEST,
    relocations: Sequence[NewRelocation] = (),
    symbols: Sequence[NewSymbol] = (),
) -> bytes:
    text = NewSection(".text", CODE, b"\x90" * 40, 16, relocations=relocations)
    orig = NewSection(".text.orig", CODE, b"\x90" * 16, 16)
    own = NewSection(MANIFEST_SECTION, 0, manifest.to_json())
    functions = [
        NewSymbol("f", ".text", SectionOffset(0), 40, SymbolType.FUNC),
        NewSymbol("f.orig", ".text.orig", SectionOffset(0), 16, SymbolType.FUNC),
    ]
    return seal(write_object([text, orig, own, *sections], [*functions, *symbols]))


def test_a_patch_takes_so_much_memory_and_no_more() -> None:
    most = 64 << 20
    assert refusal(patch(bss=most - 56)) == ""
    assert refusal(patch(bss=most - 55)) == "it would take more memory than any patch does"


def test_a_patch_has_so_many_symbols_and_relocations_and_no_more() -> None:
    most, symbols = 1 << 20, 3  # the first is the null symbol
    empty = replace(
        MANIFEST, groups=()
    )  # what is looked at behind the tables is refused, and tells that it was looked at
    for rows, why in (
        (most - symbols, "replaces no function"),
        (most - symbols + 1, "it has more symbols and relocations than any patch"),
    ):
        table = NewSection(".rela.none", 0, bytes(24 * rows), 8, SectionType.RELA)
        assert refusal(with_parts(table, manifest=empty)) == why


@pytest.mark.parametrize("align", [0, 1, 2, 3, 8, 24, 4095, 4096, 8192])
def test_an_alignment_is_a_power_of_two_up_to_a_page(align: int) -> None:
    data = NewSection(".data", SectionFlag.ALLOC | SectionFlag.WRITE, b"12345678", align)
    good = align in (0, 1, 2, 8, 4096)
    assert refusal(with_parts(data)) == ("" if good else ".data has an impossible alignment")


def relocated(offset: int, r_type: int, symbol: int) -> bytes:
    """A patch whose first relocation has these fields."""
    data = bytearray(with_parts(relocations=[NewRelocation(SectionOffset(0), abi.R.R_64, "f", 0)]))
    elf = ElfFile(bytes(data))
    section = elf.section(".rela.text")
    assert section is not None
    struct.pack_into("<QQ", data, section.sh_offset, offset, symbol << 32 | r_type)
    return bytes(data)


def test_a_relocation_lies_inside_its_section_and_names_a_symbol_that_is_there() -> None:
    outside = "relocation out of range in .rela.text"
    for r_type, width in ((abi.R.R_64, 8), (abi.R.PC32, 4), (abi.R.PC64, 8), (abi.R.R_32, 4)):
        assert refusal(relocated(40 - width, r_type, 1)) == ""
        assert refusal(relocated(40 - width + 1, r_type, 1)) == outside
    assert refusal(relocated(0, abi.R.R_64, 2)) == ""  # the last symbol
    assert refusal(relocated(0, abi.R.R_64, 3)) == outside
    assert refusal(relocated(0, abi.R.TLSGD, 1)) == f"relocation type {int(abi.R.TLSGD)} in .rela.text"


def test_a_symbol_of_a_relocation_lies_in_what_is_placed() -> None:
    aside = NewSection(".debug", 0, b"12345678")
    rows = [NewRelocation(SectionOffset(0), abi.R.R_64, "aside", 0)]
    told = "symbol aside is in no section that is placed"
    assert (
        refusal(with_parts(aside, relocations=rows, symbols=[NewSymbol("aside", ".debug", SectionOffset(0), 8)]))
        == told
    )
    placed = replace(aside, sh_flags=SectionFlag.ALLOC)
    assert (
        refusal(with_parts(placed, relocations=rows, symbols=[NewSymbol("aside", ".debug", SectionOffset(0), 8)])) == ""
    )
    assert (
        refusal(with_parts(aside, symbols=[NewSymbol("aside", ".debug", SectionOffset(0), 8)])) == ""
    )  # nothing refers to it
    # in a section that is not there
    data = bytearray(with_parts(placed, relocations=rows, symbols=[NewSymbol("aside", ".debug", SectionOffset(0), 8)]))
    elf = ElfFile(bytes(data))
    table, symbol = elf.section(".symtab"), next(s for s in elf.symbols if s.name == "aside")
    assert table is not None
    struct.pack_into("<H", data, table.sh_offset + 24 * symbol.index + 6, len(elf.sections))
    assert refusal(bytes(data)) == told
    unknown = [NewSymbol("unknown", None)]
    assert (
        refusal(with_parts(relocations=[replace(rows[0], symbol="unknown")], symbols=unknown))
        == "symbol unknown has no resolution"
    )


@pytest.mark.parametrize(
    ("entry", "displaced", "size", "good"),
    [
        (0, 5, 5, True),
        (0, 5, 4, False),
        (0, 4, 64, False),
        (20, 5, 64, True),
        (21, 5, 64, False),
        (4, 6, 10, True),
        (4, 7, 10, False),
        (20, 12, 32, True),
    ],
)
def test_an_entry_lies_in_its_function_and_has_room_for_a_jump(
    entry: int, displaced: int, size: int, good: bool
) -> None:
    function = replace(MANIFEST.functions[0], entry=entry, displaced=displaced, size=size)
    told = refusal(with_parts(manifest=replace(MANIFEST, groups=(Group("f", (function,)),))))
    assert told == ("" if good else "impossible entry of f")


def test_new_code_lies_inside_a_section_of_code() -> None:
    def told(symbol: NewSymbol) -> str:
        text = NewSection(".text", CODE, b"\x90" * 40, 16)
        data = NewSection(".data", SectionFlag.ALLOC | SectionFlag.WRITE, bytes(64), 8)
        aside = NewSection(".aside", SectionFlag.EXECINSTR, bytes(64), 8)
        own = NewSection(MANIFEST_SECTION, 0, MANIFEST.to_json())
        return refusal(
            seal(write_object([text, data, aside, own], [symbol, NewSymbol("f.orig", ".text", SectionOffset(0), 16)]))
        )

    assert (
        told(NewSymbol("f", ".text", SectionOffset(0), 40))
        == told(NewSymbol("f", ".text", SectionOffset(39), 0))
        == told(NewSymbol("f", ".text", SectionOffset(30), 10))
        == ""
    )
    for odd in (
        NewSymbol("f", ".text", SectionOffset(1), 40),
        NewSymbol("f", ".text", SectionOffset(40), 0),
        NewSymbol("f", ".data", SectionOffset(0), 8),
        NewSymbol("f", ".aside", SectionOffset(0), 8),
        NewSymbol("f", None),
        NewSymbol("g", ".text", SectionOffset(0), 8),
    ):
        assert told(odd) == "no code for f", odd


def test_groups_replace_each_function_once() -> None:
    (f,) = MANIFEST.functions
    other = replace(f, name="g", address=Vaddr(0x2000))

    def told(*groups: tuple[ReplacedFunction, ...]) -> str:
        return refusal(
            with_parts(manifest=replace(MANIFEST, groups=tuple(Group(f"g{n}", fs) for n, fs in enumerate(groups))))
        )

    assert told((f, other)) == told((f,), (other,)) == ""
    assert told() == "replaces no function"
    assert told((f,), ()) == "a group replaces no function"
    assert told((f, other), (f,)) == told((f, f)) == "replaces a function twice"
    many = tuple(replace(f, address=Vaddr(0x1000 * n)) for n in range(1, 8194))
    assert told(many[:-1]) == ""
    assert told(many) == "replaces 8193 functions, more than 8192"


def test_sections_hold_no_more_than_the_file() -> None:
    data = bytearray(with_parts(NewSection(".data", SectionFlag.ALLOC | SectionFlag.WRITE, bytes(64), 8)))
    elf = ElfFile(bytes(data))
    section = elf.section(".data")
    header = struct.unpack_from("<Q", data, 0x28)[0]
    assert section is not None
    left = len(data) - sum(s.sh_size for s in elf.sections if s.has_bits)
    struct.pack_into("<Q", data, header + 64 * section.index + 32, 64 + left + 1)
    assert refusal(bytes(data)) == "its sections overlap"


def test_an_import_has_a_name() -> None:
    nameless = replace(MANIFEST, symbols={"x@import": ImportedSymbol(SymbolKind.IMPORT)})
    assert refusal(with_parts(manifest=nameless)) == "import x@import has no name"
    assert refusal(with_parts(manifest=replace(MANIFEST, symbols={"x": ImportedSymbol(SymbolKind.IMAGE)}))) == ""


def test_relocations_apply_to_a_section_that_is_there() -> None:
    data = bytearray(with_parts(relocations=[NewRelocation(SectionOffset(0), abi.R.R_64, "f", 0)]))
    elf = ElfFile(bytes(data))
    section = elf.section(".rela.text")
    header = struct.unpack_from("<Q", data, 0x28)[0]
    assert section is not None
    for number, why in ((len(elf.sections) - 1, ""), (len(elf.sections), ".rela.text applies to no section")):
        struct.pack_into("<I", data, header + 64 * section.index + 44, number)
        assert refusal(bytes(data)) == why


def test_code_is_never_variable() -> None:
    told = ".odd is both code and variable"
    for flags, kind, why in (
        (CODE, SectionType.PROGBITS, ""),
        (CODE | SectionFlag.WRITE, SectionType.PROGBITS, told),
        (CODE, SectionType.NOBITS, told),
        (SectionFlag.WRITE | SectionFlag.EXECINSTR, SectionType.PROGBITS, ""),  # it is not placed
    ):
        assert refusal(with_parts(NewSection(".odd", flags, b"\x90" * 8, 8, kind, 8))) == why


def counted(count: int, size: int, align: int = 8, flags: int = SectionFlag.ALLOC | SectionFlag.WRITE) -> str:
    """What is said of a patch with so many tripwires whose section of counters is as given."""
    wires = tuple(Tripwire("a.c", n, "f", "x > 1", "return", "x.patch", ("CVE-2099-1",), 8 * n) for n in range(count))
    section = NewSection(COUNTERS, flags, b"", align, SectionType.NOBITS, size)
    return refusal(with_parts(section, manifest=replace(MANIFEST, tripwires=wires)))


def test_tripwires_count_in_a_section_that_has_their_counters_and_nothing_else() -> None:
    told = ".suture.tripwire is not what its tripwires count in"
    assert counted(1, 8) == counted(3, 24) == ""
    assert counted(3, 16) == counted(3, 32) == counted(3, 25) == counted(3, 0) == told
    assert counted(3, 24, 4) == counted(3, 24, 16) == counted(3, 24, 1) == told
    for flags in (SectionFlag.ALLOC, SectionFlag.WRITE, CODE | SectionFlag.WRITE):
        assert counted(3, 24, flags=flags) != ""
    assert counted(0, 0) == "its tripwires have no counters of their own"
