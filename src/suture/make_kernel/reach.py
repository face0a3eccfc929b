"""Whether fixes are all of a later version: what that version changes beyond them must be nothing that this kernel is
compiled from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from suture.error import Refused
from suture.make_kernel import affected, built, overlay
from suture.make_kernel.prepare import ROOT, KernelTree
from suture.progress import Progress, silent
from suture.source.difference import tree_difference
from suture.source.fix import FilePatch, Fix

_NAMED = 8
_OTHER_LINES = re.compile(r"^[-+](?![-+])(?!(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION|NAME) =)", re.M)


def check(tree: KernelTree, fixes: Sequence[Fix], newer: Path, version: str, progress: Progress = silent) -> None:
    """Raises `Refused` with the files of this kernel that the later version (`newer` is its source) changes and the
    fixes do not."""
    progress(f"comparing with linux {version}")
    patched = overlay.layer(tree, fixes, keep_lines=False)[0] / ROOT.lstrip("/")
    rest = left_over(tree.files, patched, newer, version)
    if not rest:
        return
    compiled = built.read(tree).compiles
    files = sorted(p.path for p in rest if p.path in compiled)
    if not files:
        files = _read(tree, rest, version, progress)
    if files:
        more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
        raise Refused(
            f"the fixes are not all of linux {version}: it also changes {', '.join(files[:_NAMED])}{more}",
            "give the fixes of these files too, or leave --reaches out",
        )


def left_over(old: Path, patched: Path, newer: Path, version: str) -> tuple[FilePatch, ...]:
    """Changes of files that differ between the patched tree (`patched` holds the files of `old` that the fixes change)
    and a later one.

    What the makefile says of its own version is no change.
    """
    try:
        whole = tree_difference(old, newer, f"linux-{version}")
    except Refused:
        return ()  # nothing differs
    rest = []
    for part in whole.files:
        here, there = patched / part.path, newer / part.path
        if here.is_file() and there.is_file() and here.read_bytes() == there.read_bytes():
            continue
        if part.path == "Makefile" and not _OTHER_LINES.search(part.text):
            continue
        rest.append(part)
    return tuple(rest)


def _read(tree: KernelTree, rest: Sequence[FilePatch], version: str, progress: Progress) -> list[str]:
    """Those that a unit of this kernel reads, or that change how it is built."""
    parts = tuple(p for p in rest if not p.deletes)
    change = Fix(f"linux-{version}", parts)
    layer = overlay.layer(tree, (change,), keep_lines=False)[0]
    try:
        readers = affected.units(tree, (change,), layer, progress).readers
    except Refused as problem:
        raise Refused(
            f"it is not proved that the fixes are all of linux {version}: {problem.what}", "leave --reaches out"
        ) from problem
    return sorted(path for path, r in readers.items() if r.units or r.outside or r.is_rule)
