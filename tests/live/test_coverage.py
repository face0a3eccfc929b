"""Real fixes on the archive's own binaries, through the command that writes docs/results/coverage.md."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COVERAGE = ROOT / "coverage"
TABLES = {path.stem: tomllib.loads(path.read_text()) for path in (COVERAGE / "fixes").glob("*.toml")}
QUICK = "libxml2-CVE-2025-8732"
SLOW = (
    "libxml2-CVE-2025-9714",
    "openssl-CVE-2025-15467",
    "openssl-CVE-2025-9230",
    "openssl-CVE-2026-45445",
    "glibc-CVE-2025-15281",
    "glibc-CVE-2026-0915",
)


def rows_of(*words: str) -> list[dict[str, object]]:
    """The rows that the command prints. Its exit code is not looked at: a failed row says why, and is compared."""
    done = subprocess.run([sys.executable, COVERAGE / "run.py", "--json", *words], capture_output=True, check=False)
    assert done.returncode in (0, 1), done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_closed(name: str) -> None:
    (row,) = rows_of(name)
    assert row["state"] == "closed", row
    table = TABLES[name]
    assert (row["before"], row["after"], row["reverted"]) == (table["open"], table["closed"], table["open"])
    assert row["functions"]


@pytest.mark.archive
def test_a_real_hole_closes_in_a_running_process_and_opens_again_on_revert() -> None:
    check_closed(QUICK)


@pytest.mark.archive
@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_real_holes_of_each_package_close_and_open_again(name: str) -> None:
    check_closed(name)


@pytest.mark.archive
@pytest.mark.slow
def test_each_trigger_tells_the_shipped_package_from_the_fixed_one() -> None:
    rows = rows_of("--stand-in")
    assert {row["name"] for row in rows} == {name for name, table in TABLES.items() if "trigger" in table}
    assert [row for row in rows if row["state"] != "closed"] == []


def test_each_trigger_belongs_to_a_fix_and_each_fix_has_its_trigger() -> None:
    written = {path.stem for path in (COVERAGE / "triggers").glob("*.c")}
    assert written == {table["trigger"] for table in TABLES.values() if "trigger" in table} | {"loaded"}


def test_a_trigger_differs_between_the_open_and_the_closed_hole() -> None:
    assert [name for name, table in TABLES.items() if table.get("open", 0) == table.get("closed", 1)] == []


def test_a_fix_that_does_not_exist_is_a_usage_error() -> None:
    done = subprocess.run([sys.executable, COVERAGE / "run.py", "no-such-fix"], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"no such fix: no-such-fix" in done.stderr


def test_notes_name_no_folder_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(COVERAGE))
    plain = importlib.import_module("table").plain
    assert plain(f"{ROOT}/x.c and /tmp/suture-coverage-ab/y.o:\n3: bad") == "…/x.c and …/y.o: 3: bad"
