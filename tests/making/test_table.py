"""A fix adds a row to a table of functions: what the old rows point to is read from the shipped table, and needs no
other proof."""

from __future__ import annotations

from typing import Any

import pytest

from suture.elf.abi import PT_LOAD
from suture.elf.file import ElfFile

PADDING = (
    "long padding(long x) { long r = x; for (long n = 1; n < x; n++) r = r * 31 + (r >> 3) + n * 5 - 77; return r; }\n"
)
# made by a macro, so that no search of the sources finds a definition
MAKERS = """
#define HIDDEN __attribute__((visibility("hidden")))
#define MAKE(kind, factor) HIDDEN long kind##_maker(long x) { return x * factor; }
MAKE(first, 3) MAKE(second, 5) MAKE(third, 7)
"""
TABLE = """
#define HIDDEN __attribute__((visibility("hidden")))
HIDDEN long first_maker(long); HIDDEN long second_maker(long); HIDDEN long third_maker(long);
struct row { const char *name; long (*make)(long); };
static const struct row rows[] = { {"first", first_maker}, {"second", second_maker}, {0, 0} };
__attribute__((noinline)) static const struct row *all(long x) { __asm__ volatile("" : "+r"(x));
    return x < 0 ? 0 : rows; }
long sum(long x) { long r = 0; for (const struct row *p = all(x); p && p->name; p++) r += p->make(x); return r; }
"""


@pytest.mark.parametrize("shape", ["library", "pie", "fixed"])
def test_rows_of_a_table_go_where_the_shipped_table_points(package: Any, shape: str, monkeypatch: Any) -> None:
    sources = {"a.c": MAKERS + PADDING, "b.c": TABLE + PADDING.replace("padding", "more")}
    fixed = {"b.c": sources["b.c"].replace("second_maker}, {0", 'second_maker}, {"second", second_maker}, {0')}
    made = package(sources, fixed, "sum", shape)
    monkeypatch.setattr(made, "elsewhere", lambda name: None)
    patch = made.patch()
    for name in ("first_maker", "second_maker"):
        assert patch.manifest.symbols[name].address == made.symbols()[name][0]
    target = made.start()
    assert target.ask("sum", 2) == 16
    target.apply(patch)
    assert target.ask("sum", 2) == 26
    target.revert(patch)
    assert target.ask("sum", 2) == 16


def test_a_table_with_other_contents_than_the_source_names_nothing(package: Any) -> None:
    sources = {"a.c": MAKERS + PADDING, "b.c": TABLE.replace("long (*make)(long); }", "long (*make)(long); long n; }")}
    made = package(sources, {}, "sum")
    assert made.match("b.c").address_of("first_maker") == made.symbols()["first_maker"][0]
    # another number beside the pointers in what was shipped: the table is not the one of the source
    made.shipped.write_bytes(_with_number(made.shipped.read_bytes(), made.symbols()["rows"][0]))
    assert made.match("b.c").address_of("first_maker") is None


def _with_number(data: bytes, address: int) -> bytes:
    elf = ElfFile(data, "shipped")
    segment = next(s for s in elf.segments if s.p_type == PT_LOAD and s.p_vaddr <= address < s.p_vaddr + s.p_memsz)
    at = segment.p_offset + address - segment.p_vaddr + 16
    return data[:at] + b"\1" + data[at + 1 :]
