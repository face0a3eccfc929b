"""What the page of the kernel's coverage says of numbers."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def module() -> Iterator[ModuleType]:
    folder = str(Path(__file__).resolve().parents[2] / "bench")
    sys.path.insert(0, folder)
    yield importlib.import_module("kernel_page")
    sys.path.remove(folder)


def test_a_cell_holds_the_first_reason_and_no_more_than_its_beginning(module: ModuleType) -> None:
    row = {"outcome": "refused", "reason": "struct s changes: " + "member m moved; " * 400, "more": 3}
    cell = module._outcome(row)
    assert cell.startswith("refused: struct s changes: member m moved") and cell.endswith(" … (and 3 more)")
    assert len(cell) < 230
    assert module._outcome({"outcome": "refused", "reason": "a | b"}) == "refused: a / b"
    assert module._outcome({"outcome": "no code changes", "reason": ""}) == "no code changes"


@pytest.mark.parametrize(("made", "said"), [(80, "met"), (81, "met"), (79, "not met, 1 changes"), (0, "not met, 80")])
def test_where_the_goal_stands(module: ModuleType, made: int, said: str) -> None:
    assert f"it is {said}" in module._standing(made, 100) and "80%" in module._standing(made, 100)
