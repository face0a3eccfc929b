"""The archive's MariaDB server while patches come and go under its load: a short run of bench/mariadb."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.archive, pytest.mark.slow]


@pytest.fixture(scope="module")
def record(short_run: Callable[..., tuple[dict[str, Any], Path]]) -> dict[str, Any]:
    words = ["--rounds=3", "--seconds=3", "--connections=16", "--processes=2", "--page={folder}/page.md"]
    found, folder = short_run("mariadb", *words)
    found["page"] = (folder / "page.md").read_text()
    found["plot"] = (folder / "page-latency.svg").read_text()
    return found


def test_no_query_fails_and_no_row_is_lost(record: dict[str, Any]) -> None:
    load = record["data"]["load"]
    assert load["connections"] == 16 and not load["failed"] and not load["wrong"]
    assert load["rows_written"] > 16 and load["queries"] > load["rows_written"]


def test_all_versions_have_answered(record: dict[str, Any]) -> None:
    assert set(record["data"]["load"]["seen"]) == {"1", "2", "3"}


def test_functions_of_the_sql_layer_and_of_innodb_were_replaced(record: dict[str, Any]) -> None:
    for made in record["data"]["made"]:
        names = " ".join(made["functions"])
        assert "Item_func_strcmp7val_int" in names and "Item_func_crc327val_int" in names and "row_" in names
        assert made["exceptions"]
    assert len(record["data"]["changes"]) == 9


def test_the_page_tells_it(record: dict[str, Any]) -> None:
    assert "| queries failed, connections lost | 0 |" in record["page"]
    assert "with a patch in force" in record["page"] and record["plot"].startswith("<svg")
