"""Patches that hold parts of the same fixes, each for another binary, and so belong together."""

from __future__ import annotations

from collections.abc import Iterable

from suture.patch.file import PatchFile


def parts_of_fixes(patches: Iterable[PatchFile]) -> list[list[PatchFile]]:
    """The patches in lists of those that belong together, by whatever steps; in their order, and each only once."""
    found: list[tuple[set[str], list[PatchFile]]] = []
    for patch in {p.id: p for p in patches}.values():
        fixes = {f.sha256 for f in patch.manifest.fixes}
        near = [row for row in found if row[0] & fixes]
        merged = (fixes.union(*(row[0] for row in near)), [p for row in near for p in row[1]] + [patch])
        found = [row for row in found if not any(row is n for n in near)] + [merged]
    return [row for _, row in found]
