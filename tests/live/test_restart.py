"""What clients notice of a restart and of a live patch: a short run of bench/restart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.archive, pytest.mark.slow]


def test_a_live_patch_costs_no_request_and_a_restart_does(
    short_run: Callable[..., tuple[dict[str, Any], Path]],
) -> None:
    record, folder = short_run("restart", "--only=nginx", "--rounds=2")
    ways = record["data"]["services"]["nginx"]["ways"]
    assert set(ways) == {"nothing", "suture apply", "upgrade on the fly", "restart"}
    assert all(w["requests"] > 100 for windows in ways.values() for w in windows)
    assert all(w["failed"] == w["lost"] == 0 for name in ("nothing", "suture apply") for w in ways[name])
    assert all(w["lost"] > 0 for w in ways["restart"])
    assert "| nginx | suture apply |" in (folder / "restart.md").read_text()
