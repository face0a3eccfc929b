"""`suture guard` as an administrator uses it: files that run already or are named, each start told, ended by Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from suture.error import ExitCode
from suture.report.document import FORMAT
from tests.process.conftest import gcc, make_patch
from tests.process.start.test_guard import LIBRARY, PROGRAM, said

STAYS = PROGRAM.replace("return 0;", "fflush(stdout); if (c > 1) getchar(); return 0;").replace(
    "int main(void)", "int main(int c, char **v)"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    library = gcc(tmp_path / "libanswer.so", LIBRARY, "-shared", "-fPIC")
    gcc(tmp_path / "program", STAYS, f"-L{tmp_path}", "-lanswer", f"-Wl,-rpath,{tmp_path}")
    make_patch(tmp_path, library, "int answer(void) { return 2; }", {"answer": ["answer"]})
    return tmp_path


@contextmanager
def guarding(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "suture.cli", "guard", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_named_file_is_guarded_until_ctrl_c(folder: Path) -> None:
    library = folder / "libanswer.so"
    with guarding(folder / "test.suture.o", "--file", library) as guard:
        assert guard.stdout is not None
        assert guard.stdout.readline().startswith(f"guarding {library} with ")
        assert said(folder / "program") == "2 2"
        assert "patched before it ran" in guard.stdout.readline()
        assert said("cp", library, folder / "copy") == ""
        assert "does not load it" in guard.stdout.readline()
        guard.send_signal(signal.SIGINT)
        rest, errors = guard.communicate(timeout=30)
        assert (guard.returncode, rest, errors) == (ExitCode.OK, "", "")
    assert said(folder / "program") == "1 1"


def test_what_runs_already_says_which_file(folder: Path) -> None:
    runs = subprocess.Popen([folder / "program", "stay"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert runs.stdout is not None and runs.stdout.readline() == "1 1\n"
        with guarding(folder / "test.suture.o", "--json", "--seconds", "3") as guard:
            while guard.poll() is None and said(folder / "program") != "2 2":
                pass
            document: Any = json.loads(guard.communicate(timeout=60)[0])
        assert (document["kind"], document["format"], document["exit_code"]) == ("guard", FORMAT, 0)
        assert [f["path"] for f in document["files"]] == [str(folder / "libanswer.so")]
        assert "patched" in {s["end"] for s in document["starts"]}
    finally:
        runs.communicate("\n")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], ExitCode.NOT_FOUND, "no running process has loaded the build"),
        (["--file", "/bin/true"], ExitCode.USAGE, "none of the patches is for this build"),
        (["--file", "/nonexistent"], ExitCode.NOT_FOUND, "No such file"),
    ],
)
def test_what_cannot_be_guarded_is_told(folder: Path, arguments: list[str], code: ExitCode, words: str) -> None:
    with guarding(folder / "test.suture.o", *arguments) as guard:
        out, errors = guard.communicate(timeout=30)
    assert (guard.returncode, out) == (code, "")
    assert words in errors and "remedy: " in errors


def test_who_is_not_root_is_told(folder: Path) -> None:
    os.chmod(folder, 0o755)
    code = (
        "import os; from suture.host.starts import openings;"  # first: a checkout may be where only root may read
        "os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534); openings()"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "NotAllowed" in done.stderr and "may not be held by you" in done.stderr
