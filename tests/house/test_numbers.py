"""Raw numbers are kept small: every kept file of a benchmark is as bench/kept.py writes it."""

from __future__ import annotations

import importlib
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
kept: Any = importlib.import_module("kept")
facts: Any = importlib.import_module("facts")


@pytest.mark.parametrize("path", sorted(facts.RESULTS.glob("*.json")), ids=lambda p: p.stem)
def test_a_kept_file_is_as_the_writer_writes_it(path: Path) -> None:
    record = facts.Record.read(path)
    again = kept.text(asdict(record) | {"data": kept.rounded(record.data)})
    assert path.read_text() == again, f"write it again: .venv/bin/python bench/facts.py {path.name}"
