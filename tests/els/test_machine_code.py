"""Functions of programs that gcc makes, compared."""

from __future__ import annotations

import subprocess
from pathlib import Path

from suture.elf.file import ElfFile
from suture.els.machine_code import changed_functions

SOURCE = """
static int table[] = {1, 2, 3};
%s
int last(int x) { return first(x) + table[x]; }
int main(void) { return last(1); }
"""


def program(folder: Path, name: str, first: str) -> ElfFile:
    (folder / f"{name}.c").write_text(SOURCE % first)
    subprocess.run(["gcc", "-O1", "-fno-inline", "-o", name, f"{name}.c"], cwd=folder, check=True)
    return ElfFile.read(folder / name)


def test_a_function_that_moves_is_the_same_and_one_that_is_larger_is_not(tmp_path: Path) -> None:
    old = program(tmp_path, "old", "int first(int x) { return x + 1; }")
    new = program(tmp_path, "new", "int first(int x) { for (int n = 0; n < x; n++) x += table[n % 3]; return x; }")
    assert changed_functions(old, old, new, new) == ("first",)
    assert changed_functions(old, old, old, old) == ()
