"""Relocating a patch object: GNU ld, given the same addresses, is the judge; then what it does not know of."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from suture.elf.abi import R, SectionFlag, SectionType, SymbolType
from suture.elf.file import ElfFile
from suture.elf.object_writer import NewRelocation, NewSection, NewSymbol, write_object
from suture.number import Address, Bias, BuildId, SectionOffset, Vaddr
from suture.patch import finder
from suture.patch.file import PatchFile, parse_patch
from suture.patch.link import Place, Runtime, lay_out, link
from suture.patch.manifest import (
    BadPatch,
    Group,
    ImportedSymbol,
    Manifest,
    OldPart,
    ReplacedFunction,
    Suspending,
    SymbolKind,
    Target,
)
from suture.patch.record import PlacedPart, PlacedUnwinding
from suture.patch.seal import seal
from suture.patch.tripwire import SECTION as COUNTERS
from suture.patch.tripwire import Tripwire
from suture.patch.x86_64 import PAGE, STUB_SIZE, Stub, decode_stub, encode_stub, jump, jump_target

BASE, BIAS = 0x7F1000000000, 0x7F1000100000
AX, A, WA = SectionFlag.ALLOC | SectionFlag.EXECINSTR, SectionFlag.ALLOC, SectionFlag.ALLOC | SectionFlag.WRITE
SYMBOLS = {
    "image": ImportedSymbol(SymbolKind.IMAGE, Vaddr(0x1234)),
    "slot": ImportedSymbol(SymbolKind.SLOT, Vaddr(0x5000)),
    "import": ImportedSymbol(SymbolKind.IMPORT, name="getpid"),
}


def patch_of(
    relocations: list[NewRelocation],
    data: Sequence[NewRelocation] = (),
    more: Sequence[NewSection] = (),
    tripwires: tuple[Tripwire, ...] = (),
) -> PatchFile:
    manifest = Manifest(
        "test", Target(BuildId("aa"), "lib.so", "p", "s", "1", "x86_64"), (),
        (Group("g", (ReplacedFunction("f", Vaddr(0x2000), 64, "00", 0, 5, "f", "f.orig"),)),), SYMBOLS,
        tripwires=tripwires,
    )  # fmt: skip
    sections = [
        NewSection(".text", AX, b"\x90" * 256, 16, relocations=relocations),
        NewSection(".text.orig", AX, b"\x90" * 16, 16),
        NewSection(".rodata", A, b"constant", 8),
        NewSection(".data", WA, bytes(64), 8, relocations=data),
        NewSection(".bss", WA, b"", 32, SectionType.NOBITS, 5000),
        NewSection(".suture.manifest", 0, manifest.to_json()),
        *more,
    ]
    symbols = [
        NewSymbol("f", ".text", SectionOffset(0), 200, SymbolType.FUNC),
        NewSymbol("f.orig", ".text.orig", SectionOffset(0), 16, SymbolType.FUNC),
        NewSymbol("constant", ".rodata", SectionOffset(0), 8, SymbolType.OBJECT),
        NewSymbol("variable", ".data", SectionOffset(8), 8, SymbolType.OBJECT),
        NewSymbol("zeros", ".bss", SectionOffset(16), 8, SymbolType.OBJECT),
        *(NewSymbol(name, None) for name in SYMBOLS),
    ]
    return parse_patch(seal(write_object(sections, symbols)), "test")


PLACE = Place(
    Address(BASE),
    Bias(BIAS),
    {Vaddr(0x5000): Address(0x7F0012345678)},
    {"import": Address(0x7E0000004440)},
    {Vaddr(0x2000): b"\x55\x48\x89\xe5\x53"},
)


def test_fields_hold_what_gnu_ld_would_write(tmp_path: Path) -> None:
    rows = [
        NewRelocation(SectionOffset(8), R.PC32, "constant", -4),
        NewRelocation(SectionOffset(16), R.PC32, "variable", 4),
        NewRelocation(SectionOffset(24), R.PLT32, "image", -4),
        NewRelocation(SectionOffset(32), R.PC64, "zeros", 0),
        NewRelocation(SectionOffset(40), R.R_64, "zeros", 24),
        NewRelocation(SectionOffset(48), R.PC32, "image", 12),
    ]
    data = [
        NewRelocation(SectionOffset(0), R.R_64, "f", 0),
        NewRelocation(SectionOffset(16), R.R_64, "image", 0x10),
        NewRelocation(SectionOffset(24), R.R_64, "constant", 2),
    ]
    patch = patch_of(rows, data)
    layout = lay_out(patch)
    linked = link(patch, layout, PLACE)
    at = {s.name: BASE + layout.sections[s.index] for s in patch.sections}
    script = tmp_path / "script"
    script.write_text(
        "SECTIONS {"
        + " ".join(f"{n} {at[n]:#x} : {{ *({n}) }}" for n in sorted(at, key=lambda n: at[n]))
        + " /DISCARD/ : { *(.suture*) } }"
    )
    source = tmp_path / "patch.o"
    source.write_bytes(patch.object.data)
    out = tmp_path / "out"
    defined = [f"--defsym={n}={v:#x}" for n, v in (("image", BIAS + 0x1234), ("slot", 1), ("import", 2))]
    subprocess.run(["ld", "-static", "-T", script, "-e", "0", *defined, "-o", out, source], check=True)
    judge = ElfFile.read(out)
    everything = linked.text + linked.data
    for section in patch.sections:
        start = layout.sections[section.index]
        expected = judge.section(section.name)
        assert expected is not None and expected.sh_addr == BASE + start
        if section.has_bits:
            assert everything[start : start + section.sh_size] == judge.bytes_of(expected), section.name


def test_slots_of_the_target_are_used_and_imports_go_through_slots_of_the_patch() -> None:
    patch = patch_of(
        [
            NewRelocation(SectionOffset(0), R.GOTPCREL, "slot", -4),
            NewRelocation(SectionOffset(8), R.R_64, "slot", 0),
            NewRelocation(SectionOffset(16), R.REX_GOTPCRELX, "import", -4),
            NewRelocation(SectionOffset(24), R.PLT32, "import", -4),
            NewRelocation(SectionOffset(32), R.GOTPCRELX, "variable", -4),
        ]
    )
    layout = lay_out(patch)
    linked = link(patch, layout, PLACE)
    text = next(layout.sections[s.index] for s in patch.sections if s.name == ".text")

    def target(offset: int) -> int:
        (distance,) = struct.unpack_from("<i", linked.text, text + offset)
        return BASE + text + offset + 4 + int(distance)

    def word(address: int) -> int:
        return int.from_bytes(linked.data[address - BASE - layout.text_size :][:8], "little")

    assert target(0) == BIAS + 0x5000
    assert struct.unpack_from("<Q", linked.text, text + 8)[0] == 0x7F0012345678
    assert word(target(16)) == 0x7E0000004440
    thunk = target(24) - BASE
    assert linked.text[thunk : thunk + 2] == b"\xff\x25"
    assert word(target(24) + 6 + struct.unpack_from("<i", linked.text, thunk + 2)[0]) == 0x7E0000004440
    variable = next(layout.sections[s.index] for s in patch.sections if s.name == ".data") + 8
    assert word(target(32)) == BASE + variable


def test_a_field_that_does_not_reach_is_an_error_and_nothing_is_cut_off() -> None:
    far = Place(Address(BASE + (8 << 30)), Bias(BIAS), PLACE.slots, PLACE.imports, PLACE.original)
    for kind in (R.PC32, R.R_32, R.R_32S):
        patch = patch_of([NewRelocation(SectionOffset(8), kind, "image", 0)])
        with pytest.raises(BadPatch):
            link(patch, lay_out(patch), far)


def test_record_stub_and_layout_agree() -> None:
    patch = patch_of([])
    layout = lay_out(patch)
    linked = link(patch, layout, PLACE)
    record = linked.record
    (group,) = record.groups
    (function,) = group.functions
    assert linked.text.startswith(record.encode())
    assert len(linked.text) == record.text_size == layout.text_size and len(linked.data) == layout.data_size
    assert layout.text_size % PAGE == layout.data_size % PAGE == 0 and layout.data_size > 5000
    assert function.old == 0x2000 + BIAS and function.original == b"\x55\x48\x89\xe5\x53"
    stub = linked.text[function.stub - BASE :][:32]
    assert decode_stub(function.stub, stub) == Stub(group.switch, function.new, function.orig)
    assert layout.text_size <= group.switch - BASE < layout.size
    assert link(patch, layout, PLACE) == linked


def test_stubs_and_jumps_are_what_a_disassembler_reads(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.write_bytes(
        encode_stub(Address(0x10000), Stub(Address(0x20000), Address(0x30000), Address(0x40000)))
        + jump(Address(0x10020), Address(0x50000))
    )
    text = subprocess.run(
        ["objdump", "-D", "-b", "binary", "-m", "i386:x86-64", "--adjust-vma=0x10000", code],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for wanted in ("cmpb   $0x0,", "# 0x20000", "jne    0x30000", "jmp    0x40000", "jmp    0x50000"):
        assert wanted in text
    assert jump_target(Address(0x10020), jump(Address(0x10020), Address(0x50000))) == 0x50000
    with pytest.raises(ValueError, match="reach"):
        jump(Address(0x10000), Address(0x10000 + (1 << 32)))


def test_addresses_of_the_record_are_those_of_the_layout() -> None:
    rows = [
        NewRelocation(SectionOffset(8), R.PLT32, "import", -4),
        NewRelocation(SectionOffset(16), R.GOTPCREL, "image", -4),
        NewRelocation(SectionOffset(24), R.GOTPCREL, "slot", -4),
    ]
    patch = patch_of(rows)
    layout = lay_out(patch)
    linked = link(patch, layout, PLACE)
    record = linked.record
    (f,) = record.functions
    assert (record.base, record.text_size, record.data_size, record.bias) == (
        BASE,
        layout.text_size,
        layout.data_size,
        BIAS,
    )
    assert (record.code, record.code_size) == (BASE + layout.code, layout.code_size)
    assert (f.old, f.new, f.new_size, f.orig, f.orig_size) == (
        BIAS + 0x2000, BASE + layout.sections[1], 200, BASE + layout.sections[2], 16,
    )  # fmt: skip
    assert (f.stub, f.original) == (BASE + layout.stubs[Vaddr(0x2000)], PLACE.original[Vaddr(0x2000)])
    assert record.groups[0].switch == BASE + layout.switches[0] == BASE + layout.text_size
    assert len(linked.text) == layout.text_size and len(linked.data) == layout.data_size
    assert layout.size == layout.text_size + layout.data_size


def test_slots_and_thunks_lead_to_what_the_process_says() -> None:
    rows = [
        NewRelocation(SectionOffset(8), R.PLT32, "import", -4),
        NewRelocation(SectionOffset(16), R.GOTPCREL, "image", -4),
        NewRelocation(SectionOffset(24), R.GOTPCREL, "slot", -4),
        NewRelocation(SectionOffset(32), R.PLT32, "slot", -4),
    ]
    patch = patch_of(rows)
    layout = lay_out(patch)
    linked = link(patch, layout, PLACE)
    whole = linked.text + linked.data
    text = layout.sections[1]
    names = {patch.object.symbols[i].name: at for i, at in layout.slots.items()}
    assert names.keys() == {"import", "image", "slot"}
    held = {n: struct.unpack_from("<Q", whole, at)[0] for n, at in names.items()}
    assert held == {"import": 0x7E0000004440, "image": BIAS + 0x1234, "slot": 0x7F0012345678}
    thunks = {patch.object.symbols[i].name: at for i, at in layout.thunks.items()}
    assert thunks.keys() == {"import", "slot"}
    for name, at in thunks.items():
        assert whole[at : at + 2] == b"\xff\x25" and at + 6 + struct.unpack_from("<i", whole, at + 2)[0] == names[name]

    def led(offset: int) -> int:
        return int(text + offset + 4 + struct.unpack_from("<i", whole, text + offset)[0])

    assert (led(8), led(16), led(32)) == (thunks["import"], names["image"], thunks["slot"])
    assert BASE + led(24) == BIAS + 0x5000  # the image's own slot


def test_fields_reach_so_far_and_no_further() -> None:
    def linked(r_type: int, addend: int) -> int:
        patch = patch_of([NewRelocation(SectionOffset(8), r_type, "absolute", addend)])
        layout = lay_out(patch)
        raw = link(patch, layout, replace(PLACE, imports={**PLACE.imports, "absolute": Address(0)}))
        return int(struct.unpack_from("<I", raw.text, layout.sections[1] + 8)[0])

    symbols = SYMBOLS | {"absolute": ImportedSymbol(SymbolKind.IMPORT, name="absolute")}
    SYMBOLS.update(symbols)
    try:
        assert linked(R.R_32, 0xFFFFFFFF) == 0xFFFFFFFF and linked(R.R_32, 0) == 0
        assert linked(R.R_32S, 0x7FFFFFFF) == 0x7FFFFFFF and linked(R.R_32S, -0x80000000) == 0x80000000
        for r_type, addend in ((R.R_32, 1 << 32), (R.R_32, -1), (R.R_32S, 1 << 31), (R.R_32S, -(1 << 31) - 1)):
            with pytest.raises(BadPatch, match="against absolute does not reach"):
                linked(r_type, addend)
    finally:
        del SYMBOLS["absolute"]


def test_old_parts_and_functions_that_suspend_are_moved_by_the_bias() -> None:
    patch = patch_of([])
    manifest = replace(
        patch.manifest, suspends=(Suspending("s", Vaddr(0x3001), 48),),
        groups=tuple(replace(g, parts=(OldPart("cold", Vaddr(0x4000), 24),)) for g in patch.manifest.groups),
    )  # fmt: skip
    other = replace(patch, manifest=manifest)
    record = link(other, lay_out(other), PLACE).record
    assert record.suspends == (PlacedPart("s", Address(BIAS + 0x3001), 48),)
    assert record.groups[0].parts == (PlacedPart("cold", Address(BIAS + 0x4000), 24),)
    low = link(other, lay_out(other), replace(PLACE, bias=Bias(-0x1000 % (1 << 64)))).record
    assert low.suspends[0].old == 0x2001 and low.functions[0].old == 0x1000 and low.groups[0].parts[0].old == 0x3000


def call_frames(*sizes: tuple[int, int]) -> bytes:
    """An .eh_frame with one common entry and one for each (size, addend of the start); LSB core, exception frames."""
    data = struct.pack("<II", 16, 0) + b"\1zR\0\1\x78\x10\1\x1b" + bytes(3)
    for size, _ in sizes:
        data += struct.pack("<IIiI", 16, len(data) + 4, 0, size) + bytes(4)
    return data


def unwound(*rows: tuple[str, int, int]) -> PatchFile:
    """A patch whose unwind tables describe (symbol, offset in it, size)."""
    frames = call_frames(*((size, offset) for _, offset, size in rows))
    starts = [
        NewRelocation(SectionOffset(20 + 20 * n + 8), R.PC32, name, offset) for n, (name, offset, _) in enumerate(rows)
    ]
    return patch_of([], more=[NewSection(".eh_frame", A, frames, 8, relocations=starts)])


RUNTIME = Runtime(
    Address(0x7E0000010000), 4, b"\x41\x57\x41\x56\x41\x55\x41\x54\x55\x53\x48\x81\xec\xf8\0\0\0", Address(0)
)


def test_the_finder_its_continuation_and_its_table_lie_one_behind_the_other_in_the_text() -> None:
    patch = unwound(("f.orig", 0, 16), ("f", 0, 100), ("f", 100, 100))
    layout = lay_out(patch)
    made = layout.unwinding
    assert made is not None and made.section.name == ".eh_frame" and made.count == 3
    assert made.finder % 32 == 0 and made.finder >= max(layout.stubs.values()) + STUB_SIZE
    assert made.continuation == made.finder + finder.FINDER_SIZE
    assert made.rows == made.continuation + finder.CONTINUATION_SIZE
    assert made.rows + 3 * finder.ROW.size <= layout.text_size
    assert layout.text_size < made.following < layout.size and made.following % 8 == 0
    assert made.following not in (*layout.switches, *layout.slots.values())
    assert (
        lay_out(patch_of([])).unwinding is None
        and link(patch_of([]), lay_out(patch_of([])), PLACE).record.unwinding is None
    )


def test_the_table_of_a_finder_that_needs_more_pages_fits_into_the_text() -> None:
    rows = [("f", n, 1) for n in range(200)] + [("f.orig", n, 1) for n in range(16)]
    patch = unwound(*rows)
    layout = lay_out(patch)
    made = layout.unwinding
    assert made is not None and made.rows + len(rows) * finder.ROW.size <= layout.text_size
    text = link(patch, layout, PLACE).text
    found = finder.decode_rows(text[made.rows :][: len(rows) * finder.ROW.size])
    assert [r.end - r.start for r in found] == [1] * len(rows) and found == sorted(found, key=lambda r: r.start)


def test_a_runtime_is_asked_to_go_on_where_its_function_was_diverted() -> None:
    patch = unwound(("f.orig", 0, 16), ("f", 0, 200))
    layout = lay_out(patch)
    made = layout.unwinding
    assert made is not None
    frames, f, orig = (layout.sections[n] for n in (section_number(patch, ".eh_frame"), 1, 2))
    for following, wanted in ((0, BASE + made.continuation), (0x7D0000001000, 0x7D0000001000)):
        linked = link(patch, layout, replace(PLACE, runtime=replace(RUNTIME, following=Address(following))))
        whole = linked.text + linked.data
        code = whole[made.continuation :][: finder.CONTINUATION_SIZE]
        behind = RUNTIME.function + RUNTIME.entry + len(RUNTIME.displaced)
        assert code == finder.encode_continuation(RUNTIME.displaced, behind)
        assert finder.displaced_by(code, RUNTIME.function + RUNTIME.entry) == RUNTIME.displaced
        assert struct.unpack_from("<Q", whole, made.following)[0] == wanted
        assert whole[made.finder :][: finder.FINDER_SIZE] == finder.encode_finder(
            made.finder, layout.text_size, made.rows, 2, made.following
        )
        described = finder.decode_rows(whole[made.rows :][: 2 * finder.ROW.size])
        assert described == [
            finder.Described(f, f + 200, frames + 40),
            finder.Described(orig, orig + 16, frames + 20),
        ]
        assert linked.record.unwinding == PlacedUnwinding(
            Address(BASE + made.finder),
            Address(BASE + made.continuation),
            Address(BASE + made.rows),
            Address(BASE + made.following),
            2,
        )


def test_without_a_runtime_the_finder_goes_nowhere() -> None:
    patch = unwound(("f", 0, 200))
    layout = lay_out(patch)
    made = layout.unwinding
    assert made is not None
    linked = link(patch, layout, PLACE)
    whole = linked.text + linked.data
    assert whole[made.continuation :][: finder.CONTINUATION_SIZE] == b"\xcc" * finder.CONTINUATION_SIZE
    assert whole[made.following :][:8] == bytes(8)


@pytest.mark.parametrize(
    "rows",
    [
        [("f", 0, 200), ("f", 199, 1)],  # twice
        [("f", 0, 100), ("f", 50, 100)],
        [("constant", 0, 8)],  # no code
        [("f.orig", 0, 17)],  # behind the last code
        [("f", -1, 8)],  # before the first
        [("variable", 0, 8)],
    ],
    ids=str,
)
def test_unwind_tables_that_describe_something_else_than_the_code_are_refused(rows: list[tuple[str, int, int]]) -> None:
    patch = unwound(*rows)
    with pytest.raises(BadPatch, match=r"\.eh_frame describes what is none of its code, or some twice"):
        link(patch, lay_out(patch), PLACE)


def test_unwind_tables_that_are_none_are_refused() -> None:
    patch = patch_of([], more=[NewSection(".eh_frame", A, b"\4\0\0\0\4\0\0\0", 8)])
    with pytest.raises(BadPatch, match=r"\.eh_frame: no common entry"):
        lay_out(patch)
    still = unwound(("f", 0, 0))
    with pytest.raises(BadPatch, match=r"\.eh_frame: an entry for no code"):
        link(still, lay_out(still), PLACE)


def section_number(patch: PatchFile, name: str) -> int:
    return next(s.index for s in patch.sections if s.name == name)


def test_addresses_wrap_at_the_end_of_memory_and_keep_every_bit() -> None:
    patch = patch_of(
        [],
        [
            NewRelocation(SectionOffset(0), R.R_64, "image", 2),
            NewRelocation(SectionOffset(16), R.R_64, "image", -0x1235),
        ],
    )
    layout = lay_out(patch)
    low = replace(PLACE, bias=Bias(-0x1233 % (1 << 64)))
    linked = link(patch, layout, low)
    data = layout.sections[section_number(patch, ".data")] - layout.text_size
    assert struct.unpack_from("<Q", linked.data, data)[0] == 3
    assert struct.unpack_from("<Q", linked.data, data + 16)[0] == (1 << 64) - 0x1234


def test_the_record_says_where_each_tripwire_counts() -> None:
    counters = NewSection(COUNTERS, WA, b"", 8, SectionType.NOBITS, 24)
    wires = tuple(Tripwire("a.c", 9 + n, "f", "x > 1", "return", "x.patch", ("CVE-2099-1",), 8 * n) for n in range(3))
    patch = patch_of([], more=[counters], tripwires=wires)
    layout = lay_out(patch)
    start = BASE + layout.sections[section_number(patch, COUNTERS)]
    found = link(patch, layout, PLACE).record.tripwires
    assert [(t.line, t.condition, t.counter) for t in found] == [(9 + n, "x > 1", start + 8 * n) for n in range(3)]
    assert start % 8 == 0 and BASE + layout.text_size < start < BASE + layout.size - 24
