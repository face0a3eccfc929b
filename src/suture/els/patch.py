"""A backport as a patch for a quilt series, with what it says of itself (DEP-3)."""

from __future__ import annotations

from suture.els.backport import Backport
from suture.els.need import Need
from suture.els.patching import difference
from suture.source.archive import SourceVersion


def text(need: Need, found: Backport, newer: SourceVersion) -> str:
    """The patch: a header that names its origin, and the files in order."""
    names = ", ".join(f.name for f in need.patches)
    ways = ", ".join(f"{c.path} by {c.way.value}" for c in found.carried)
    rows = [
        f"Description: {' '.join(need.cves) or names}",
        f" Carried from {newer.name} {newer.version} ({names}): {ways}.",
        *([f" Left out, because it is no code: {', '.join(found.left_out)}."] if found.left_out else []),
        f"Origin: backport, {newer.name} {newer.version}, {names}",
        "Forwarded: not-needed",
    ]
    files = "".join(difference(c.path, c.before or "", c.after or "", creates=c.before is None) for c in found.carried)
    return "\n".join(rows) + "\n---\n" + files
