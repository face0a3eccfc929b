"""Arguments that no sane command line has: each ends with an error that a person can act on, and none waits."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from suture.error import ExitCode
from tests.command import suture

MAKE = ["make", "--tree", ".", "--binary", "prog"]
FIX = (
    "--- a/prog.c\n+++ b/prog.c\n@@ -1 +1 @@\n-int limit(int x) { return x + 1; }\n"
    "+int limit(int x) { return x * 77; }\n"
)
ODD = {
    "a fix that is a pipe": ([*MAKE, "--fix", "pipe"], ExitCode.NOT_FOUND, "no regular file"),
    "a fix that is a folder": ([*MAKE, "--fix", "."], ExitCode.NOT_FOUND, "no regular file"),
    "a fix given twice": ([*MAKE, "--fix", "fix", "--fix", "fix"], ExitCode.USAGE, "given twice"),
    "a file of a tree": ([*MAKE, "--fix", "fix", "--file", "prog"], ExitCode.USAGE, "--binary FILE"),
    "a binary of a package": (
        ["make", "--source", "zlib=1-1", "--fix", "fix", "--binary", "x"],
        ExitCode.USAGE,
        "--tree",
    ),
    "callbacks that are a pipe": (
        ["make", "--source", "linux=6.1.0-1-amd64", "--fix", "fix", "--callbacks", "pipe"],
        ExitCode.NOT_FOUND,
        "no regular file",
    ),
    "an output that is no folder": ([*MAKE, "--fix", "fix", "--output", "/proc/x"], ExitCode.NOT_FOUND, "/proc/x"),
    "a build that is no command": (["record", "--", "nosuchcmd"], ExitCode.COMMAND, "nosuchcmd"),
    "a tree that is not there": (["record", "--tree", "/nosuch", "--", "make"], ExitCode.NOT_FOUND, "/nosuch"),
    "no number of seconds": (["apply", "p", "--timeout", "nan"], ExitCode.USAGE, "nan is no number of seconds"),
    "endless seconds": (["apply", "p", "--timeout", "1e400"], ExitCode.USAGE, "1e400 is no number of seconds"),
    "seconds before now": (["revert", "p", "--timeout", "-1"], ExitCode.USAGE, "-1 is no number of seconds"),
    "no jobs": (["apply", "p", "--jobs", "0"], ExitCode.USAGE, "0 is no number of processes"),
    "a pid beyond all": (["apply", "p", "9" * 21], ExitCode.USAGE, "is no process id"),
    "a pid of more digits than Python reads": (["status", "9" * 5000], ExitCode.USAGE, "is no process id"),
    "the large code model": ([*MAKE, "--fix", "fix"], ExitCode.UNSUPPORTED, "-mcmodel=large"),
}


@pytest.mark.parametrize("kind", ODD)
def test_it_is_an_error_with_a_remedy(kind: str, tmp_path: Path) -> None:
    words, code, said = ODD[kind]
    tree = tmp_path / "tree"
    tree.mkdir()
    os.mkfifo(tree / "pipe")
    (tree / "fix").write_text(FIX)
    (tree / "prog.c").write_text(
        "int limit(int x) { return x + 1; }\nextern int puts(const char *);\n"
        "int main(int c, char **v) { return puts(v[0]) + limit(c); }\n"
    )
    if words[-1] == "fix":
        compiler = ["gcc", "-O2", "-fpic", "-mcmodel=large", "-o", "prog", "prog.c"]
        suture("record", "--", *compiler, cwd=tree, check=True)
    environment = {**os.environ, "SUTURE_CACHE": str(tmp_path / "cache")}
    argv = [*words, "--json"] if words[0] != "record" else ["--json", *words]
    done = suture(*argv, cwd=tree, env=environment)
    told = json.loads(done.stdout)
    assert done.returncode == told["exit_code"] == code, done.stdout + done.stderr
    assert said in told["error"] + told["remedy"] and "unforeseen" not in told["error"]
