"""Values that the agent keeps in files: whole or not at all, whatever is killed meanwhile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from suture import whole_file
from suture.patch import strict_json
from suture.report.encoding import NoDocument, of_type, plain

T = TypeVar("T")
_MOST_BYTES, _MOST_VALUES = 64 << 20, 1 << 21


def write_value(path: Path, value: Any) -> None:
    """A dataclass of the reports' vocabulary, as JSON. Raises OSError."""
    whole_file.replace_durably(path, json.dumps(plain(value), sort_keys=True).encode())


def read_value(path: Path, kind: type[T]) -> T | None:
    """What `write_value` wrote; None where there is nothing, or nothing that can be read."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MOST_BYTES + 1)
        return of_type(kind, strict_json.loads(data, _MOST_BYTES, _MOST_VALUES), path.name)
    except (OSError, ValueError, NoDocument):
        return None
