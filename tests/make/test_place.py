"""New code and data in the sections of a patch: readelf and the bytes of the compiler's objects are the judges."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from suture.compile.unit import Variant
from suture.elf.abi import R, SectionFlag, SectionType
from suture.elf.file import ElfFile
from suture.make.place import PatchSection
from suture.patch.file import ALLOWED_RELOCATIONS, parse_patch

SOURCE = """
#include <stdio.h>
static long state = 4;
long f(long x) { return x * 3 + state; }
long g(long x) { state += x; return state; }
"""
FIXED = """
#include <stdio.h>
static long state = 4, counted, limit = 9;
static const long table[] __attribute__((aligned(64))) = {3, 1, 4, 1, 5};
static const char *const names[] = {"twice", "once", "twice"};
__attribute__((noinline)) static long helper(long x) { counted += x; limit++; return counted + limit + table[x & 3]; }
long f(long x) { char b[20]; snprintf(b, sizeof b, "%s %s", names[x & 1], "once"); return helper(x) + b[0] + state; }
long g(long x) { state += x; return state; }
"""


@pytest.fixture
def made(package: Any) -> Any:
    return package(SOURCE, FIXED, "f g")


def test_an_output_aligns_each_piece_and_fills_code_with_traps_and_data_with_zeros() -> None:
    for name, fill in ((".text", b"\xcc"), (".text.orig", b"\xcc"), (".rodata", b"\0"), (".data", b"\0")):
        output = PatchSection(name)
        assert [output.append(b"abc", 1), output.append(b"de", 16), output.append(b"f", 4)] == [0, 16, 20]
        assert bytes(output.data) == b"abc" + fill * 13 + b"de" + fill * 2 + b"f" and output.align == 16


def test_sections_hold_what_their_flags_say(made: Any) -> None:
    elf = made.patch().object
    flags = {s.name: (s.sh_flags & 7, s.sh_type) for s in elf.sections if s.is_alloc and s.name != ".eh_frame"}
    code, data = SectionFlag.ALLOC | SectionFlag.EXECINSTR, SectionFlag.ALLOC | SectionFlag.WRITE
    assert flags == {
        ".text": (code, SectionType.PROGBITS),
        ".text.orig": (code, SectionType.PROGBITS),
        ".rodata": (SectionFlag.ALLOC, SectionType.PROGBITS),
        ".data": (data, SectionType.PROGBITS),
        ".bss": (data, SectionType.NOBITS),
    }
    rodata = elf.section(".rodata")
    assert rodata is not None and rodata.sh_addralign == 64


def test_readelf_takes_the_object_without_a_word(made: Any, tmp_path: Any) -> None:
    path = tmp_path / "p.o"
    path.write_bytes(made.patch().object.data)
    done = subprocess.run(["readelf", "--all", "--wide", path], capture_output=True, text=True, check=True)
    assert done.stderr == "" and " helper" in done.stdout


def test_new_code_is_the_compilers_but_for_its_fields(made: Any) -> None:
    patch = made.patch()
    post: ElfFile = made.object("post", "a.c", Variant.SECTIONS)
    text = patch.object.section(".text")
    assert text is not None
    for name in ("f", "helper"):
        symbol = patch.symbol(name)
        assert symbol.st_value % 16 == 0
        placed = bytearray(patch.object.bytes_of(text)[symbol.st_value : symbol.st_value + symbol.st_size])
        section = post.section(f".text.{name}")
        assert section is not None
        expected = bytearray(post.bytes_of(section))
        rows = post.relocations_by_section[section.index]
        ours = [
            r.r_offset - symbol.st_value
            for r in patch.object.relocations_by_section[text.index]
            if symbol.st_value <= r.r_offset < symbol.st_value + symbol.st_size
        ]
        assert ours == sorted(r.r_offset for r in rows)
        for offset in ours:
            placed[offset : offset + 4] = expected[offset : offset + 4] = bytes(4)
        assert placed == expected


def test_only_relocations_of_the_format_are_written(made: Any) -> None:
    elf = made.patch().object
    kinds = {r.r_type for rows in elf.relocations_by_section.values() for r in rows}
    assert kinds and kinds <= ALLOWED_RELOCATIONS and R.R_64 in kinds


def test_equal_strings_are_there_once(made: Any) -> None:
    elf = made.patch().object
    rodata = elf.section(".rodata")
    assert rodata is not None
    assert [elf.bytes_of(rodata).count(text) for text in (b"twice\0", b"once\0", b"%s %s\0")] == [1, 1, 1]


def test_running_state_is_the_images_and_new_state_is_the_patchs(made: Any) -> None:
    patch = made.patch()
    assert patch.manifest.symbols["state"].address == made.symbols()["state"][0]
    own = {s.name for s in patch.object.symbols if s.has_section}
    assert {"counted", "limit", "table", "names", "helper"} <= own and "state" not in own
    assert not {"counted", "limit", "table", "names", "helper"} & patch.manifest.symbols.keys()


def test_two_units_with_one_name_get_two_symbols(package: Any) -> None:
    unit = (
        "static long seen = {n};\nlong {f}(long x) {{ return x * {n}; }}\n"
        "long keep_{f}(long x) {{ seen += x; return seen; }}\n"
    )
    sources = {f"{f}.c": unit.format(n=n, f=f) for n, f in ((3, "one"), (5, "two"))}
    fix = {
        name: text.replace("return x * ", "static long now; now += x; return now * seen + x * ")
        for name, text in sources.items()
    }
    made = package(sources, fix, "one two keep_one keep_two")
    patch = made.patch()
    own = [s.name for s in patch.object.symbols if s.has_section and s.name.startswith("now")]
    assert len(own) == len(set(own)) == 2
    assert len({s.address for n, s in patch.manifest.symbols.items() if n.startswith("seen")}) == 2
    target = made.start()
    target.apply(patch)
    assert (target.ask("one", 2), target.ask("two", 2)) == (2 * 3 + 6, 2 * 5 + 10)


def test_the_same_change_is_laid_out_the_same(made: Any) -> None:
    assert made.build().data == made.build().data == parse_patch(made.build().data, "p").object.data
