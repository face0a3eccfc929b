"""Tripwires of a patch as lines for people."""

from __future__ import annotations

from collections.abc import Sequence

from suture.cli.output import print_table
from suture.patch.tripwire import Tripwire, WithoutTripwire


def print_tripwires(wires: Sequence[Tripwire], without: Sequence[WithoutTripwire]) -> None:
    """What counts attempts, and what rejects something uncounted."""
    if wires or without:
        print()
        rows = [(f"{t.file}:{t.line}", t.function, t.condition, t.kind, ", ".join(t.cves)) for t in wires]
        print_table(("tripwire", "function", "counts when", "kind", "CVEs"), rows)
    for w in without:
        place = f"{w.file}:{w.line}" if w.line else w.file
        print(f"no tripwire at {place}: {w.condition}{': ' if w.condition else ''}{w.reason}")
