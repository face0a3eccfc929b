"""Other programs: what they are given, what comes back, and what an error says."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.command import CommandFailed, run
from suture.error import ExitCode


def test_a_program_gets_its_words_as_they_are() -> None:
    assert run(["printf", "%s|", "a b", "$HOME", "*"]) == "a b|$HOME|*|"


def test_it_reads_what_it_is_given_and_else_nothing(tmp_path: Path) -> None:
    assert run(["cat"], stdin=b"text") == "text"
    assert run(["cat"]) == ""
    assert run(["pwd"], cwd=tmp_path) == f"{tmp_path}\n"


def test_its_environment_is_ours_and_what_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "1")
    assert run(["sh", "-c", "echo $OURS $ADDED"], env={"ADDED": "2"}) == "1 2\n"


def test_what_is_no_text_is_replaced() -> None:
    assert run(["printf", r"\377"]) == "\ufffd"


def test_a_failure_can_be_pasted_and_ends_with_the_last_lines_of_both_outputs(tmp_path: Path) -> None:
    script = "seq 1 30; echo 'it is wrong' >&2; exit 3"
    with pytest.raises(CommandFailed) as caught:
        run(["sh", "-c", script], cwd=tmp_path)
    error = caught.value
    assert (error.status, error.exit_code) == (3, ExitCode.COMMAND)
    head, *lines = error.what.splitlines()
    assert head.startswith(f"command ended with status 3: cd {tmp_path} && sh -c '")
    assert (lines[0], lines[-1], len(lines)) == ("12", "it is wrong", 20) and error.output.startswith("1\n2\n")


def test_some_statuses_may_be_no_failure() -> None:
    assert run(["sh", "-c", "echo x; exit 1"], accept=frozenset({0, 1})) == "x\n"


def test_a_program_that_is_not_there_or_may_not_be_run_is_a_failure_as_a_shell_tells_it(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("")
    for word, status in ((str(tmp_path / "none"), 127), (str(tmp_path / "text"), 126)):
        with pytest.raises(CommandFailed) as caught:
            run([word])
        assert caught.value.status == status and word in caught.value.what
