"""The one door to other programs: list arguments, no shell, and a failure that can be pasted into a terminal."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from suture.error import ExitCode, SutureError


class CommandFailed(SutureError):
    """Another program ended with a non-zero status."""

    exit_code = ExitCode.COMMAND

    def __init__(self, argv: Sequence[str], cwd: Path | None, status: int, output: str) -> None:
        line = shlex.join(argv)
        if cwd is not None:
            line = f"cd {shlex.quote(str(cwd))} && {line}"
        tail = "\n".join(output.strip().splitlines()[-20:])
        super().__init__(
            f"command ended with status {status}: {line}\n{tail}",
            "run the command above by hand to see all that it prints",
        )
        self.status = status
        self.output = output


def run(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    accept: frozenset[int] = frozenset({0}),
) -> str:
    """Run a program and return what it wrote to stdout (text).

    `env` is added to the present environment. Raises `CommandFailed` for a status outside `accept`; its message
    ends with the last 20 lines of stdout and stderr.
    """
    try:
        done = subprocess.run(
            list(argv),
            cwd=cwd,
            env={**os.environ, **env} if env else None,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            check=False,
        )
    except (FileNotFoundError, PermissionError, NotADirectoryError) as problem:
        # 126 and 127 as a shell says it
        status = 127 if isinstance(problem, FileNotFoundError) else 126
        raise CommandFailed(argv, cwd, status, f"{problem.filename or argv[0]}: {problem.strerror}") from problem
    out = done.stdout.decode(errors="replace")
    if done.returncode not in accept:
        raise CommandFailed(argv, cwd, done.returncode, out + done.stderr.decode(errors="replace"))
    return out
