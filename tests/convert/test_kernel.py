"""One module of the changes that are safe: each by itself, with what it needs, then together, by halves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suture.compile.job import CompileFailed, RejectedUnit
from suture.convert import kernel
from suture.convert.kernel import KernelScope, _Cumulative, _Singles
from suture.convert.kernel_plan import SingleChanges
from suture.convert.result import ConvertOutcome, FixResult
from suture.convert.tried import TriedChange, TriedChanges
from suture.delta.review import Reviewed
from suture.error import Refused
from suture.make_kernel.refusal import KernelRefused, NoChange
from suture.make_kernel.request import KernelRequest
from suture.patch.manifest import RefusedFunction
from suture.source.fix import Fix, parse
from suture.source.update import Update

UPDATE = Update("linux", "bookworm", "6.1.1-1", "6.1.2-1", "amd64")
TREE: Any = SimpleNamespace(target=SimpleNamespace(name=lambda key: "image"))


def fix(name: str, path: str = "", added: str = "") -> Fix:
    path = path or f"fs/{name}.c"
    return parse(f"--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-a\n+{added or name}\n", name)


Answer = Callable[[set[str]], object]


class World:
    """A maker of our own: `answer` gets the names of the changes that are considered together, and raises."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Answer, reviews: Sequence[str] = ()) -> None:
        self.asked: list[set[str]] = []
        self.requests: list[KernelRequest] = []
        self.answer, self.reviews = answer, reviews
        monkeypatch.setattr(kernel, "consider", self.consider)
        monkeypatch.setattr(kernel, "ready", self.ready)
        monkeypatch.setattr(kernel, "make", lambda request, progress: request)

    def consider(self, ready: Any) -> Any:
        names = {f.name for f in ready.fixes}
        self.asked.append(names)
        self.answer(names)
        looks = [Reviewed("lock", n, "f.c", "calls spin_lock once, never before") for n in names & set(self.reviews)]
        return SimpleNamespace(ledgers=(), functions=tuple(sorted(names)), reviews=looks)

    def ready(self, request: KernelRequest) -> Any:
        self.requests.append(request)
        fixes = tuple(SimpleNamespace(name=name) for name, _ in request.fixes)
        return SimpleNamespace(manifest=SimpleNamespace(fixes=fixes))


def singles(folder: Path, fixes: Sequence[Fix], scope: KernelScope | None = None) -> list[TriedChange]:
    return _Singles(TREE, fixes, TriedChanges.open(folder), lambda text: None).run(scope or KernelScope())


def together(
    fixes: Sequence[Fix], tried: Sequence[TriedChange], candidates: dict[str, tuple[str, ...]], review: bool = False
) -> dict[str, TriedChange]:
    plan = SingleChanges(tuple(fixes), 0, candidates)
    _, found = _Cumulative(UPDATE, TREE, plan, tried, review, lambda text: None).run()
    return {t.result.name: t for t in found}


def outcomes(found: dict[str, TriedChange]) -> dict[str, ConvertOutcome]:
    return {n: t.result.outcome for n, t in found.items()}


def test_a_change_that_does_not_compile_takes_in_the_one_that_brings_the_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = "fs/a.c:3:4: error: \u2018struct ring\u2019 has no member named \u2018new_member\u2019"

    def answer(names: set[str]) -> None:
        if "a" in names and "h" not in names:
            raise CompileFailed([RejectedUnit("fs/a.c", "fs/a.o", said)])

    fixes = [fix("a"), fix("b"), fix("h", "include/ring.h", "int new_member;")]
    world = World(monkeypatch, answer)
    tried = singles(tmp_path, fixes)
    assert tried[0].needs == ("h",) and {t.result.outcome for t in tried} == {ConvertOutcome.LIVE}
    assert outcomes(together(fixes, tried, {})) == dict.fromkeys(["a", "b", "h"], ConvertOutcome.LIVE)
    assert world.asked[-1] == {"a", "b", "h"}


def test_what_is_refused_changes_nothing_or_does_not_compile_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def answer(names: set[str]) -> None:
        if names == {"a"}:
            raise KernelRefused("a", (RefusedFunction("f", "fs/a.c", 7, "only runs once", "leave it out"),))
        if names == {"b"}:
            raise NoChange("no code", "nothing to do")
        if names == {"c"}:
            raise CompileFailed([RejectedUnit("fs/c.c", "fs/c.o", "fs/c.c:1:1: error: expected \u2018;\u2019")])

    World(monkeypatch, answer)
    a, b, c = singles(tmp_path, [fix("a"), fix("b"), fix("c")])
    assert a.result.reasons == ("fs/a.c:7 f: only runs once",) and a.result.outcome is ConvertOutcome.DISK
    assert b.result.outcome is ConvertOutcome.NO_CODE
    assert c.result.outcome is ConvertOutcome.DISK and "expected" in c.result.reasons[0]


def test_what_was_tried_before_a_kill_is_not_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def dies(names: set[str]) -> None:
        if names == {"b"}:
            raise KeyboardInterrupt

    fixes = [fix("a"), fix("b")]
    World(monkeypatch, dies)
    with pytest.raises(KeyboardInterrupt):
        singles(tmp_path, fixes)
    world = World(monkeypatch, lambda names: None)
    assert [t.result.name for t in singles(tmp_path, fixes)] == ["a", "b"] and world.asked == [{"b"}]


def test_what_is_left_out_of_the_scope_is_untried_and_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World(monkeypatch, lambda names: None)
    a, b = singles(tmp_path, [fix("a"), fix("b", "net/b.c")], KernelScope(only=("net",)))
    assert (a.result.outcome, b.result.outcome) == (ConvertOutcome.UNTRIED, ConvertOutcome.LIVE)
    assert "--only" in a.result.reasons[0] and world.asked == [{"b"}]
    (late,) = singles(tmp_path, [fix("z")], KernelScope(seconds=1e-9))
    assert "--limit" in late.result.reasons[0]


def test_changes_that_do_not_go_together_are_found_by_halves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def answer(names: set[str]) -> None:
        if {"b", "d"} <= names:
            raise Refused("hunk 1 does not apply", "leave it out")

    fixes = [fix(n) for n in "abcde"]
    World(monkeypatch, answer)
    found = together(fixes, singles(tmp_path, fixes), {})
    wrong = [n for n, o in outcomes(found).items() if o is not ConvertOutcome.LIVE]
    assert len(wrong) == 1 and wrong[0] in "bd", "one of both goes in"
    assert "does not go together" in found[wrong[0]].result.reasons[0]


def test_what_needs_a_change_that_is_refused_is_left_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, lambda names: None)
    fixes = [fix("a"), fix("h"), fix("z")]
    live = [FixResult(n, (), ConvertOutcome.LIVE) for n in "az"]
    tried = [
        TriedChange(live[0], ("h",)),
        TriedChange(FixResult("h", (), ConvertOutcome.DISK, {}, ("no",))),
        TriedChange(live[1]),
    ]
    found = together(fixes, tried, {})
    assert found["a"].result.reasons == ("it needs h, which is not live",)
    assert [n for n, _ in world.requests[-1].fixes] == ["z"]


def test_only_where_nothing_is_left_out_the_module_reaches_the_newer_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fixes = [fix("a"), fix("b")]
    world = World(monkeypatch, lambda names: None)
    tried = singles(tmp_path, fixes)
    together(fixes, tried, {})
    assert world.requests[-1].reaches == "6.1.2-1" and world.requests[-1].replace
    untried = [tried[0], kernel._not_tried(fixes[1], "no time")]
    together(fixes, untried, {})
    assert world.requests[-1].reaches == "" and [n for n, _ in world.requests[-1].fixes] == ["a"]


def test_a_cve_is_claimed_where_all_changes_that_may_be_for_it_are_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fixes = [fix("a"), fix("b")]
    world = World(monkeypatch, lambda names: None)
    tried = singles(tmp_path, fixes)
    candidates = {"CVE-2026-1111": ("a", "b"), "CVE-2026-2222": ("a",)}
    found = together(fixes, [tried[0], kernel._not_tried(fixes[1], "no time")], candidates)
    (text,) = [text for _, text in world.requests[-1].fixes]
    assert parse(text, "a").cves == ("CVE-2026-2222",)
    assert found["b"].result.cves == ("CVE-2026-1111",), "the table tells what is open for it"


def test_what_a_person_should_look_at_goes_in_only_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fixes = [fix("a"), fix("b")]
    World(monkeypatch, lambda names: None, reviews=("b",))
    tried = singles(tmp_path, fixes)
    found = together(fixes, tried, {})
    assert found["b"].result.outcome is ConvertOutcome.DISK and "--with-review" in found["b"].result.reasons[0]
    found = together(fixes, tried, {}, review=True)
    assert found["b"].result.outcome is ConvertOutcome.LIVE and found["b"].result.review
