"""Completion, asked in the shells themselves."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from suture.cli import agent, completion

CASES = [
    ("suture ag", {"agent"}),
    ("suture agent ", set(agent.ACTIONS)),
    ("suture feed add --accept ", {"review", "refused"}),
    ("suture --json scan --pa", {"--patches"}),
    ("suture apply /etc/pass", {"/etc/passwd", "/etc/passwd-"}),
]
ASK_BASH = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); compopt() { :; }; _suture; ' \
    'printf "%s\\n" "${COMPREPLY[@]}"'  # fmt: skip

# A terminal in which a person types, and presses Tab.
ASK_ZSH = r"""
zmodload zsh/zpty
zpty -b z "zsh -f -i"
zpty -w z "PROMPT='> '; fpath=($1 \$fpath); autoload -U compinit; compinit -u -D; "\
"bindkey '^I' complete-word; echo rea''dy"
zpty -r z seen '*ready*'
zpty -w -n z "$2"$'\t'
zpty -r z seen "*$3*"
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the completion of each shell."""
    folder = tmp_path_factory.mktemp("completion")
    for shell, name in (("bash", "suture"), ("zsh", "_suture"), ("fish", "suture.fish")):
        (folder / name).write_text(completion.SHELLS[shell]())
    return folder


@pytest.mark.parametrize(("line", "wanted"), CASES)
def test_bash_completes(written: Path, line: str, wanted: set[str]) -> None:
    words = [*shlex.split(line), *([""] if line.endswith(" ") else [])]
    done = subprocess.run(
        ["bash", "-c", ASK_BASH, "bash", written / "suture", *words], capture_output=True, text=True, check=True
    )
    assert (set(done.stdout.split()), done.stderr) == (wanted, "")


@pytest.mark.parametrize(("line", "wanted"), CASES)
def test_fish_completes(written: Path, line: str, wanted: set[str], tmp_path: Path) -> None:
    program = f"source {written}/suture.fish; complete -C {shlex.quote(line)}"
    done = subprocess.run(
        ["fish", "--no-config", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )
    found = {row.partition("\t")[0] for row in done.stdout.splitlines()}
    assert wanted <= found if line.startswith("suture apply") else found == wanted


@pytest.mark.parametrize(
    ("line", "shown"),
    [("suture ag", "agent"), ("suture agent st", "status"), ("suture feed add --accept rev", "review")],
)
def test_zsh_completes(written: Path, line: str, shown: str) -> None:
    done = subprocess.run(
        ["zsh", "-f", "-c", ASK_ZSH, "zsh", written, line, shown], capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr


def test_zsh_reads_the_whole_file(written: Path) -> None:
    subprocess.run(["zsh", "-n", written / "_suture"], check=True)


def test_the_command_prints_what_a_shell_wants(capsys: pytest.CaptureFixture[str]) -> None:
    assert completion.main(["bash"]) == 0
    assert capsys.readouterr().out == completion.bash()
    assert completion.main(["csh"]) == 2
