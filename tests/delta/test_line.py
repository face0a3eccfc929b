from __future__ import annotations

from suture.delta.line import line_of
from suture.elf.file import ElfFile
from tests.delta.compiled import object_of

TEXT = (
    "extern int other;\n\nint shown = 4;\nstatic int state;\n\nint f(int x)\n{\n  static int n;\n"
    "  return x + other + ++n + ++state;\n}\nstruct f { int a; } s;\n"
)


def test_a_function_or_variable_is_where_the_source_declares_it() -> None:
    elf = ElfFile(object_of(TEXT, "-g"))
    assert {n: line_of(elf, n) for n in ("f", "f.part.0", "shown", "state", "n", "other", "s", "nothing")} == {
        "f": 6, "f.part.0": 6, "shown": 3, "state": 4, "n": 8, "other": 1, "s": 11, "nothing": 0,
    }  # fmt: skip


def test_without_debug_information_nothing_is_told() -> None:
    assert line_of(ElfFile(object_of(TEXT, "-g0")), "f") == 0
