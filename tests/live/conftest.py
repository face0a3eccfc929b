"""Short runs of benchmarks, whose records the tests read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture(scope="module")
def short_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[dict[str, Any], Path]]:
    """Runs a benchmark that must end well; its record, and the folder into which it wrote."""

    def short_run(name: str, *words: str) -> tuple[dict[str, Any], Path]:
        folder = tmp_path_factory.mktemp(name)
        argv = [sys.executable, str(_BENCH / f"{name}.py"), *words, f"--into={folder}"]
        done = subprocess.run(
            [w.replace("{folder}", str(folder)) for w in argv], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads((folder / f"{name}.json").read_text()), folder

    return short_run
