"""Raw numbers are kept small, and a page says the same whether it is written from a run or from the file."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs/results"
sys.path.insert(0, str(REPOSITORY / "bench"))
kept: Any = importlib.import_module("kept")
facts: Any = importlib.import_module("facts")

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(VALUES)
def test_what_is_read_back_is_what_was_written(value: Any) -> None:
    assert json.loads(kept.text(value)) == value


def test_a_record_in_a_list_is_one_line_however_long() -> None:
    rows = [{"samples": [[n] * 100], "more": {"n": n}} for n in range(3)]
    lines = kept.text({"bench": "x" * 120, "rows": rows}).splitlines()
    assert len(lines) == 2 + 1 + 2 + 3
    assert json.loads(lines[3].rstrip(",")) == rows[0]


def test_names_keep_their_order() -> None:
    assert kept.text({"prepare": 1, "compile": 2}) == '{"prepare": 1, "compile": 2}\n'


def test_numbers_are_rounded_to_what_the_clock_can_tell() -> None:
    value = {
        "seconds": 1.1152782419994764,
        "pauses_us": {"apply": [259.57412, 12]},
        "done": True,
        "rows": [(0.1234567,)],
    }
    assert kept.rounded(value) == {
        "seconds": 1.115278,
        "pauses_us": {"apply": [259.574, 12]},
        "done": True,
        "rows": [[0.123457]],
    }


def test_a_record_of_a_run_is_the_one_that_is_read_from_its_file(tmp_path: Path) -> None:
    record = facts.Start.now("some", ["--rounds", "2"]).finish({"took": [0.12345678, 2], "pairs": [(1, 2)]})
    assert facts.Record.read(record.write(tmp_path)) == record


def _page(name: str) -> tuple[Path, str]:
    """Where a page lies, and what its program would write from the kept numbers."""
    if name == "benchmarks":
        report = importlib.import_module("report")
        records = [facts.RESULTS / f"{bench}.json" for bench in report._RECORDS]
        return DOCS / "benchmarks.md", report.document({p.stem: facts.Record.read(p) for p in records if p.exists()})
    if name == "postgresql":
        records = [facts.Record.read(facts.RESULTS / f"{bench}.json") for bench in ("postgresql_fixes", "postgresql")]
        return DOCS / "postgresql.md", importlib.import_module("postgresql_page").document(*records)
    if name == "conversion":
        records = [
            asdict(facts.Record.read(facts.RESULTS / f"{bench}.json"))
            for bench in (name, "kernel_conversion", "rebuild")
        ]
        return DOCS / f"{name}.md", importlib.import_module("conversion_page").document(*records)
    bench, page, as_dict = PAGES[name]
    record = facts.Record.read(facts.RESULTS / f"{bench}.json")
    return DOCS / f"{name}.md", importlib.import_module(page).document(asdict(record) if as_dict else record)


PAGES = {
    "feed": ("feed", "feed_page", True),
    "starts": ("starts", "starts_page", False),
    "tripwires": ("tripwires", "tripwires_page", False),
    "mariadb": ("mariadb", "mariadb_page", True),
    "qemu": ("qemu_guest", "qemu_guest_page", False),
    "restart": ("restart", "restart_page", True),
    "whole-way": ("whole_way", "whole_way_page", False),
    "coverage-kernel": ("kernel_coverage", "kernel_page", False),
    "els": ("els", "els_page", True),
    "fleet": ("fleet_scale", "fleet_page", True),
    "els-open": ("els_open", "els_open_page", True),
}


@pytest.mark.parametrize("name", ["benchmarks", "postgresql", "conversion", *PAGES])
def test_a_page_is_what_its_numbers_say(name: str) -> None:
    path, text = _page(name)
    assert path.read_text() == text, f"write the page again from bench/results: {path.name}"


def test_a_plot_is_what_its_numbers_say() -> None:
    record = facts.Record.read(facts.RESULTS / "postgresql.json")
    assert (DOCS / "postgresql.svg").read_text() == importlib.import_module("postgresql_page").plot(record.data)
