"""`suture agent` through the command."""

from __future__ import annotations

from pathlib import Path

from suture.error import ExitCode
from tests.agent.test_policy import LEAST
from tests.cli.test_feed import run, said


def test_a_policy_is_checked_and_explained(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(LEAST)
    found = run("agent", "check", path)
    assert found["kind"] == "agent-policy" and found["path"] == str(path)
    assert said("agent", "check", path).splitlines() == found["meaning"]
    path.write_text(LEAST + "[apply]\nmode = 'sometimes'\n")
    wrong = run("agent", "check", path, code=ExitCode.USAGE)
    assert (
        f"{path}, line 5: apply.mode" in wrong["error"]
        and 'write mode = "automatic" or "ask" or "fleet"' in wrong["remedy"]
    )
