"""The manifest: written and read back the same, canonical, and refused wherever one of its facts is no such fact."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from suture.delta.ledger import Account, Fate, FileAccount, Ledger, Lines
from suture.error import ExitCode
from suture.match.proof import MatchedSection, MatchedUnit, Proof, ProvenSymbol
from suture.number import BuildId, Vaddr
from suture.patch.consistency import Consistency
from suture.patch.manifest import (
    BadPatch,
    FixFact,
    Group,
    ImportedSymbol,
    Manifest,
    NamedCve,
    OldPart,
    RefusedFunction,
    ReplacedFunction,
    Suspending,
    SymbolKind,
    Target,
    Verdict,
    closed,
    parse_manifest,
)
from suture.patch.tripwire import Tripwire, WithoutTripwire
from tests.patch.document import at, changed, places

PAGE = Path(__file__).parents[2] / "docs/reference/patch-format.md"
PATCHED = Account(Fate.PATCHED, (Lines(3, 4), Lines(9, 9)), (Lines(3, 8),), ("f", "h"), 2, ("libb.so",))
MISSING = Account(Fate.MISSING, (), (Lines(1, 1),), (), 1, (), "reason", "remedy")
LEDGER = Ledger((FileAccount("a\udcff.c", (PATCHED, MISSING)), FileAccount("README", (Account(Fate.NO_CODE),))))
FULL = Manifest(
    "name",
    Target(BuildId("ab" * 20), "lib.so", "package", "source", "1:2-3", "x86_64"),
    (
        FixFact(
            "b.patch",
            ("CVE-2099-0002", "CVE-2099-0001"),
            "00",
            LEDGER,
            (NamedCve("CVE-2099-0003", "mentioned", False),),
        ),
        FixFact("a.patch", ("CVE-2099-0001",), "11"),
    ),
    (
        Group(
            "g",
            (ReplacedFunction("f", Vaddr(0x10), 9, "22", 4, 6, "f", "f.orig"),),
            (OldPart("f.cold", Vaddr(0x90), 3),),
        ),
        Group("h", (ReplacedFunction("h", Vaddr(0x20), 8, "33", 0, 5, "h", "h.orig", Consistency.RELAXED),)),
    ),
    {
        "i": ImportedSymbol(SymbolKind.IMAGE, Vaddr(0xFFFFFFFFFFFFFFFF)),
        "s@got": ImportedSymbol(SymbolKind.SLOT, Vaddr(0x40)),
        "m@import": ImportedSymbol(SymbolKind.IMPORT, Vaddr(0), "m", "GLIBC_2.2.5"),
    },
    ("older",),
    Verdict(False, ("a note",), (RefusedFunction("r", "r.c", 12, "reason", "remedy"),)),
    Proof(
        (MatchedUnit("a.c", "a.o", False, (MatchedSection(".text", 90, 80, Vaddr(0x1000)),), ("f",)),),
        (ProvenSymbol("i", Vaddr(0x50), ("a.c .text+0x1",)),),
    ),
    {"compiler": "gcc 12"},
    {"source": ("s=1",), "fix": ("a.patch", "text\udc80\n")},
    (Suspending("co_switch", Vaddr(0x60), 7),),
    "only one caller",
    tripwires=(Tripwire("a.c", 12, "f", "n > 9", "exit", "a.patch", ("CVE-2099-0001",), 8),),
    without_tripwire=(WithoutTripwire("a.c", 14, "f", "n > 8", "reason"),),
)

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(0, (1 << 64) - 1)
manifests = st.builds(
    Manifest,
    words,
    st.builds(Target, words, words, words, words, words, words),
    st.lists(st.builds(FixFact, words, st.tuples(words), words), max_size=2).map(tuple),
    st.lists(
        st.builds(
            Group,
            words,
            st.tuples(
                st.builds(
                    ReplacedFunction, words, numbers, numbers, words, numbers, numbers, words, words,
                    st.sampled_from(Consistency),
                )
            ),
            st.tuples(st.builds(OldPart, words, numbers, numbers)),
        ),
        max_size=2,
    ).map(tuple),
    st.dictionaries(words, st.builds(ImportedSymbol, st.sampled_from(SymbolKind), numbers, words, words), max_size=3),
)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(manifests)
def test_any_manifest_is_the_same_after_writing_and_reading(manifest: Manifest) -> None:
    assert parse_manifest(manifest.to_json(), "p") == manifest


def test_nothing_is_left_out_and_a_fix_that_is_not_utf_8_is_kept_byte_for_byte() -> None:
    assert parse_manifest(FULL.to_json(), "p") == FULL
    assert set(json.loads(FULL.to_json())) == {"format", *FULL.__dict__}


def test_the_same_facts_give_the_same_bytes_whatever_their_order() -> None:
    turned = Manifest(**{**FULL.__dict__, "symbols": dict(reversed(FULL.symbols.items()))})
    assert list(turned.symbols) != list(FULL.symbols)
    assert turned.to_json() == FULL.to_json()
    plain = json.dumps(json.loads(FULL.to_json()), sort_keys=True, separators=(",", ":"))
    assert FULL.to_json() == plain.encode("ascii")


def test_a_cve_is_closed_when_every_fix_for_it_is_complete_and_tells_who_else_is_needed() -> None:
    whole, shared = Ledger((FileAccount("a.c", (Account(Fate.SAME),)),)), Ledger((FileAccount("a.c", (PATCHED,)),))
    one, two, three = "CVE-2099-0001", "CVE-2099-0002", "CVE-2099-0003"
    fixes = [
        FixFact("1", (one, two), "", whole),
        FixFact("2", (two, three), "", shared),
        FixFact("3", (three,), "", LEDGER),
    ]
    assert closed(fixes) == {one: (), two: ("libb.so",)}
    assert closed([FixFact("4", (one,), "")]) == {}, "a fix that accounts for nothing closes nothing"


@pytest.mark.parametrize("rows", [[[0, 1]], [[2, 1]], [[1, 2], [3, 4]], [[4, 5], [1, 1]], [[1]], [[1, 2, 3]], ["12"]])
def test_lines_that_are_no_ranges_in_order_are_refused(rows: Any) -> None:
    with pytest.raises(BadPatch):
        parse_manifest(changed(DOCUMENT, ("fixes", 0, "ledger", "files", 0, "accounts", 0, "removed"), rows), "p")


def test_functions_and_cves_are_those_of_all_groups_and_fixes() -> None:
    assert [f.name for f in FULL.functions] == ["f", "h"]
    assert FULL.named_cves == ("CVE-2099-0001", "CVE-2099-0002")


def test_a_cve_of_a_fix_with_a_missing_part_is_named_and_not_closed() -> None:
    assert not FULL.is_complete and FULL.cves == () and FULL.shared_cves == {}
    fixes = [replace(f, ledger=Ledger((FileAccount("a.c", (PATCHED,)),))) for f in FULL.fixes]
    assert replace(FULL, fixes=tuple(fixes)).shared_cves == {c: ("libb.so",) for c in FULL.named_cves}


DOCUMENT = json.loads(FULL.to_json())
OPEN = ("symbols", "toolchain", "request")  # here the keys are names of things


def test_a_field_that_is_missing_is_refused() -> None:
    keys = [p for p in places(DOCUMENT) if isinstance(p[-1], str) and not (len(p) == 2 and p[0] in OPEN)]
    keys = [p for p in keys if p not in (("tripwires",), ("without_tripwire",))]  # left out where there are none
    assert len(keys) > 50
    for path in keys:
        with pytest.raises(BadPatch):
            parse_manifest(changed(DOCUMENT, path, None), f"without {path}")


@pytest.mark.parametrize("value", [{"x": 1}, 3.5, -1, 1 << 64, "\ud800", ["x", ["y"]], True])
def test_a_field_that_holds_something_else_is_refused(value: Any) -> None:
    flags = {("verdict", "safe"), ("proof", "units", 0, "whole"), ("exceptions",)}
    for path in places(DOCUMENT):
        if (path in flags or path[-1] in ("endless", "is_part")) and value is True:
            continue
        with pytest.raises(BadPatch):
            parse_manifest(changed(DOCUMENT, path, value), f"{path} = {value!r}")


def test_a_fact_that_the_format_does_not_know_is_refused_wherever_it_stands() -> None:
    objects = [
        p for p in [(), *places(DOCUMENT)] if isinstance(at(DOCUMENT, p), dict) and not (len(p) == 1 and p[0] in OPEN)
    ]
    assert len(objects) > 10
    for path in objects:
        with pytest.raises(BadPatch, match="unknown"):
            parse_manifest(changed(DOCUMENT, (*path, "unknown"), "x"), f"{path}")


def test_another_format_is_named_and_no_error_but_this_one_is_raised() -> None:
    with pytest.raises(BadPatch, match="format 1 is not 2") as raised:
        parse_manifest(changed(DOCUMENT, ("format",), 1), "p.suture.o")
    assert raised.value.what.startswith("p.suture.o: ") and raised.value.exit_code is ExitCode.BAD_PATCH


def test_the_manifest_of_the_page_is_one() -> None:
    text = PAGE.read_text()
    example = text[text.index("```json") + 7 :]
    manifest = parse_manifest(example[: example.index("```")].encode(), str(PAGE))
    assert manifest.functions[0].displaced == 5
    fields = {p[-1] for p in places(json.loads(manifest.to_json())) if isinstance(p[-1], str)}
    missing = {f for f in fields if f'"{f}"' not in example and f not in ("name", "version", "address")}
    assert not missing


def test_a_patch_is_complete_when_it_is_safe_and_nothing_of_its_fixes_is_missing() -> None:
    whole = Ledger((FileAccount("a.c", (PATCHED,)),))
    for safe, ledger, complete in (
        (True, whole, True),
        (False, whole, False),
        (True, LEDGER, False),
        (False, LEDGER, False),
    ):
        manifest = replace(FULL, verdict=Verdict(safe), fixes=(FixFact("f", (), "", ledger),))
        assert manifest.is_complete is complete


@pytest.mark.parametrize(
    ("rows", "good"),
    [
        ([[1, 1]], True),
        ([[0, 1]], False),
        ([[2, 1]], False),
        ([[1, 2], [4, 4]], True),
        ([[1, 2], [3, 4]], False),
        ([[1, 2], [2, 4]], False),
        ([[1, 3], [5, 5]], True),
        ([[1, 3], [4, 5]], False),
        ([[4, 5], [1, 2]], False),
    ],
)
def test_ranges_of_lines_neither_touch_nor_overlap(rows: list[list[int]], good: bool) -> None:
    document = json.loads(FULL.to_json())
    document["fixes"][0]["ledger"]["files"][0]["accounts"][0]["removed"] = rows
    raw = json.dumps(document).encode()
    if good:
        found = parse_manifest(raw, "p").fixes[0].ledger.files[0].accounts[0].removed
        assert found == tuple(Lines(*r) for r in rows)
    else:
        with pytest.raises(BadPatch, match="no range of lines"):
            parse_manifest(raw, "p")


def test_a_manifest_has_so_many_bytes_and_values_and_no_more() -> None:
    most_bytes, most_values = 16 << 20, 2 << 20
    for raw, why in (
        (b" " * most_bytes, "Expecting value"),
        (b" " * (most_bytes + 1), "bytes of JSON, more than 16777216"),
        (b"[" + b"," * (most_values - 1), "Expecting value"),
        (b"[" + b"," * most_values, "more than 2097152 values"),
    ):
        with pytest.raises(BadPatch, match=why):
            parse_manifest(raw, "p")
