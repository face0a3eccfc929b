"""docs/explanation/traps.md names a test for each trap: that each is there, and is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/explanation/traps.md"
ROW = re.compile(r"^\| (\d+) \|.*\| (.+) \|$", re.M)
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")


def wrong_names(text: str) -> list[str]:
    """Tests that a page names and that are no function of their file."""
    return [
        f"{file}::{test}"
        for file, test in NAMED.findall(text)
        if not (ROOT / "tests" / file).is_file()
        or not re.search(rf"^(async )?def {test}\(", (ROOT / "tests" / file).read_text(), re.M)
    ]


def test_every_test_that_the_page_names_is_there() -> None:
    assert wrong_names(PAGE.read_text()) == []


def test_every_trap_has_a_number_of_its_own_and_a_test() -> None:
    rows = ROW.findall(PAGE.read_text())
    assert [int(number) for number, _ in rows] == list(range(1, len(rows) + 1))
    assert len(rows) >= 38
    assert [number for number, tests in rows if not NAMED.search(tests)] == []


@pytest.mark.parametrize("named", ["elf/test_nothing.py::test_x", "house/test_traps.py::test_x"])
def test_a_test_that_is_gone_would_be_found(named: str) -> None:
    assert wrong_names(f"| 1 | a | b | `{named}` |") == [named]
