"""Damaged patch files: each is refused or is a patch, and nothing else ever happens."""

from __future__ import annotations

import contextlib
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from suture.elf import abi
from suture.elf.abi import SectionFlag, SectionType, SymbolType
from suture.elf.object_writer import NewRelocation, NewSection, NewSymbol, write_object
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

MANIFEST = Manifest(
    "p", Target("ab" * 20, "lib.so", "p", "p", "1", "x86_64"), (FixFact("x.patch", ("CVE-2099-1",), "00"),),
    (Group("f", (ReplacedFunction("f", 0x1000, 64, "00" * 32, 4, 6, "f", "f.orig"),)),),
    {"g@got": ImportedSymbol(SymbolKind.SLOT, 0x4000), "h": ImportedSymbol(SymbolKind.IMAGE, 0x2000)},
)  # fmt: skip
SEALED = len(seal(b""))
CODE = SectionFlag.ALLOC | SectionFlag.EXECINSTR


def patch(flags: int = CODE, bss: int = 64, align: int = 16, manifest: Manifest = MANIFEST) -> bytes:
    text = NewSection(
        ".text",
        flags,
        b"\x90" * 40,
        align,
        relocations=[NewRelocation(2, abi.R.GOTPCRELX, "g@got", -4), NewRelocation(9, abi.R.PLT32, "h", -4)],
    )
    orig = NewSection(".text.orig", CODE, b"\x90" * 16, 16)
    zero = NewSection(".bss", SectionFlag.ALLOC | SectionFlag.WRITE, b"", 8, SectionType.NOBITS, bss)
    own = NewSection(MANIFEST_SECTION, 0, manifest.to_json())
    symbols = [
        NewSymbol("f", ".text", 0, 40, SymbolType.FUNC),
        NewSymbol("f.orig", ".text.orig", 0, 16, SymbolType.FUNC),
    ]
    return seal(write_object([text, orig, zero, own], [*symbols, NewSymbol("g@got", None), NewSymbol("h", None)]))


def use(data: bytes) -> None:
    """All that a host does with a patch before it looks at a process; the digest is made to fit, so that what comes
    after it is tried."""
    data = seal(data[:-SEALED])
    parsed = parse_patch(data, "test")
    place = Place(
        0x7F0000000000, 0x7F0000100000, {a: 1 for a in slots_read(parsed)}, {n: 1 for n in parsed.manifest.symbols}, {}
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
