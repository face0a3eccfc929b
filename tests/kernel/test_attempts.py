"""Counts of tripwires as a loaded module's parameters show them, and what a module that takes others' place goes on
from."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import cast

from suture.kernel.attempts import carried, counts, wire_text
from suture.kernel.livepatch import LoadedPatch
from suture.kernel.manifest import KernelManifest
from suture.patch.tripwire import Tripwire

WIRE = Tripwire("drivers/tty/vt/vt_ioctl.c", 411, "vt_k_ioctl", '!perm && "x"', "exit", "a.patch", ("CVE-2099-1",), 0)
OTHER = replace(WIRE, line=500, condition="size > 4", offset=8)


def loaded(name: str = "suture_a", **record: str) -> LoadedPatch:
    own = {"patch": name, "target": "6.1.176-1", "tripwire_0": wire_text(WIRE), "tripwire_1": wire_text(OTHER)}
    return LoadedPatch(name, True, False, (), {**own, **record})


class Replacing:
    """What is asked of a manifest."""

    def __init__(self, *wires: Tripwire, replaces: bool = True) -> None:
        self.tripwires, self.replace = wires, replaces


def carried_by(manifest: Replacing, *patches: LoadedPatch) -> str:
    return carried(cast("KernelManifest", manifest), patches)


def test_each_text_has_its_count() -> None:
    found = counts([loaded(tripwires="0,18446744073709551615")])
    assert [(c.wire.condition, c.wire.line, c.wire.cves, c.count) for c in found] == [
        (WIRE.condition, 411, ("CVE-2099-1",), 0),
        ("size > 4", 500, ("CVE-2099-1",), 18446744073709551615),
    ]
    assert (found[0].wire.patch, found[0].wire.binary, found[0].wire.version) == ("suture_a", "linux", "6.1.176-1")


def test_what_is_no_count_or_text_is_left_out() -> None:
    assert counts([loaded()]) == ()
    assert counts([loaded(tripwires="-1,x")]) == ()
    assert counts([loaded(tripwires="1", tripwire_0="{}")]) == ()
    assert counts([loaded(tripwires="1", tripwire_0=json.dumps([1]))]) == ()
    assert counts([LoadedPatch("foreign", True, False, (), {"tripwires": "4", "tripwire_0": wire_text(WIRE)})]) == ()


def test_a_module_in_the_place_of_another_goes_on_from_its_counts() -> None:
    moved = replace(OTHER, line=510, offset=0)
    assert carried_by(Replacing(moved, WIRE), loaded(tripwires="3,7")) == "tripwires=7,3"
    assert carried_by(Replacing(moved), loaded(tripwires="3,0")) == ""
    assert carried_by(Replacing(moved, replaces=False), loaded(tripwires="3,7")) == ""
    assert carried_by(Replacing(), loaded(tripwires="3,7")) == ""


def test_of_several_loaded_modules_the_one_that_has_counted_most_is_gone_on_from() -> None:
    both = (loaded(tripwires="3,7"), loaded("suture_b", tripwires="5,1"))
    assert carried_by(Replacing(WIRE, OTHER), *both) == "tripwires=5,7"
