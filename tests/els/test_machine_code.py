"""Functions of programs that gcc makes, compared."""

from __future__ import annotations

import subprocess
from pathlib import Path

from suture.elf.file import ElfFile
from suture.els.machine_code import ChangedFunction, changed_functions

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
    assert changed_functions(old, old, new, new) == (ChangedFunction("first", False),)
    assert changed_functions(old, old, old, old) == ()


def test_a_line_number_that_moves_is_no_change_and_any_other_constant_is(tmp_path: Path) -> None:
    """As an assert() below a fix has it: the function is the same but for the number of its line."""
    checked = "void told(int); int first(int x) { if (x) told(%d); return x + %d; }"
    text = "__attribute__((noinline)) void told(int n) { table[0] = n; }\n" + checked
    old, moved, other = (
        program(tmp_path, name, text % n) for name, n in (("a", (7, 100)), ("b", (9, 100)), ("c", (9, 101)))
    )
    assert changed_functions(old, old, moved, moved, frozenset({(7, 9)})) == (ChangedFunction("first", True),)
    assert changed_functions(old, old, moved, moved, frozenset({(7, 8)})) == (ChangedFunction("first", False),)
    assert changed_functions(old, old, other, other, frozenset({(7, 9)})) == (ChangedFunction("first", False),)
    # 100 becomes 101 in an addition, which is no line number whatever moved
    assert not changed_functions(old, old, other, other, frozenset({(7, 9), (100, 101)}))[0].by_lines
