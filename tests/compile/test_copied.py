"""Files that a build copies before it compiles them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from suture.compile.copied import copies, copies_of


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    source = tmp_path / "source"
    for path, text in {"lib/x.c": "int x;\n", "lib/x.h": "int x;\n", "old/x.c": "int x;\n", "y.c": "int y;\n"}.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(text)
    return source, Path(shutil.copytree(source, tmp_path / "built"))


def copy(built: Path, one: str, other: str) -> None:
    (built / other).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(built / one, built / other)


def test_a_tree_in_which_nothing_was_copied_has_no_copies(folders: tuple[Path, Path]) -> None:
    assert copies(*folders) == {}


def test_a_folder_may_be_copied_several_times(folders: tuple[Path, Path]) -> None:
    for place in ("build/lib", "buildw/lib"):
        copy(folders[1], "lib/x.c", f"{place}/x.c")
    assert copies(*folders) == {"lib/x.c": ["build/lib/x.c", "buildw/lib/x.c"]}


def test_what_may_be_the_copy_of_several_files_is_of_none(folders: tuple[Path, Path]) -> None:
    copy(folders[1], "lib/x.c", "new/x.c")
    assert copies(*folders) == {}


def test_a_file_of_the_same_name_with_other_bytes_is_no_copy(folders: tuple[Path, Path]) -> None:
    copy(folders[1], "y.c", "new/lib/x.c")
    assert copies(*folders) == {}


def test_what_the_source_has_itself_is_no_copy(folders: tuple[Path, Path]) -> None:
    assert "old/x.c" not in [c for rows in copies(*folders).values() for c in rows]


def test_a_file_that_a_fix_adds_is_expected_beside_the_copies_of_its_folder() -> None:
    known = {"lib/x.c": ["build/lib/x.c", "buildw/lib/x.c"], "y.c": ["include/y.c"]}
    assert copies_of("lib/new.c", known) == ("build/lib/new.c", "buildw/lib/new.c")
    assert copies_of("lib/x.c", known) == ("build/lib/x.c", "buildw/lib/x.c")
    assert copies_of("other/new.c", known) == ()
