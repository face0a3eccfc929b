"""The folder in which the unprivileged part hands patch files and their evidence over. Root reads it as what it is, a
folder of somebody else: each file once, plain, not through links, bounded."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from suture.error import ExitCode, SutureError
from suture.report.reason import Reason

EVIDENCE = ".evidence"


class BadSpool(SutureError):
    """The spool has not what was named."""

    exit_code = ExitCode.NOT_FOUND

    def __init__(self, name: str, why: str) -> None:
        super().__init__(
            f"spool: {name}: {why}", "the agent's other part puts it there again at its next fetch",
            reason=Reason.NO_PATCH_FILE,
        )  # fmt: skip


def take(folder: Path, name: str, most: int) -> bytes:
    """A file's bytes. `name` is a plain name. Raises `BadSpool`."""
    try:
        handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as problem:
        raise BadSpool(name, problem.strerror or str(problem)) from problem
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise BadSpool(name, "is no regular file")
        parts, left = [], most + 1
        while left and (part := os.read(handle, left)):
            parts.append(part)
            left -= len(part)
    finally:
        os.close(handle)
    if not left:
        raise BadSpool(name, f"is longer than {most} bytes")
    return b"".join(parts)
