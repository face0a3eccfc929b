"""Post keeps the line numbers of what the fix leaves alone."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from suture.make_kernel.overlay import Contents, kept_lines, layer
from suture.make_kernel.prepare import ROOT, KernelTree
from suture.source.fix import parse

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


def test_a_unit_is_known_by_what_it_reads_of_the_layer(tmp_path: Path) -> None:
    def contents(key: str, **files: str) -> Contents:
        layer = tmp_path / key
        for folder, base in (
            (tmp_path / "tree", {"a.h": "int a;", "b.h": "int b;"}),
            (layer / ROOT.lstrip("/"), files),
        ):
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in base.items():
                (folder / name.replace("_", ".")).write_text(text)
        return Contents(cast(KernelTree, SimpleNamespace(files=tmp_path / "tree")), layer, key)

    one, two = contents("one", a_h="int a1;", b_h="int b1;"), contents("two", a_h="int a1;", b_h="int b2;")
    assert one.key(["x.c", "a.h"]) == two.key(["x.c", "a.h"]) != "", "b.h is another, and it does not read it"
    assert one.key(["x.c", "b.h"]) != two.key(["x.c", "b.h"]) and one.key(["x.c"]) == ""
    more = contents("more", a_h='#include "c.h"\nint a1;', b_h="int b1;")
    assert more.key(["a.h"]) == "more" and more.key(["b.h"]) == one.key(["b.h"])
    fresh = contents("fresh", a_h="int a1;", c_h="int c;")
    assert fresh.key(["a.h"]) == fresh.key(["x.c"]) == "fresh", "a new file may be found before the one that was"


def test_a_file_that_a_fix_deletes_is_not_in_the_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who reads it refuses the fix; where nobody does, the rest stands."""
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    for name in ("a.c", "b.c"):
        (tmp_path / name).write_text("int a;\n")
    tree = cast(KernelTree, SimpleNamespace(key="k", files=tmp_path))
    fix = parse(
        "--- a/a.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-int a;\n--- a/b.c\n+++ b/b.c\n@@ -1 +1 @@\n-int a;\n+int b;\n", "f"
    )
    root = layer(tree, [fix])[0] / ROOT.lstrip("/")
    assert not (root / "a.c").exists() and (root / "b.c").read_text() == "int b;\n"
