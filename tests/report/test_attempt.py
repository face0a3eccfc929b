"""Tripwires: which is the same in another patch."""

from __future__ import annotations

from dataclasses import replace

from suture.report.attempt import TrippedWire

WIRE = TrippedWire("p1", "nginx", "nginx", "1.22", "src/a.c", 77, "parse", "n > 9", ("CVE-2026-1",))


def test_a_tripwire_is_the_same_in_the_patch_that_replaces_its_own() -> None:
    assert replace(WIRE, patch="p2", version="1.22+1", line=80, cves=()).place == WIRE.place
    for other in ({"binary": "x"}, {"file": "b.c"}, {"function": "read"}, {"condition": "n > 8"}):
        assert replace(WIRE, **other).place != WIRE.place  # type: ignore[arg-type]
