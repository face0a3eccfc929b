"""The kernel's part of docs/results/conversion.md."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from suture.convert.result import Closing, Conversion, ConvertOutcome, CveResult, FixResult, PatchResult

_BENCH = Path(__file__).resolve().parents[2] / "bench"


def test_a_pass_is_told_in_numbers_with_what_was_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(_BENCH))
    module, page = (importlib.import_module(n) for n in ("kernel_conversion", "conversion_page"))
    fixes = (
        FixResult("a", (), ConvertOutcome.LIVE),
        FixResult("b", (), ConvertOutcome.UNTRIED, {}, ("no time",)),
        FixResult("c", (), ConvertOutcome.UNTRIED, {}, ("no time",)),
    )
    cves = (CveResult("CVE-2026-1", Closing.LIVE), CveResult("CVE-2026-2", Closing.UNTRIED))
    patch = PatchResult("i", "f", "p", "image", "b", 7, "safe", "passed", (), "1 s", "6.1.2")
    one = Conversion("linux", "bookworm", "6.1.1", "6.1.2", "w", fixes, cves, (patch,), {"try": 5.0}, "", "amd64")
    text = list(page._kernel([module.row(one)]))
    assert "| 6.1.1 → 6.1.2 | amd64 | 3 | 1 | 0 | 0 | 2 | 7 | 6.1.2 | 2 | 1 | 0 | 0 | 1 | 0 | 5 |" in text
    assert "- 2 changes were not tried: no time" in text and "- Trial of the module: passed: 1 s" in text
