"""Changes of the kernel that were tried, kept as they are tried: a conversion of thousands that is killed goes on where
it was."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from suture import whole_file
from suture.convert.result import FixResult
from suture.patch.manifest import plain
from suture.source.fix import Fix

NAME = "tried.json"


@dataclass(frozen=True)
class TriedChange:
    """What came of a change by itself, and the other changes that it needed to compile."""

    result: FixResult
    needs: tuple[str, ...] = ()


@dataclass
class TriedChanges:
    """Those of one conversion, in a file of its folder, by the text of the change."""

    path: Path
    rows: dict[str, TriedChange] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path) -> TriedChanges:
        """What was tried before; nothing where there is no file."""
        path = folder / NAME
        raw: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return cls(path, {key: _read(row) for key, row in raw.items()})

    def get(self, fix: Fix) -> TriedChange | None:
        return self.rows.get(fix.sha256)

    def add(self, fix: Fix, tried: TriedChange) -> None:
        """Keep it, whole or not at all."""
        self.rows[fix.sha256] = tried
        rows = {key: plain(asdict(row)) for key, row in self.rows.items()}
        whole_file.replace(self.path, json.dumps(rows).encode())

    def close(self) -> None:
        """Take the file away: its conversion has what was in it."""
        self.path.unlink(missing_ok=True)


def _read(row: dict[str, Any]) -> TriedChange:
    return TriedChange(FixResult.read(row["result"]), tuple(row["needs"]))
