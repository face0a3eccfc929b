"""An object as matching sees it, of C compiled in the test."""

from __future__ import annotations

import pytest

from suture.elf.abi import SymbolBind
from suture.elf.fact import Section, Symbol
from suture.elf.file import ElfFile
from suture.match.compiled import TaggedObject, is_own
from tests.delta.compiled import object_of

SOURCE = """
extern int other(int);
static int counter;
const char *text(void) { return "text"; }
static __attribute__((noinline)) int local(int x) { return other(x) + ++counter; }
int global(int x) { return local(x) * 3; }
__attribute__((weak)) int weak(int x) { return x; }
"""


@pytest.fixture(scope="module")
def compiled() -> TaggedObject:
    return TaggedObject(
        ElfFile(object_of(SOURCE, "-O1", "-fno-function-sections", "-fno-data-sections"), "a.o"), "plain"
    )


def named(obj: TaggedObject, name: str) -> Symbol:
    return next(s for s in obj.elf.symbols if s.name == name)


def text(obj: TaggedObject) -> Section:
    return next(s for s in obj.code if s.name == ".text")


def test_functions_are_listed_by_section_in_the_order_of_their_places(compiled: TaggedObject) -> None:
    rows = compiled.functions[text(compiled).index]
    assert {s.name for s in rows} == {"text", "local", "global", "weak"}
    assert [s.st_value for s in rows] == sorted(s.st_value for s in rows)


def test_a_pattern_leaves_the_fields_open_and_no_other_byte(compiled: TaggedObject) -> None:
    section = text(compiled)
    data = compiled.elf.bytes_of(section)
    rows = compiled.relocations(section)
    whole = compiled.pattern(section)
    assert rows and whole.matches(data, 0)
    changed = bytearray(data)
    for row in rows:
        changed[row.r_offset : row.r_offset + 4] = b"\xaa" * 4
    assert whole.matches(bytes(changed), 0)
    fields = {n for r in rows for n in range(r.r_offset - 3, r.r_offset + 4)}
    at = next(n for n in range(len(data)) if n not in fields)
    changed[at] ^= 1
    assert not whole.matches(bytes(changed), 0)
    function = named(compiled, "global")
    part = compiled.pattern(section, function.st_value, function.st_value + function.st_size)
    assert part.matches(data, function.st_value) and part.compared < whole.compared


def test_what_is_local_is_noted_by_its_section_and_what_is_global_by_its_name(compiled: TaggedObject) -> None:
    local, known = named(compiled, "local"), text(compiled)
    assert local.bind == SymbolBind.LOCAL
    assert compiled.key(local) == (f"plain:.text#{known.index}", local.st_value)
    assert compiled.key(named(compiled, "global")) == ("global", 0)
    assert compiled.key(named(compiled, "other")) == ("other", 0)
    merged = next(s for s in compiled.elf.sections if s.is_merge and s.is_strings and s.is_alloc)
    piece = Symbol(99, ".LC0", 5, 0, 0, SymbolBind.LOCAL, 0, merged.index)
    assert compiled.key(piece) == (f"plain:{merged.name}#{merged.index}+0x5", 0)


def test_a_symbol_is_a_sections_own_unless_another_may_take_its_place(compiled: TaggedObject) -> None:
    section = text(compiled)
    own = {s.name for s in compiled.elf.symbols if s.name and is_own(s, section)}
    assert {"text", "local", "global"} <= own and not {"weak", "other", "counter"} & own


SECTIONS = """
.section .text.f,"ax"
f: ret
.section .text.empty,"ax"
.section .init.array,"ax",@nobits
.skip 8
.section .plain,"a"
.quad 1
.section .data.written,"aw"
.quad 2
.section .unloaded,"x"
ret
"""


def test_only_sections_with_code_that_is_loaded_count() -> None:
    obj = TaggedObject(ElfFile(object_of(SECTIONS, suffix=".s"), "a.o"), "plain")
    assert [s.name for s in obj.code] == [".text.f"]
