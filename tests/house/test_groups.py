"""Tests that want the machine to themselves are one group; all others are beside them, file by file."""

from __future__ import annotations

import re
from pathlib import Path

from tests.group import ALONE, group_of

TESTS = Path(__file__).resolve().parents[1]
LOOKS_AT_ALL = re.compile(
    r"^\s*from suture\.(process\.(everywhere|see\.(scan|find|population))|"
    r"host\.(attempts|inventory|processes|scan|status)) ",
    re.M,
)


def test_each_name_is_a_file_or_a_folder_with_tests() -> None:
    assert [n for n in sorted(ALONE) if not (TESTS / n).is_file() and not list((TESTS / n).rglob("test_*.py"))] == []


def test_a_file_is_in_one_group_whatever_its_tests_are_called() -> None:
    assert group_of("tests/elf/test_file.py::test_a[x::y]") == "tests/elf/test_file.py"
    assert group_of("tests/test_number.py::test_a") == "tests/test_number.py"
    assert group_of("tests/process/see/test_scan.py::test_a") == group_of("tests/cli/test_make.py::test_b") == "alone"


def test_who_starts_a_host_wide_look_is_alone() -> None:
    """What looks at all processes sees the other worker's."""
    lost = [
        path.relative_to(TESTS).as_posix()
        for path in sorted(TESTS.rglob("test_*.py"))
        if group_of(f"tests/{path.relative_to(TESTS)}::x") != "alone" and LOOKS_AT_ALL.search(path.read_text())
    ]
    assert lost == []
