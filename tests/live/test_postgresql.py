"""The archive's PostgreSQL while patches come and go under pgbench: a short run of bench/postgresql."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.archive, pytest.mark.slow]


@pytest.fixture(scope="module")
def data(short_run: Callable[..., tuple[dict[str, Any], Path]]) -> dict[str, Any]:
    found: dict[str, Any] = short_run("postgresql", "--rounds=3", "--clients=8", "--rate=50", "--seconds=4")[0]["data"]
    return found


def test_no_transaction_fails_and_no_client_is_cut_off(data: dict[str, Any]) -> None:
    assert data["faults"] == []
    assert data["transactions"] > 300
    counts = {name: phase["count"] for name, phase in data["latency"].items()}
    assert min(counts.values()) > 50, counts


def test_every_process_of_the_cluster_changes_each_time(data: dict[str, Any]) -> None:
    assert [c["what"] for c in data["changes"]] == ["apply", "replace", "revert"] * 3 + ["apply", "revert"]
    # the postmaster, its five workers and the backends of pgbench
    assert all(c["processes"] >= 6 + 8 and not c["left_out"] for c in data["changes"])
