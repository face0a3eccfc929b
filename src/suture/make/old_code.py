"""The old function as a pattern, by which copies of it are found that other binaries hold: programs that were linked
statically."""

from __future__ import annotations

from suture.delta.atom import AtomFunction
from suture.match.linker_edit import open_range
from suture.match.pattern import Pattern


def old_code(old: AtomFunction, new: AtomFunction | None) -> str:
    """`old` as compiled, with the fields of the linker left open; empty where that matches the new code as well."""
    data = old.hot.data
    pattern = Pattern.of(data, (open_range(data, r.offset, r.r_type) for r in old.hot.references))
    if new is not None and len(new.hot.data) == len(data) and pattern.matches(new.hot.data, 0):
        return ""
    return str(pattern)
