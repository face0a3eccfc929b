"""Lines to functions; `objdump --dwarf=decodedline` is the judge."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from suture.delta.line_table import LineTable
from suture.elf.file import BadElf, ElfFile
from tests.delta.compiled import object_of

HEADER = "static inline int twice(int x) {\n  return x *\n    2;\n}\n"
SOURCE = """#include <stdio.h>
#include "twice.h"
#define LIMIT 9

int plain(int x) {
  int y;

  y = twice(x);
  return y > LIMIT ? puts("large") : y;
}
enum { A };
__attribute__((noinline)) static int
loop(int n) {
  int sum = 0;
  for (int i = 0; i < n; i++)
    sum += printf("%d", i);
  return sum;
}
int caller(int x) { return loop(x) + twice(x); }
"""


def compiled(folder: Path, *flags: str) -> ElfFile:
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub/twice.h").write_text(HEADER)
    (folder / "a.c").write_text(SOURCE)
    out = folder / "a.o"
    command = ["gcc", "-g", "-Isub", "-ffunction-sections", *flags, "-c", "a.c", "-o", str(out)]
    subprocess.run(command, cwd=folder, check=True)
    return ElfFile.read(out)


def functions(elf: ElfFile, file: str, line: int, around: bool = False) -> set[str]:
    table = LineTable(elf)
    (name,) = (f for f in table.sections if f.endswith(file))
    sections = table.around(name, line) if around else table.sections[name].get(line, frozenset())
    return {elf.sections[s].name.removeprefix(".text.") for s in sections}


@pytest.mark.parametrize(
    "flags",
    [
        ("-O0",),
        ("-O2",),
        ("-O2", "-gdwarf-4"),
        ("-O1", "-gdwarf-5", "-gno-as-locview-support"),
        ("-O2", "-gdwarf-4", "-Wa,--gdwarf-3"),
    ],
)
def test_lines_are_those_that_objdump_decodes(tmp_path: Path, flags: tuple[str, ...]) -> None:
    elf = compiled(tmp_path, *flags)
    said = subprocess.run(
        ["objdump", "--dwarf=decodedline", tmp_path / "a.o"], capture_output=True, text=True, check=True
    )
    wanted = {(m[1], int(m[2])) for m in re.finditer(r"^(\S+\.[ch])\s+(\d+)\s+0", said.stdout, re.M)}
    found = {(Path(f).name, n) for f, lines in LineTable(elf).sections.items() for n in lines if n}
    assert wanted and found == wanted


def test_a_line_of_an_inlined_function_belongs_to_those_that_have_its_code(tmp_path: Path) -> None:
    elf = compiled(tmp_path, "-O2")
    assert functions(elf, "twice.h", 2) | functions(elf, "twice.h", 3) == {"plain", "caller"}
    assert functions(elf, "a.c", 16) == {"loop"}


def test_a_line_without_code_inside_a_function_belongs_to_it_and_one_between_functions_to_none(tmp_path: Path) -> None:
    elf = compiled(tmp_path, "-O2")
    assert functions(elf, "a.c", 6, around=True) == functions(elf, "a.c", 7, around=True) == {"plain"}
    assert functions(elf, "twice.h", 2, around=True) == {"plain", "caller"}
    for line in (3, 4, 11, 12):
        assert functions(elf, "a.c", line, around=True) == set()


def test_an_object_without_debug_information_has_no_lines(tmp_path: Path) -> None:
    assert LineTable(compiled(tmp_path, "-g0")).sections == {}


LINES = """
.section .text.f,"ax"
.type f,@function
f: nop; nop; ret
.size f,.-f
.section .text.g,"ax"
.type g,@function
g: ret
.size g,.-g
.section .debug_line,"",@progbits
start: .long end - 0f
0: .short {version}
.long program - 1f
1: .byte 1{most}
.byte 1, -3, 12, 13      # default_is_stmt, line_base, line_range, opcode_base
.byte 0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1
.asciz "inc"
.byte 0
.asciz "a.c"
.byte 0, 0, 0
.asciz "b.h"
.byte 1, 0, 0
.byte 0
program:
.byte 0, 9, 2            # set_address
.quad f
.byte 3, 9, 1            # advance_line 9: line 10; copy
.byte 8                  # const_add_pc
.byte 9                  # fixed_advance_pc
.short 0x0101
.byte 2, 0x81, 1         # advance_pc
.byte 13 + 3 + 12 + 5    # line 15
.byte 4, 2, 1            # b.h, copy
.byte 12, 0x85, 1        # set_isa
.byte 3, 0x7b, 1         # line 10
.byte 0, 5, 4, 1, 1, 1, 1 # set_discriminator
.byte 4, 3, 1            # a file that is none
.byte 0, 1, 1            # end_sequence
.byte 1                  # a row without an address
.byte 0, 9, 2
.quad g
.byte 3, 4, 1            # line 5 of a.c again
.byte 0, 1, 1
end:
"""


@pytest.mark.parametrize(("version", "most"), [(2, ""), (3, ""), (4, ", 1")])
def test_every_kind_of_row_is_understood(version: int, most: str) -> None:
    elf = ElfFile(object_of(LINES.format(version=version, most=most), suffix=".s"))
    found = {
        (file, line): {elf.sections[s].name for s in sections}
        for file, lines in LineTable(elf).sections.items()
        for line, sections in lines.items()
    }
    assert found == {
        ("a.c", 10): {".text.f"},
        ("a.c", 15): {".text.f"},
        ("inc/b.h", 15): {".text.f"},
        ("inc/b.h", 10): {".text.f"},
        ("a.c", 5): {".text.g"},
    }


def test_damaged_line_tables_cost_an_error_and_no_more() -> None:
    for flags in (("-g", "-gdwarf-5"), ("-g", "-gdwarf-4")):
        data = object_of(SOURCE.replace('#include "twice.h"\n', HEADER), *flags)
        elf = ElfFile(data)
        section = elf.section(".debug_line")
        assert section is not None
        refused = 0
        for at in range(section.sh_size):
            for value in (0, 1, 0x7F, 0x80, 0xFF):
                damaged = bytearray(data)
                damaged[section.sh_offset + at] = value
                try:
                    _ = LineTable(ElfFile(bytes(damaged))).sections
                except BadElf:
                    refused += 1
        assert refused > 20


def test_only_a_function_begins_where_it_is_defined() -> None:
    """One without a parameter or variable; and a variable between two functions begins nothing."""
    text = """extern int work(int);
int alone(void)
{

  return work(1) + 1;
}
int between;
int next(int x)
{
  return work(x) + 2;
}
"""
    elf = ElfFile(object_of(text, "-g"))
    table = LineTable(elf)
    (name,) = table.sections
    told = {n: {elf.sections[s].name for s in table.around(name, n)} for n in range(1, 12)}
    inside = {**dict.fromkeys(range(2, 7), ".text.alone"), **dict.fromkeys(range(8, 12), ".text.next")}
    assert {n: s for n, s in told.items() if s} == {n: {s} for n, s in inside.items()}
