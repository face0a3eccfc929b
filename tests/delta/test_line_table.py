"""Lines to functions; `objdump --dwarf=decodedline` is the judge."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from suture.delta.line_table import LineTable
from suture.elf.file import ElfFile

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
