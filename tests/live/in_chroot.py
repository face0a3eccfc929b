"""Programs inside a chroot, and the command beside it, for tests of packages that are installed there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def suture(*words: str, cwd: Path) -> Any:
    """What the command says with --json."""
    done = subprocess.run(
        [sys.executable, "-m", "suture.cli", *words, "--json"], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@contextmanager
def holding(root: Path, program: str, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process of the chroot that has loaded the library, and calls it once it is told to."""
    words = ["chroot", str(root), "python3", "-c", program]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def tell(process: subprocess.Popen[str], lines: int) -> list[str]:
    """Have it call the library; the lines that it writes then."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return [process.stdout.readline().strip() for _ in range(lines)]


def inside(root: Path, environment: Mapping[str, str], *words: str) -> str:
    """What a program of the chroot prints; it must end well."""
    done = subprocess.run(["chroot", str(root), *words], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, f"{words}: {done.stdout} {done.stderr}"
    return done.stdout
