"""What a later version changes beyond the fixes that are given."""

from __future__ import annotations

from pathlib import Path

from suture.make_kernel.reach import left_over


def tree(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


OLD = {"Makefile": "VERSION = 6\nSUBLEVEL = 176\nall:\n", "fs/pipe.c": "int a;\n", "mm/slab.c": "int b;\n"}


def left(tmp_path: Path, patched: dict[str, str], newer: dict[str, str]) -> list[str]:
    old, here, there = tree(tmp_path / "old", OLD), tmp_path / "patched", tree(tmp_path / "new", {**OLD, **newer})
    here.mkdir(parents=True)
    return [p.path for p in left_over(old, tree(here, patched), there, "6.1.177-1")]


def test_files_that_the_fixes_bring_to_the_later_version_are_not_left(tmp_path: Path) -> None:
    assert left(tmp_path, {"fs/pipe.c": "int a = 1;\n"}, {"fs/pipe.c": "int a = 1;\n"}) == []


def test_a_file_that_the_fixes_change_in_part_is_left(tmp_path: Path) -> None:
    newer = {"fs/pipe.c": "int a = 1;\nint c;\n", "mm/slab.c": "int b = 1;\n"}
    assert left(tmp_path, {"fs/pipe.c": "int a = 1;\n"}, newer) == ["fs/pipe.c", "mm/slab.c"]


def test_the_number_of_the_version_in_the_makefile_is_no_change_and_another_line_of_it_is(tmp_path: Path) -> None:
    assert left(tmp_path, {}, {"Makefile": "VERSION = 6\nSUBLEVEL = 177\nall:\n"}) == []
    more = {"Makefile": "VERSION = 6\nSUBLEVEL = 177\nall: more\n"}
    assert left(tmp_path / "again", {}, more) == ["Makefile"]


def test_trees_that_are_the_same_leave_nothing(tmp_path: Path) -> None:
    assert left(tmp_path, {}, {}) == []
