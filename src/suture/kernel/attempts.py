"""Counters of tripwires in the running kernel's live patches, as the read-only parameters of their modules show them.

A module has one parameter with all counts and one with the text of each tripwire, so that no patch file is needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from suture.kernel.livepatch import LoadedPatch
from suture.kernel.manifest import KernelManifest
from suture.patch.field import Reader
from suture.patch.tripwire import Tripwire
from suture.report.attempt import CountedWire, TrippedWire

COUNTS = "tripwires"
"""The parameter with the counts, by commas, in the order of the texts."""
WIRE = "tripwire_"
"""What the name of a text's parameter begins with; its number follows."""
_READER = Reader({})
_KERNEL = "linux"


def wire_text(wire: Tripwire) -> str:
    """A tripwire as the parameter of a module."""
    return json.dumps(asdict(wire), sort_keys=True, separators=(",", ":"))


def counts(patches: Iterable[LoadedPatch]) -> tuple[CountedWire, ...]:
    """How often each tripwire of these patches was reached since its module was loaded. What is no count or text, as
    in a module of another maker, is left out."""
    found = []
    for patch in patches:
        numbers = patch.record.get(COUNTS, "").split(",") if patch.is_ours else []
        for number, count in enumerate(numbers):
            wire = _wire(patch, patch.record.get(f"{WIRE}{number}", ""))
            if wire is not None and count.isdecimal():
                found.append(CountedWire(wire, int(count)))
    return tuple(found)


def carried(manifest: KernelManifest, loaded: Iterable[LoadedPatch]) -> str:
    """The parameter with which a module that takes the place of all others goes on counting where they are; "" for
    none. What they count while tasks change over is lost."""
    if not (manifest.replace and manifest.tripwires):
        return ""
    known: dict[tuple[str, str, str], int] = {}
    for one in counts(loaded):
        w = one.wire
        place = (w.file, w.function, w.condition)
        known[place] = max(known.get(place, 0), one.count)
    rows = [known.get((t.file, t.function, t.condition), 0) for t in manifest.tripwires]
    return f"{COUNTS}={','.join(map(str, rows))}" if any(rows) else ""


def _wire(patch: LoadedPatch, text: str) -> TrippedWire | None:
    try:
        t = _READER.read(json.loads(text), Tripwire)
    except (ValueError, TypeError):
        return None
    version = patch.record["target"]
    return TrippedWire(patch.name, _KERNEL, _KERNEL, version, t.file, t.line, t.function, t.condition, t.cves)
