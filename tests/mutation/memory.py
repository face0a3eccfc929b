"""What was tried before. A mutant that was killed stays killed while its module is the same; a survivor is
tried again when its tests have changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tests.mutation.mutant import Mutant


class Memory:
    """Outcomes in a folder, one file for each module. `anew`: what is there already counts for nothing."""

    def __init__(self, folder: Path, anew: bool) -> None:
        self._folder, self._anew = folder, anew
        self._rows: dict[str, dict[str, str]] = {}

    def is_killed(self, module: str, source: str, tests: str, mutant: Mutant) -> bool | None:
        """None when it is to be tried."""
        known = self._of(module).get(_name(source, mutant))
        if known is None or known == "killed":
            return None if known is None else True
        return False if known == _digest(tests) else None

    def note(self, module: str, source: str, tests: str, mutant: Mutant, killed: bool) -> None:
        rows = self._of(module)
        rows[_name(source, mutant)] = "killed" if killed else _digest(tests)
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{module}.json").write_text(json.dumps(rows, indent=0, sort_keys=True))

    def _of(self, module: str) -> dict[str, str]:
        if module not in self._rows:
            file = self._folder / f"{module}.json"
            self._rows[module] = json.loads(file.read_text()) if file.exists() and not self._anew else {}
        return self._rows[module]


def _name(source: str, mutant: Mutant) -> str:
    return f"{_digest(source)} {mutant.operator} {mutant.occurrence}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
