"""The rounds of a conversion: what is not whole goes, what stands on it goes, the rest stays; and facts that are
kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suture.convert import conversion
from suture.convert.conversion import _Attempt
from suture.convert.result import Closing, Conversion, ConvertOutcome, CveResult, FixResult, PatchResult
from suture.convert.store import folder_of, is_done, keep, load
from suture.delta.ledger import Account, Fate, FileAccount, Ledger
from suture.error import NotFound, Refused
from suture.make import request
from suture.make.make import Made, Making
from suture.make.request import Request
from suture.number import BuildId
from suture.patch.manifest import FixFact, Manifest, RefusedFunction, Target
from suture.source.fix import Fix, parse
from suture.source.update import Update

UPDATE = Update("x", "bookworm", "1-1", "1-2")
NO = Account(Fate.MISSING, reason="a structure grows")


def fix(name: str, path: str) -> Fix:
    return parse(f"--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-a\n+{name}\n", name)


def made(fixes: Sequence[Fix], wrong: Mapping[str, Account]) -> Making:
    """A making in which each fix is whole but for those in `wrong`."""
    rows = []
    for one in fixes:
        account = wrong.get(one.name) or Account(Fate.PATCHED, functions=(f"of_{one.name}",))
        rows.append(FixFact(one.name, (), "", Ledger((FileAccount(one.files[0].path, (account,)),))))
    target = Target(BuildId("aa"), "lib.so", "p", "x", "1-1", "x86_64")
    return Making((Made("f", "id", b"", Manifest("n", target, tuple(rows), (), {})),), (), {})


class World:
    """A tree and a maker of our own: `wrong` are fixes of which something is always missing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, wrong: Sequence[str] = ()) -> None:
        self.rounds: list[list[str]] = []
        self.wrong = wrong
        self.tree = SimpleNamespace(files=folder, places_of=lambda p: (p,))
        monkeypatch.setattr(conversion, "make", self.make)

    def make(self, tree: Any, shipped: Any, fixes: Sequence[Fix], *_: Any) -> Making:
        self.rounds.append([f.name for f in fixes])
        return made(fixes, {n: NO for n in self.wrong})

    def convert(self, *fixes: Fix) -> tuple[Making | None, dict[str, FixResult]]:
        prepared = SimpleNamespace(tree=self.tree, shipped=(), beside=tuple)
        making, results = _Attempt(UPDATE, prepared, fixes, lambda text: None).run()  # type: ignore[arg-type]
        return making, {r.name: r for r in results}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.c", "b.c", "c.c"):
        (tmp_path / name).write_text("a\n")
    return tmp_path


def test_fixes_that_are_all_whole_take_one_making(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    world = World(monkeypatch, folder)
    making, results = world.convert(fix("one", "a.c"), fix("two", "b.c"))
    assert making is not None and world.rounds == [["one", "two"]]
    assert {r.outcome for r in results.values()} == {ConvertOutcome.LIVE}
    assert results["one"].functions == {"lib.so": ("of_one",)}


def test_a_fix_that_is_not_whole_goes_with_its_reason_and_the_rest_stays(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    world = World(monkeypatch, folder, ["two"])
    making, results = world.convert(fix("one", "a.c"), fix("two", "b.c"), fix("three", "c.c"))
    assert making is not None and world.rounds[-1] == ["one", "three"]
    assert results["two"] == FixResult("two", (), ConvertOutcome.DISK, {}, ("a structure grows",))
    assert results["three"].outcome is ConvertOutcome.LIVE


def test_a_fix_that_stands_on_one_that_went_goes_too(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    upon = parse("--- a/a.c\n+++ b/a.c\n@@ -1 +1 @@\n-one\n+two\n", "upon")
    making, results = World(monkeypatch, folder, ["one"]).convert(fix("one", "a.c"), upon, fix("three", "c.c"))
    assert making is not None and results["three"].outcome is ConvertOutcome.LIVE
    assert results["upon"].outcome is ConvertOutcome.DISK and "one" in results["upon"].reasons[0]


def test_nothing_is_made_of_fixes_of_which_none_is_whole(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    making, results = World(monkeypatch, folder, ["one", "two"]).convert(fix("one", "a.c"), fix("two", "b.c"))
    assert making is None and {r.outcome for r in results.values()} == {ConvertOutcome.DISK}


def test_when_the_maker_refuses_all_at_once_each_is_tried_by_itself(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    world = World(monkeypatch, folder)

    def make(tree: Any, shipped: Any, fixes: Sequence[Fix], *rest: Any) -> Making:
        if any(f.name == "bad" for f in fixes):
            raise Refused("the compiler rejects it", "correct it")
        return world.make(tree, shipped, fixes, *rest)

    monkeypatch.setattr(conversion, "make", make)
    making, results = world.convert(fix("good", "a.c"), fix("bad", "b.c"))
    assert making is not None and results["good"].outcome is ConvertOutcome.LIVE
    assert results["bad"].reasons == ("the compiler rejects it",)


def test_what_goes_in_whole_is_made_again_with_tripwires(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    world, asked = World(monkeypatch, folder, ["two"]), []

    def make(tree: Any, shipped: Any, fixes: Sequence[Fix], facts: Any, *rest: Any) -> Making:
        asked.append({k: facts[k] for k in ("tripwires", "no_tripwire") if k in facts})
        return world.make(tree, shipped, fixes, facts, *rest)

    monkeypatch.setattr(conversion, "make", make)
    prepared: Any = SimpleNamespace(tree=world.tree, shipped=(), beside=tuple)
    attempt = _Attempt(UPDATE, prepared, (fix("one", "a.c"), fix("two", "b.c")), lambda text: None)
    attempt.run()
    assert not any(asked)
    attempt.wired({"a.c:7": "noisy: x --version reaches it"})
    assert world.rounds[-1] == ["one"]
    assert asked[-1] == {"tripwires": ("yes",), "no_tripwire": ("a.c:7", "noisy: x --version reaches it")}


def test_what_is_refused_without_a_patch_to_say_so_counts(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    world = World(monkeypatch, folder)
    refused = Making((), (RefusedFunction("", "a.c", 0, "assembly changes", "restart"),), {})
    monkeypatch.setattr(conversion, "make", lambda *_: refused)
    making, results = world.convert(fix("one", "a.c"))
    assert making is None and results["one"].reasons == ("assembly changes",)


def test_a_unit_that_recorded_commands_do_not_make_has_the_package_built_for_real(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    world, asked = World(monkeypatch, folder), []
    recorded, built = (
        SimpleNamespace(tree=SimpleNamespace(**vars(world.tree), recipe=recipe, source="s"), shipped=(), beside=tuple)
        for recipe in (SimpleNamespace(is_stand_in=True), SimpleNamespace(is_stand_in=False))
    )

    def make(tree: Any, shipped: Any, fixes: Sequence[Fix], *rest: Any) -> Making:
        lacking = ("a.c",) if tree.recipe.is_stand_in else ()
        return replace(world.make(tree, shipped, fixes, *rest), unmade=lacking)

    def ready_for(source: Any, archive: Any, progress: Any, real: bool) -> Any:
        asked.append(real)
        return built

    monkeypatch.setattr(conversion, "make", make)
    monkeypatch.setattr(conversion, "ready_for", ready_for)
    fixes: Any = (UPDATE, recorded, None, (fix("one", "a.c"),), lambda text: None)
    attempt, (making, results) = conversion._made(*fixes)
    assert attempt.prepared is built and asked == [True] and making is not None
    assert results[0].outcome is ConvertOutcome.LIVE and len(world.rounds) == 2


def test_a_unit_that_a_real_build_does_not_make_either_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    world = World(monkeypatch, folder, ["one"])
    monkeypatch.setattr(conversion, "make", lambda *a: replace(world.make(*a), unmade=("a.c",)))
    making, results = world.convert(fix("one", "a.c"))
    assert making is None and results["one"].outcome is ConvertOutcome.DISK


def test_a_conversion_is_read_as_it_was_kept(tmp_path: Path) -> None:
    fixes = (FixResult("f", ("CVE-2026-1111",), ConvertOutcome.DISK, {}, ("why",), ()),)
    cves = (CveResult("CVE-2026-1111", Closing.DISK, ("f",), ("why",)),)
    patches = (PatchResult("id", "f.suture.o", "/p", "lib.so", "aa", 2, "safe", "passed", ("x --version",), ""),)
    whole = Conversion("x", "bookworm", "1-1", "1-2", "recipe, recorded", fixes, cves, patches, {"make": 1.5})
    assert not is_done(UPDATE, tmp_path)
    keep(whole, folder_of(UPDATE, tmp_path))
    assert is_done(UPDATE, tmp_path)
    again = load(UPDATE, tmp_path)
    assert again.cves[0].closing is Closing.DISK and again.fixes[0].outcome is ConvertOutcome.DISK
    assert replace(again, fixes=(), cves=(), patches=()) == replace(whole, fixes=(), cves=(), patches=())


def test_the_request_of_an_update_makes_its_fixes_again_with_what_they_are_for(folder: Path) -> None:
    """`suture verify` has nothing but the manifest: prose that a patch of the series begins with is not in it."""
    prose = "Subject: a: stop the overflow\nBug-Debian: https://example.org/CVE-2025-1111\n---\n"
    one = parse(prose + fix("one.patch", "a.c").text, "one.patch")
    two = fix("CVE-2025-2222-1.patch", "b.c")
    prepared: Any = SimpleNamespace(tree=SimpleNamespace(files=folder, has=lambda p: (folder / p).is_file()))
    asked = _Attempt(UPDATE, prepared, [one, two], lambda text: None)._request([one, two])
    kept = Request.from_facts(asked.facts(), "lib.so")
    again = request._fixes(kept, prepared.tree)
    assert [(f.cves, f.sha256) for f in again] == [(("CVE-2025-1111",), one.sha256), ((), two.sha256)]
    assert [n.cve for f in again for n in f.named] == ["CVE-2025-2222"]


def test_a_plan_tells_of_a_source_that_does_not_arrive_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(name: str, version: str, progress: object) -> None:
        raise NotFound(f"source package {name} {version} does not arrive", "choose another")

    monkeypatch.setattr(conversion, "archive_for", gone)
    found = conversion.planned(Update("x", "bookworm", "1-1", "1-2"))
    assert found.problem == "source package x 1-1 does not arrive" and (found.fixes, found.cves) == ((), ())
