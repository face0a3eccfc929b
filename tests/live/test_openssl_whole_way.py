"""The whole way from one openssl to another, live, under TLS load: a short run of bench/whole_way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.archive, pytest.mark.slow]

BENCH = Path(__file__).resolve().parents[2] / "bench" / "whole_way.py"


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("whole_way")
    words = ["--rounds=3", "--seconds=3", "--clients=3", f"--into={folder}", f"--page={folder / 'page.md'}"]
    done = subprocess.run([sys.executable, str(BENCH), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads((folder / "whole_way.json").read_text())
    found["page"] = (folder / "page.md").read_text()
    return found


def test_most_of_the_difference_goes_in_and_all_else_is_refused_with_a_reason(record: dict[str, Any]) -> None:
    functions = {p["file"]: p["functions"] for p in record["data"]["made"]["patches"]}
    assert len(functions["libcrypto.so.3"]) > 120
    assert {"tls_construct_new_session_ticket", "ssl_get_prev_session"} <= set(functions["libssl.so.3"])
    refused = record["data"]["made"]["refused"]
    assert all(r["reason"] and r["remedy"] for r in refused)
    assert "file_load" in {r["function"] for r in refused}
    assert "OSSL_parse_url" in functions["libcrypto.so.3"]  # it has an import that is an IFUNC
    # tables of the providers: who has asked for one keeps its address
    assert any("has addresses of functions" in r["reason"] for r in refused if r["function"] == "base_query")
    # half of it is missing, so no CVE is closed by the patch, whatever it names
    (libcrypto,) = (p for p in record["data"]["made"]["patches"] if p["file"] == "libcrypto.so.3")
    assert not libcrypto["complete"] and not libcrypto["cves"] and "CVE-2025-15467" in libcrypto["named_cves"]
    assert not any(r["file"].endswith((".h.in", ".c.in", ".pl")) for r in refused)
    assert not {r["function"] for r in refused if r["function"]} & set(functions["libcrypto.so.3"])


def test_making_it_again_gives_the_same_bytes(record: dict[str, Any]) -> None:
    assert list(record["data"]["verified"].values()) == [True, True]


def test_no_handshake_and_no_answer_fails_while_patches_come_and_go(record: dict[str, Any]) -> None:
    servers = record["data"]["servers"]
    assert [s["name"] for s in servers] == ["nginx", "openssl s_server"]
    assert [s["processes"] for s in servers] == [3, 1]
    for server in servers:
        phases = {p["name"]: p for p in server["phases"]}
        for name in ("before", "rounds of apply, replace, revert", "with the patches", "after"):
            assert phases[name]["handshakes"] > 20, name
            assert phases[name]["resumed"] > 5, name
        assert server["whole"]["failed"] == 0
        assert server["faults"] == []
        stops = 2 * server["processes"] * server["rounds"]
        assert all(len(server["pauses_us"][what]) >= stops for what in ("apply a part", "replace", "revert"))


def test_a_busy_group_holds_back_itself_alone(record: dict[str, Any]) -> None:
    for server in record["data"]["servers"]:
        assert all(row["answered"] and row["later"] == row["groups"] for row in server["idle"])
    reading, _ = record["data"]["reading"]
    assert list(reading["busy"]) == ["asn1_d2i_read_bio"]
    assert reading["applied"] == reading["groups"] - 1
    assert reading["answered"]


def test_functions_that_were_made_to_switch_together_wait_together(record: dict[str, Any]) -> None:
    together = record["data"]["reading"][1]
    assert (together["applied"], together["groups"]) == (0, 1) and together["answered"]
    assert "asn1_d2i_read_bio" in next(iter(together["busy"].values()))


def test_the_page_tells_what_was_measured(record: dict[str, Any]) -> None:
    for told in (
        "CVE-2025-15467",
        "libssl.so.3",
        "openssl s_server",
        "asn1_d2i_read_bio",
        "file_load",
        "the same bytes",
    ):
        assert told in record["page"]
    assert "/tmp" not in record["page"]
