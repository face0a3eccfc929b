"""A fix from both sides, for a person who has to look at it."""

from __future__ import annotations

from collections.abc import Callable

from suture.els.backport import Backport
from suture.els.merge import merged
from suture.els.need import Need
from suture.els.patching import difference
from suture.report.els import BackportedFix, ConflictSides, ReviewedFile, ReviewedFix
from suture.source.quilt import Series


def reviewed(
    row: BackportedFix, need: Need, found: Backport, newer: Series, read: Callable[[str], str | None]
) -> ReviewedFix:
    """Both sides of a fix. `row` and `found` are what came of carrying it, `read` gives the older release's text of a
    path as it was before."""
    first, last = need.patches[0].name, need.patches[-1].name
    files = []
    made = {c.path: c for c in found.carried}
    for path in dict.fromkeys(f.path for fix in need.patches for f in fix.files):
        before, after = newer.before(first, path), newer.after(last, path)
        one, old = made.pop(path, None), read(path)
        files.append(
            ReviewedFile(
                path,
                difference(path, before or "", after or "", creates=before is None),
                difference(one.path, one.before or "", one.after or "", creates=one.before is None) if one else "",
                _conflicts(before, old, after) if one is None else (),
            )
        )
    for path, one in made.items():  # the older release has the file elsewhere
        files.append(ReviewedFile(path, "", difference(path, one.before or "", one.after or ""), ()))
    return ReviewedFix(row, tuple(files))


def _conflicts(before: str | None, old: str | None, after: str | None) -> tuple[ConflictSides, ...]:
    if before is None or old is None or after is None:
        return ()
    return tuple(ConflictSides(c.base, c.ours, c.theirs) for c in merged(before, old, after).conflicts)
