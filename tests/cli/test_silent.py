"""Who names a process that holds a file which never answers gets an answer all the same."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from suture.cli import main
from suture.error import ExitCode
from suture.process.see import aside
from tests.fuzz.hostile import SOURCES
from tests.process.conftest import gcc, library, patch

__all__ = ["library", "patch"]  # fixtures
# a file, or what seems to be a patch
PLAIN = SOURCES["silent"]
SEEMING = PLAIN.replace('"silent"', '"suture:0123456789abcdef"').replace(
    "PROT_WRITE, MAP_PRIVATE", "PROT_EXEC, MAP_PRIVATE"
)
DIFF = "--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-old\n+new\n"


@pytest.fixture
def silent(tmp_path: Path, source: str) -> Iterator[int]:
    process = subprocess.Popen([gcc(tmp_path / "silent", source, "-w")], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        yield process.pid
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (PLAIN, lambda pid, patch: ["make", "--for", f"pid:{pid}", "--fix", f"{patch}.patch"]),
        (SEEMING, lambda pid, patch: ["status", "--gdb", patch, str(pid)]),
        (SEEMING, lambda pid, patch: ["status", str(pid)]),
        (PLAIN, lambda pid, patch: ["apply", patch, str(pid), "--dry-run"]),
        (PLAIN, lambda pid, patch: ["apply", patch, str(pid), "--timeout", "0.2"]),
    ],
    ids=("make", "status --gdb", "status", "apply --dry-run", "apply"),
)
def test_the_command_ends(
    silent: int,
    patch: Any,
    words: Callable[[int, str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(aside, "GRACE", 0.5)
    monkeypatch.setattr(aside, "BY_NAME_SECONDS", 0.5)
    Path(f"{patch.object.name}.patch").write_text(DIFF)
    began = time.monotonic()
    code = main.main(words(silent, patch.object.name))
    said = capsys.readouterr()
    assert time.monotonic() - began < 15
    assert code == ExitCode.REFUSED and "does not return" in said.err
