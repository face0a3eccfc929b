"""Files that the agent keeps: whole or not at all, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TypeVar

from suture.patch import strict_json
from suture.report.encoding import NoDocument, of_type, plain

T = TypeVar("T")
_MOST_BYTES, _MOST_VALUES = 64 << 20, 1 << 21


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """The file, on the disk when this returns. Raises OSError, and leaves what was there as it was."""
    scratch = path.with_name(f".{path.name}.new")
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(scratch, path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
    settle(path.parent)


def settle(folder: Path) -> None:
    """Wait until the folder's names are on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_value(path: Path, value: Any) -> None:
    """A dataclass of the reports' vocabulary, as JSON. Raises OSError."""
    write(path, json.dumps(plain(value), sort_keys=True).encode())


def read_value(path: Path, kind: type[T]) -> T | None:
    """What `write_value` wrote; None where there is nothing, or nothing that can be read."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
        return of_type(kind, strict_json.loads(data, _MOST_BYTES, _MOST_VALUES), path.name)
    except (OSError, ValueError, NoDocument):
        return None
