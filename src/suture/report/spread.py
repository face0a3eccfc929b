"""Fixes that change several binaries: a process that has loaded more than one of them is fixed when each has its part.
Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from suture.report.hole import reopened
from suture.report.reason import Cause, Reason
from suture.report.row import Row
from suture.report.standing import Memory

_IN_FORCE = (Memory.FIXED, Memory.UNTIL_EXEC, Memory.PARTLY)
_DELETED = " (deleted)"


@dataclass(frozen=True)
class Part:
    """What a patch holds of a fix, known by `digest`; `others` are file names of the binaries that hold the rest."""

    digest: str
    name: str
    others: tuple[str, ...]
    cves: tuple[str, ...]


def judged_together(
    rows: Sequence[Row], parts: Mapping[str, Sequence[Part]], loaded: Mapping[int, Collection[str]]
) -> list[Row]:
    """The rows, but partly fixed where a process executes a fix in one binary and not in another that it has loaded.

    `parts` are those of each patch by its id, `loaded` the paths of all binaries of each process.
    """
    by_pid: dict[int, list[Row]] = {}
    for row in rows:
        by_pid.setdefault(row.pid, []).append(row)
    return [_judged(row, by_pid[row.pid], parts, loaded.get(row.pid, ())) for row in rows]


def _judged(row: Row, beside: Sequence[Row], parts: Mapping[str, Sequence[Part]], loaded: Collection[str]) -> Row:
    if row.standing.memory not in _IN_FORCE:
        return row
    lacking = [
        (part, other)
        for part in (p for i in row.patches for p in parts.get(i, ()))
        for other in part.others
        if any(_is_called(path, other) for path in loaded) and not _has(part, other, beside, parts)
    ]
    if not lacking:
        return row
    causes = [
        Cause(
            Reason.OTHER_PART,
            f"{part.name} changes {other} too, which this process has loaded and where it is not in force",
            f"apply the patch for {other} as well",
        )
        for part, other in dict.fromkeys(lacking)
    ]
    standing = replace(row.standing, memory=Memory.PARTLY)
    cves = {c for part, _ in lacking for c in part.cves}
    return replace(row, standing=standing, holes=reopened(row.holes, cves, standing), causes=(*row.causes, *causes))


def _has(part: Part, other: str, rows: Sequence[Row], parts: Mapping[str, Sequence[Part]]) -> bool:
    """Whether each copy of a binary has its part of the fix, or another fix that closes the same."""
    theirs = [r for r in rows if _is_called(r.file, other)]
    return bool(theirs) and all(r.standing.memory in _IN_FORCE and _closes(r, part, parts) for r in theirs)


def _closes(row: Row, part: Part, parts: Mapping[str, Sequence[Part]]) -> bool:
    if any(p.digest == part.digest for i in row.patches for p in parts.get(i, ())):
        return True
    return bool(part.cves) and set(part.cves) <= {h.cve for h in row.holes if h.state.is_closed}


def _is_called(path: str, name: str) -> bool:
    """Whether a file goes by a name; what is mapped may be the file behind the link that a library is known by."""
    base = posixpath.basename(path.removesuffix(_DELETED))
    return base == name or base.startswith(f"{name}.")
