"""Files of the source that a build copies before it compiles them: a fix of the file has to reach its copies."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from suture.compile.generate import CODE_SUFFIXES
from suture.source import cache


def copies(source: Path, built: Path) -> dict[str, list[str]]:
    """For each file of the unpacked source the files of the configured tree `built` that are copies of it, by path.

    A copy has the name and the bytes of the file, and is not in the source. Of several files that it may be a copy of,
    the one counts whose path ends most like its own; it is of none where that leaves a choice, for nothing tells.
    """
    originals: dict[str, list[str]] = {}
    for path in _files(source):
        originals.setdefault(PurePosixPath(path).name, []).append(path)
    found: dict[str, list[str]] = {}
    for path in _files(built):
        rows = originals.get(PurePosixPath(path).name, ())
        if not rows or path in rows:
            continue
        size = (built / path).stat().st_size
        same = [x for x in rows if (source / x).stat().st_size == size]
        same = [x for x in same if (source / x).read_bytes() == (built / path).read_bytes()]
        likeness = [_shared_end(x, path) for x in same]
        best = [x for x, n in zip(same, likeness, strict=True) if n == max(likeness)]
        if len(best) == 1:
            found.setdefault(best[0], []).append(path)
    return {k: sorted(v) for k, v in sorted(found.items())}


def copies_of(path: str, known: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The copies of a file; those of a file that a fix adds would be beside the copies of others in its folder."""
    if path in known:
        return tuple(known[path])
    folder, name = PurePosixPath(path).parent, PurePosixPath(path).name
    places = {PurePosixPath(c).parent for x, rows in known.items() if PurePosixPath(x).parent == folder for c in rows}
    return tuple(sorted(str(p / name) for p in places))


def _shared_end(one: str, other: str) -> int:
    """How many last parts two paths share."""
    pairs = zip(reversed(PurePosixPath(one).parts), reversed(PurePosixPath(other).parts), strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(one.count("/"), other.count("/")) + 1)


def _files(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [x for x in folders if x not in {".pc", ".git"}]
        for name in names:
            path = Path(place, name)
            if path.suffix in CODE_SUFFIXES and cache.is_plain(path):
                yield str(path.relative_to(folder))
