"""Post keeps the line numbers of what the fix leaves alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

from suture.make_kernel.overlay import kept_lines

_OLD = """int first(int a)
{
\treturn a;
}

int second(void)
{
\treturn __LINE__;
}
"""


def value_of_second(tmp_path: Path, text: str) -> str:
    source = tmp_path / "unit.c"
    source.write_text(text + '\nint printf(const char *, ...);\nint main(void) { printf("%d", second()); }\n')
    subprocess.run(["gcc", "-o", str(tmp_path / "program"), str(source)], check=True)
    return subprocess.run([str(tmp_path / "program")], check=True, capture_output=True, text=True).stdout


def test_lines_behind_a_change_keep_their_numbers(tmp_path: Path) -> None:
    new = _OLD.replace("\treturn a;", "\tif (a < 0)\n\t\treturn 0;\n\treturn a;")
    assert value_of_second(tmp_path, _OLD) == "8"
    assert value_of_second(tmp_path, new) == "10"
    assert value_of_second(tmp_path, kept_lines(_OLD, new, "unit.c")) == "8"


def test_a_change_that_moves_nothing_leaves_the_text_alone() -> None:
    new = _OLD.replace("return a;", "return -a;")
    assert kept_lines(_OLD, new, "unit.c") == new


def test_no_line_is_set_inside_a_macro_or_an_argument_list() -> None:
    old = "int a;\n#define M(x) \\\n\tdo { \\\n\t} while (0)\nint f(int x,\n      int y)\n{\n}\n\nint b;\n"
    new = old.replace("int a;\n", "int a;\nint c;\n")
    lines = kept_lines(old, new, "unit.c").split("\n")
    at = next(n for n, x in enumerate(lines) if x.startswith("#line"))
    assert not lines[at - 1].endswith(("\\", ","))
    assert lines[at + 1] in ("int f(int x,", "int b;")
