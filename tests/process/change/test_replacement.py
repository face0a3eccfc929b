"""Which patch gives way to which, decided from records and a manifest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from suture.delta.ledger import Account, Fate, FileAccount, Ledger
from suture.error import Refused
from suture.number import Address, Bias, BuildId, FileOffset, Vaddr
from suture.patch.consistency import Consistency
from suture.patch.manifest import FixFact, Group, Manifest, ReplacedFunction, Target
from suture.patch.record import PlacedFunction, PlacedGroup, Record, RecordedFix
from suture.process.change.replacement import Taken, earlier, refuse_third, taken_over
from suture.process.memory.maps import Mapping
from suture.process.memory.placed import Placed, Route
from suture.report.patch import Earlier

BIAS = 0x5550_0000_0000
NOWHERE = Mapping(Address(0), Address(0), True, False, True, False, FileOffset(0), b"", 0, b"")
WHOLE = Ledger((FileAccount("v.c", (Account(Fate.PATCHED),)),))
PART = Ledger((FileAccount("v.c", (Account(Fate.MISSING),)),))


def old(name: str, address: int, size: int = 64, entry: int = 0) -> PlacedFunction:
    return PlacedFunction(
        name,
        Address(BIAS + address),
        size,
        "",
        entry,
        5,
        b"",
        Address(0),
        0,
        Address(0),
        0,
        Address(0),
        Consistency.STRICT,
    )


def record(identity: str, *functions: PlacedFunction, fixes: tuple[RecordedFix, ...] = ()) -> Record:
    groups = (PlacedGroup("g", Address(0), functions),)
    return Record(
        identity,
        f"name of {identity}",
        BuildId(""),
        "",
        "",
        "",
        fixes,
        (),
        Address(0),
        0,
        0,
        Address(0),
        0,
        Bias(BIAS),
        groups,
    )


def new(name: str, address: int, size: int = 64, entry: int = 0) -> ReplacedFunction:
    return ReplacedFunction(name, Vaddr(address), size, "", entry, 5, name, f"{name}.orig")


def manifest(
    *functions: ReplacedFunction, supersedes: tuple[str, ...] = (), fixes: tuple[FixFact, ...] = ()
) -> Manifest:
    target = Target(BuildId(""), "x", "", "", "", "x86_64")
    return Manifest("new", target, fixes, (Group("g", functions),), {}, supersedes)


def in_force(*records: Record) -> dict[Address, Route | None]:
    return {f.old: Route(b"", Address(0), True, r.id) for r in records for f in r.functions}


def taken(
    m: Manifest,
    *records: Record,
    known: dict[Address, Route | None] | None = None,
    replace: bool = False,
    loss: bool = False,
) -> list[Taken]:
    here = [Placed(r, NOWHERE, NOWHERE) for r in records]
    return taken_over(1, "new", m, Bias(BIAS), here, in_force(*records) if known is None else known, replace, loss)


F, G = old("f", 0x1000), old("g", 0x2000)
ONE = record("one", F)


def refused(message: str, remedy: str, m: Manifest, *records: Record, **how: Any) -> None:
    with pytest.raises(Refused) as caught:
        taken(m, *records, **how)
    assert message in caught.value.what
    assert remedy in caught.value.remedy


def test_a_patch_of_other_functions_stays() -> None:
    assert taken(manifest(new("h", 0x3000)), ONE) == []
    assert taken(manifest(new("h", 0x1040)), ONE) == []  # they touch
    assert taken(manifest(new("h", 0xFC0)), ONE) == []


def test_one_that_is_not_in_force_or_is_the_same_patch_does_not_count() -> None:
    assert taken(manifest(new("f", 0x1000)), ONE, known={F.old: Route(b"", Address(0), True, "")}) == []
    assert taken(manifest(new("f", 0x1000)), ONE, known={F.old: None}) == []
    assert taken(manifest(new("f", 0x1000)), ONE, known={}) == []
    assert taken(manifest(new("f", 0x1000)), record("new", F)) == []
    # the others are looked at all the same
    assert [
        t.record.id for t in taken(manifest(new("f", 0x1000)), record("new", F), ONE, known=in_force(ONE), replace=True)
    ] == ["one"]
    assert [
        t.record.id
        for t in taken(manifest(new("f", 0x1000)), record("zero", G), ONE, known=in_force(ONE), replace=True)
    ] == ["one"]


def test_the_same_function_is_taken_over_only_when_asked() -> None:
    m = manifest(new("f", 0x1000))
    refused("pid 1: f is already replaced by one (name of one)", "--replace", m, ONE)
    assert taken(m, ONE, replace=True) == [Taken(ONE, ())]
    assert taken(replace(m, supersedes=("one",)), ONE) == [Taken(ONE, ())]
    assert taken(replace(m, supersedes=("name of one",)), ONE) == [Taken(ONE, ())]
    assert taken(manifest(new("h", 0x3000), supersedes=("one",)), ONE) == [Taken(ONE, ("f",))]


def test_at_most_four_functions_are_named_in_order() -> None:
    functions = [old(n, 0x1000 * (9 - i)) for i, n in enumerate("edcba")]
    m = manifest(*(new(f.name, f.old - BIAS) for f in functions))
    refused("pid 1: a, b, c, d is already", "", m, record("one", *functions))


@pytest.mark.parametrize(
    ("address", "size", "entry"), [(0x1000, 64, 4), (0x1010, 64, 0), (0xFF0, 64, 0), (0x103F, 1, 0), (0xFF0, 17, 0)]
)
def test_bounds_that_differ_are_refused_however_it_is_asked(address: int, size: int, entry: int) -> None:
    m = manifest(new("h", address, size, entry), supersedes=("one",))
    refused("pid 1: one replaces f, with other bounds", "suture revert one 1", m, ONE, replace=True, loss=True)


def test_a_function_that_nobody_replaces_any_more_is_a_loss() -> None:
    both = record("one", F, G, fixes=(RecordedFix("fix-a", ("CVE-1",)), RecordedFix("fix-b", ())))
    m = manifest(new("f", 0x1000))
    refused(
        "in place of one (name of one), this patch would take out its g, which", "--accept-loss", m, both, replace=True
    )
    refused("fixes of that patch: fix-a CVE-1, fix-b", "", m, both, replace=True)
    with pytest.raises(Refused) as caught:
        taken(m, record("one", F, G), replace=True)
    assert "fixes of" not in caught.value.what
    assert taken(m, both, replace=True, loss=True) == [Taken(both, ("g",))]
    assert taken(replace(m, supersedes=("one",)), both) == [Taken(both, ("g",))]
    assert taken(manifest(new("f", 0x1000), new("g", 0x2000)), both, replace=True) == [Taken(both, ())]


def test_it_is_none_when_the_new_patch_has_all_fixes() -> None:
    def lost(*fixes: FixFact, of: tuple[RecordedFix, ...]) -> bool:
        both = record("one", F, G, fixes=of)
        try:
            return taken(manifest(new("f", 0x1000), fixes=fixes), both, replace=True) != [Taken(both, ("g",))]
        except Refused:
            return True

    a, b = RecordedFix("fix-a", ("CVE-1", "CVE-2")), RecordedFix("fix-b", ())
    assert not lost(FixFact("fix-a", (), "", WHOLE), of=(a,))
    assert not lost(FixFact("other", ("CVE-1", "CVE-2", "CVE-3"), "", WHOLE), of=(a,))
    assert not lost(FixFact("x", ("CVE-1",), "", WHOLE), FixFact("y", ("CVE-2",), "", WHOLE), of=(a,))
    assert not lost(FixFact("fix-a", (), "", WHOLE), FixFact("fix-b", (), "", WHOLE), of=(a, b))
    assert lost(FixFact("other", ("CVE-1",), "", WHOLE), of=(a,))
    assert lost(FixFact("fix-a", ("CVE-1", "CVE-2"), "", PART), of=(a,))
    assert lost(FixFact("fix-a", (), "", WHOLE), of=(a, b))
    assert lost(FixFact("other", ("CVE-1",), "", WHOLE), of=(b,))
    assert lost(FixFact("fix-a", (), "", WHOLE), of=())


def test_what_could_take_its_place_again_is_of_the_same_functions_and_not_in_force() -> None:
    two, three, four = record("two", F, G), record("three", G), record("four", F)
    here = [Placed(r, NOWHERE, NOWHERE) for r in (ONE, two, three, four)]
    known = in_force(ONE)
    assert earlier(ONE, here, known) == (Earlier("two", "name of two"), Earlier("four", "name of four"))
    assert earlier(ONE, here, {**known, G.old: Route(b"", Address(0), True, "two")}) == (
        Earlier("four", "name of four"),
    )
    assert earlier(three, here, known) == (Earlier("two", "name of two"),)


def test_functions_of_a_third_patch_are_refused() -> None:
    two = record("two", F, G)
    for owners in (("one", "two"), ("", ""), ("one", "")):
        refuse_third(1, two, ONE, {f.old: Route(b"", Address(0), True, o) for f, o in zip((F, G), owners, strict=True)})
    refuse_third(1, two, ONE, {F.old: None})
    with pytest.raises(Refused, match=r"functions of two \(name of two\) belong to five, four now") as caught:
        refuse_third(
            1, two, ONE, {F.old: Route(b"", Address(0), True, "four"), G.old: Route(b"", Address(0), True, "five")}
        )
    assert "suture revert five 1" in caught.value.remedy
