"""`suture comply` through the command."""

from __future__ import annotations

from pathlib import Path

from suture.error import ExitCode
from tests.cli.test_feed import run, said
from tests.comply.test_bundle import PUBLIC, SEALED


def test_rules_are_listed_with_their_sources(tmp_path: Path) -> None:
    found = run("comply", "rules")["rules"]
    assert {"cisa-bod-26-04", "cyber-essentials"} <= {r["rule"] for r in found} and all(r["source"] for r in found)
    (tmp_path / "own.toml").write_text('id = "own"\n')
    assert "is missing" in run("comply", "rules", "--rules", tmp_path, code=ExitCode.USAGE)["error"]


def test_a_hole_is_checked_against_a_rule() -> None:
    facts = ("--kev-listed", "yes", "--automatable", "no", "--impact", "total", "--rule", "cisa-bod-26-04")
    (exposed,) = run("comply", "check", "--exposed", "yes", *facts)["answers"]
    (unsaid,) = run("comply", "check", *facts)["answers"]
    assert exposed["clause"] == unsaid["clause"] == "row 12" and unsaid["assumed"] == ["exposed"]
    assert "row 8" in said("comply", "check", "--exposed", "no", *facts)


def test_evidence_is_checked_without_a_server(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.json"
    bundle.write_bytes(SEALED)
    found = run("comply", "verify", bundle, "--key", PUBLIC.hex(), "--into", tmp_path / "out")
    assert found["files"] == ["audit.json", "report.json"]
    assert (tmp_path / "out/audit.json").read_text() == "[1]"
    bundle.write_bytes(SEALED.replace(b"[1]", b"[2]"))
    run("comply", "verify", bundle, "--key", PUBLIC.hex(), code=ExitCode.UNTRUSTED)
    run("comply", "verify", bundle, "--key", "00", code=ExitCode.USAGE)
