"""Attempts to use a hole that a patch has closed, as tripwires of the patch count them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrippedWire:
    """A tripwire: `file` and `line` of the fixed source, what was true when the new code rejected something, and the
    CVEs that the fix is for. `binary`, of `package` and `version`, is what the patch with the id `patch` changes."""

    patch: str
    binary: str
    package: str
    version: str
    file: str
    line: int
    function: str
    condition: str
    cves: tuple[str, ...]

    @property
    def place(self) -> tuple[str, str, str, str]:
        """What is the same in another patch that has this tripwire too."""
        return self.binary, self.file, self.function, self.condition


@dataclass(frozen=True)
class CountedWire:
    """A tripwire and how often it was reached in one process, since the first patch that has it went in or the process
    was born."""

    wire: TrippedWire
    count: int
