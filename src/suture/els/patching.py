"""patch(1), as a second opinion on a merge."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from patiencediff import PatienceSequenceMatcher, unified_diff

from suture.command import CommandFailed
from suture.source.patch_command import apply_patch

_ZERO = re.compile(r"([-+])1,0\b")
"""A range without a line begins before the first line, as patch(1) reads it; patiencediff counts it from 1."""


def patched(base: str, ours: str, theirs: str, fuzz: int) -> str | None:
    """`ours` with the difference from `base` to `theirs`, `fuzz` lines of context left aside; None where it does not
    apply."""
    text = difference("file", base, theirs)
    with tempfile.TemporaryDirectory(prefix="suture-els-") as folder:
        place = Path(folder, "file")
        place.write_bytes(ours.encode(errors="surrogateescape"))
        try:
            apply_patch(Path(folder), text, fuzz=fuzz)
        except CommandFailed:
            return None
        return place.read_bytes().decode(errors="surrogateescape")


def difference(path: str, before: str, after: str, creates: bool = False) -> str:
    """A unified diff of a file, as patch(1) takes it; `creates` for one that was not there."""
    old = "/dev/null" if creates else f"a/{path}"
    rows = unified_diff(_lines(before), _lines(after), old, f"b/{path}", sequencematcher=PatienceSequenceMatcher)
    rows = (_ZERO.sub(lambda m: f"{m[1]}0,0", r) if r.startswith("@@ ") else r for r in rows)
    return "".join(r if r.endswith("\n") else f"{r}\n\\ No newline at end of file\n" for r in rows)


def _lines(text: str) -> list[str]:
    parts = text.split("\n")
    return [f"{p}\n" for p in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
