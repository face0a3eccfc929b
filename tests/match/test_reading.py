"""What filled-in fields say, each under the name that the code has for it; the binary is a few slots by hand."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from suture.elf.abi import SymbolBind, SymbolType
from suture.elf.fact import Section, Symbol
from suture.elf.file import ElfFile
from suture.match.compiled import TaggedObject
from suture.match.linker_edit import Implied, Kind
from suture.match.reading import Reading
from suture.match.run import Run, Slot, SlotKind
from suture.number import Vaddr
from tests.delta.compiled import object_of

CODE = """
.section .text.f,"ax"
.globl f, outside
.type f,@function
.type own,@function
f: nop
   call outside
   lea text(%rip), %rdi
   mov outside@GOTPCREL(%rip), %rax
   lea state+8(%rip), %rsi
   ret
.size f,.-f
own: ret
.size own,.-own
.section .text.shared,"axG",@progbits,shared,comdat
.weak shared
.type shared,@function
shared: nop
alone: ret
.section .rodata.str1.1,"aMS",@progbits,1
.asciz "one"
text: .asciz "two"
.section .data.state,"aw"
.quad 1
state: .quad 2
"""
BASE = Vaddr(0x10000)
PLACE = "u.c .text.f+0x1"


@dataclass
class Binary:
    """As far as fields are looked up in it."""

    slots: dict[int, Slot] = field(default_factory=dict)
    plt: dict[int, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def obj() -> TaggedObject:
    return TaggedObject(ElfFile(object_of(CODE, suffix=".s"), "a.o"), "plain")


def reading(slots: dict[int, Slot] | None = None, plt: dict[int, int] | None = None) -> Reading:
    return Reading("u.c", cast(Run, Binary(slots or {}, plt or {})))


def slot(kind: SlotKind = SlotKind.SYMBOL, symbol: str = "", version: str = "", value: int = 0) -> Slot:
    return Slot(Vaddr(0x30000), kind, symbol, version, value, False, True)


def named(obj: TaggedObject, name: str) -> Symbol:
    return next(s for s in obj.elf.symbols if s.name == name)


def section(obj: TaggedObject, name: str) -> Section:
    return next(s for s in obj.elf.sections if s.name == name)


def told(obj: TaggedObject, symbol: Symbol, kind: Kind, value: int, by: Reading) -> list[tuple[Kind, str, int]] | None:
    rows = by.noted(obj, symbol, Implied(kind, value), PLACE)
    assert rows is None or all(place.startswith(PLACE) for *_, place in rows)
    return None if rows is None else [(k, n, v) for k, n, v, _ in rows]


def test_each_field_is_read_where_it_stands(obj: TaggedObject) -> None:
    """The fields are filled in here as the linker does (psABI, table 4.9)."""
    text = section(obj, ".text.f")
    run = bytearray(obj.elf.bytes_of(text))
    targets = {"outside": [0x20000, 0x30000], "text": [0x40004], ".data.state": [0x50010]}
    wanted = []
    for row in obj.relocations(text):
        symbol = obj.elf.symbols[row.symbol]
        target = targets[symbol.name or obj.elf.sections[symbol.st_shndx].name].pop(0)
        struct.pack_into("<i", run, row.r_offset, target - (BASE + row.r_offset + 4))
        wanted.append((row.r_offset, target - 4 - row.r_addend))
    rows = list(reading().fields(obj, text, BASE, bytes(run)))
    assert [(row.r_offset, found.value) for row, found in rows if found] == wanted and len(rows) == 4
    assert [found.kind for _, found in rows if found] == [Kind.CALL, Kind.ADDRESS, Kind.SLOT, Kind.ADDRESS]
    # a part of the section, as bytes from there on
    low = rows[1][0].r_offset - 3
    part = list(reading().fields(obj, text, BASE, bytes(run[low:]), low, len(run)))
    assert part == rows[1:]
    assert list(reading().fields(obj, text, BASE, bytes(run[:low]), 0, low)) == rows[:1]


def test_of_what_the_linker_merged_no_base_is_told(obj: TaggedObject) -> None:
    """Pieces of merged sections move independently."""
    merged = section(obj, ".rodata.str1.1")
    base = replace(named(obj, "text"), name="", type=SymbolType.SECTION, st_value=0)
    assert told(obj, base, Kind.ADDRESS, 0x40000, reading()) == []
    piece = named(obj, "text")
    key = f"plain:.rodata.str1.1#{merged.index}+0x4"
    assert told(obj, piece, Kind.ADDRESS, 0x40004, reading()) == [(Kind.ADDRESS, key, 0x40004)]
    data = section(obj, ".data.state")
    other = next(s for s in obj.elf.symbols if s.type == SymbolType.SECTION and s.st_shndx == data.index)
    known = [(Kind.ADDRESS, f"plain:.data.state#{data.index}", 0x50000)]
    assert told(obj, other, Kind.ADDRESS, 0x50000, reading()) == known


def test_what_is_local_is_told_by_the_base_of_its_section_and_what_is_global_by_its_name(obj: TaggedObject) -> None:
    own, f = named(obj, "own"), named(obj, "f")
    assert own.st_value
    key = f"plain:.text.f#{own.st_shndx}"
    base = [(Kind.ADDRESS, key, 0x10000)]
    assert told(obj, own, Kind.ADDRESS, 0x10000 + own.st_value, reading()) == base
    assert told(obj, own, Kind.CALL, 0x10000 + own.st_value, reading()) == base
    assert told(obj, f, Kind.CALL, 0x10000, reading()) == [(Kind.CALL, "f", 0x10000)]
    outside = named(obj, "outside")
    assert told(obj, outside, Kind.CALL, 0x20000, reading()) == [(Kind.CALL, "outside", 0x20000)]
    assert told(obj, outside, Kind.ADDRESS, 0x20000, reading()) == [(Kind.ADDRESS, "outside", 0x20000)]
    assert told(obj, own, Kind.MODULE_OFFSET, 24, reading()) == [(Kind.MODULE_OFFSET, "own", 24)]
    assert told(obj, own, Kind.LOCAL_MODULE_SLOT, 0x7000, reading()) == [(Kind.LOCAL_MODULE_SLOT, "", 0x7000)]


def test_a_local_place_in_a_section_that_units_share_says_nothing_of_this_unit(obj: TaggedObject) -> None:
    shared, alone = named(obj, "shared"), named(obj, "alone")
    assert told(obj, alone, Kind.ADDRESS, 0x60001, reading()) == []
    assert told(obj, shared, Kind.ADDRESS, 0x60000, reading()) == [(Kind.ADDRESS, "shared", 0x60000)]


def test_a_call_through_the_plt_is_one_of_the_same_name_or_the_code_is_another(obj: TaggedObject) -> None:
    by = reading({0x30000: slot(symbol="outside", version="V1")}, {0x1020: 0x30000})
    outside = named(obj, "outside")
    call = [(Kind.CALL, "outside", 0x1020)]
    assert told(obj, outside, Kind.CALL, 0x1020, by) == call
    assert told(obj, named(obj, "f"), Kind.CALL, 0x1020, by) is None
    for name, fits in (("outside@V1", True), ("outside@@V1", True), ("outside@V2", False), ("other@V1", False)):
        found = told(obj, replace(outside, name=name), Kind.CALL, 0x1020, by)
        assert (found is not None) is fits, name
    unnamed = reading({0x30000: slot(SlotKind.INDIRECT)}, {0x1020: 0x30000})
    assert told(obj, outside, Kind.CALL, 0x1020, unnamed) == call, "a slot without a name says nothing"


def test_the_address_of_a_function_that_is_chosen_at_run_time_may_be_that_of_its_plt_entry(obj: TaggedObject) -> None:
    chosen = replace(named(obj, "outside"), type=SymbolType.GNU_IFUNC)
    by = reading({0x30000: slot(SlotKind.INDIRECT)}, {0x1020: 0x30000})
    assert told(obj, chosen, Kind.ADDRESS, 0x1020, by) == []
    assert told(obj, chosen, Kind.ADDRESS, 0x2000, by) == [(Kind.ADDRESS, "outside", 0x2000)]
    plain = named(obj, "outside")
    assert told(obj, plain, Kind.ADDRESS, 0x1020, by) == [(Kind.ADDRESS, "outside", 0x1020)]


def test_a_slot_that_the_loader_fills_with_an_address_tells_where_its_symbol_is(obj: TaggedObject) -> None:
    by = reading({0x30000: slot(SlotKind.RELATIVE, value=0x50008)})
    state = replace(named(obj, "state"), bind=SymbolBind.LOCAL)
    key = f"plain:.data.state#{state.st_shndx}"
    assert state.st_value == 8
    assert told(obj, state, Kind.SLOT, 0x30000, by) == [(Kind.SLOT, key, 0x30000), (Kind.ADDRESS, key, 0x50000)]
    alone = told(obj, state, Kind.SLOT, 0x30000, reading())
    assert (
        alone
        == [(Kind.SLOT, key, 0x30000)]
        == told(obj, state, Kind.SLOT, 0x30000, reading({0x30000: slot(SlotKind.INDIRECT)}))
    )
    other = reading({0x30000: slot(symbol="other")})
    assert told(obj, named(obj, "outside"), Kind.SLOT, 0x30000, other) is None
    same = reading({0x30000: slot(symbol="outside")})
    assert told(obj, named(obj, "outside"), Kind.SLOT, 0x30000, same) == [(Kind.SLOT, "outside", 0x30000)]


def test_a_field_that_is_no_known_edit_makes_the_whole_section_another(obj: TaggedObject) -> None:
    text = section(obj, ".text.f")
    load = obj.relocations(text)[2]
    run = bytearray(obj.elf.bytes_of(text))
    known = reading().implied(obj, text, BASE, bytes(run))
    assert known is not None and [k for k, *_ in known] == [
        Kind.CALL, Kind.ADDRESS, Kind.SLOT, Kind.ADDRESS,
    ]  # fmt: skip
    assert known[0][3] == f"u.c .text.f+{obj.relocations(text)[0].r_offset:#x}"
    run[load.r_offset - 2] = 0x89  # a store in place of a load
    assert reading().implied(obj, text, BASE, bytes(run)) is None
