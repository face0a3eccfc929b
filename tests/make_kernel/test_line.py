"""Where declarations stand, as the object's debug information has it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from suture.elf.file import ElfFile
from suture.make_kernel.line import DeclarationLines, in_tree
from suture.make_kernel.prepare import ROOT

SOURCE = """\
extern int elsewhere(int);
int here = 3;

static __attribute__((noinline)) int inner(int x) { return elsewhere(x); }
int outer(int x) { static int kept; return inner(x) + kept++; }
"""


def test_functions_and_variables_have_their_line_and_what_is_only_declared_has_none(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/u.c").write_text(SOURCE)
    words = ["gcc", "-O2", "-g", f"-ffile-prefix-map={tmp_path}={ROOT}", "-c", f"{tmp_path}/sub/u.c", "-o", "u.o"]
    subprocess.run(words, cwd=tmp_path, check=True)
    lines = DeclarationLines(ElfFile.read(tmp_path / "u.o"))
    assert [lines.place(n) for n in ("here", "inner", "outer")] == [("sub/u.c", n) for n in (2, 4, 5)]
    assert lines.place("inner.constprop.0") == ("sub/u.c", 4) and lines.place("kept.1") == ("sub/u.c", 5)
    assert lines.place("elsewhere") == lines.place("nobody") == ("", 0)


def test_a_path_is_relative_to_the_tree() -> None:
    assert in_tree(f"{ROOT}/mm/slub.c") == in_tree("./mm/slub.c") == in_tree("mm/slub.c") == "mm/slub.c"
