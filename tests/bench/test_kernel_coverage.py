"""What is measured of the kernel stays, whatever becomes of the run."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    folder = str(Path(__file__).resolve().parents[2] / "bench")
    sys.path.insert(0, folder)
    loaded = importlib.import_module("kernel_coverage")
    monkeypatch.setattr(loaded, "RESULTS", tmp_path)
    monkeypatch.setattr(loaded, "DOCUMENT", tmp_path / "page.md")
    yield loaded
    sys.path.remove(folder)


MADE = {"outcome": "made", "reason": "", "functions": ["vmlinux:f"], "complete": True, "missing": [], "seconds": 3.0}
REFUSED = {"outcome": "refused", "reason": "a table", "kind": "tables", "functions": []}


def work(module: ModuleType, count: int, measured: Mapping[str, Mapping[str, object]]) -> object:
    paths = [f"net/{n}.c" for n in range(count)]
    sample = SimpleNamespace(
        target=SimpleNamespace(version="1"), to="2", paths=paths, modules=dict.fromkeys(paths, "vmlinux")
    )
    return module._Work(module.Start.now("kernel_coverage", []), sample, measured)


def test_each_change_is_a_line_and_what_an_earlier_run_measured_stays(module: ModuleType, tmp_path: Path) -> None:
    kept = {
        f"net/{n}.c": {"path": f"net/{n}.c", "files": [f"net/{n}.c"], "engine": "before", **REFUSED} for n in (0, 2)
    }
    state = work(module, 4, kept)
    state.replace({"path": "net/0.c", "files": ["net/0.c"], "engine": module.engine(), **MADE})  # type: ignore[attr-defined]
    text = (tmp_path / "kernel_coverage.json").read_text()
    rows = [json.loads(x.strip().rstrip(",")) for x in text.splitlines() if x.startswith("   {")]
    assert [r["outcome"] for r in rows] == ["made", "not measured", "refused", "not measured"]
    assert rows == json.loads(text)["data"]["rows"]
    page = (tmp_path / "page.md").read_text()
    assert "2 of the first 4 changes are not measured yet" in page
    assert "1 of the changes were measured by an earlier engine" in page and "| net/2.c * |" in page


def test_a_change_that_is_made_again_is_tried_again(module: ModuleType, tmp_path: Path) -> None:
    state = work(module, 1, {"net/0.c": {"path": "net/0.c", "files": ["net/0.c"], "loaded": True, **MADE}})
    assert [r["path"] for r in state.rows() if "loaded" not in r] == []  # type: ignore[attr-defined]
    state.replace({"path": "net/0.c", "files": ["net/0.c"], **MADE})  # type: ignore[attr-defined]
    assert [r["path"] for r in state.rows() if "loaded" not in r] == ["net/0.c"]  # type: ignore[attr-defined]
    state.add("net/0.c", {"loaded": True, "reverted": True, "revert_seconds": 1.0})  # type: ignore[attr-defined]
    assert json.loads((tmp_path / "kernel_coverage.json").read_text())["data"]["rows"][0]["reverted"]
