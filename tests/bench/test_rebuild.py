"""Conversions beside full rebuilds."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

_BENCH = Path(__file__).resolve().parents[2] / "bench"
ROW: dict[str, Any] = {"old": "1", "patches": [1], "total": 20.0}


def test_five_packages_are_chosen_by_a_rule_or_those_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(_BENCH))
    rebuild = importlib.import_module("rebuild")
    names = ("slow", "none", "a", "a", "b", "c", "d", "e", "f")
    rows = [ROW | {"source": n, "release": f"r{k}", "new": "2"} for k, n in enumerate(names)]
    rows[0]["total"], rows[1]["patches"] = 301.0, []
    record = rebuild.Record("conversion", "", "", None, {"rows": rows})
    monkeypatch.setattr(rebuild.Record, "read", lambda path: record)
    assert [u[:2] for u in rebuild.chosen([])] == [("a", "r2"), ("b", "r4"), ("c", "r5"), ("d", "r6"), ("e", "r7")]
    assert [u[:2] for u in rebuild.chosen(["a/r3", "slow"])] == [("slow", "r0"), ("a", "r3")]


def test_the_page_has_totals_and_says_where_a_build_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(_BENCH))
    page = importlib.import_module("conversion_page")
    rebuild = {"dependencies": 10.0, "with tests": None, "without tests": 30.0}
    row = {"source": "a", "release": "r", "new": "2", "cold": 20.0, "warm": 4.0, "patches": 1, "rebuild": rebuild}
    record = {"command": "c", "started": "s", "machine": {"cores": 2, "load": 1.0}, "data": {"rows": [row]}}
    text = list(page._rebuild(record))
    assert "| a | r | 2 | 20 | 4 | 10 | fails | 40 | 0.50 |" in text
    assert "Median: 20 s cold, 4 s warm." in text
