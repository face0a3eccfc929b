"""Patches as they are offered: with tripwires, without those that harmless use reaches, and never lost for one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suture.convert import offered
from suture.convert.offered import PatchesToOffer
from suture.convert.result import PatchResult
from suture.error import NotFound
from suture.make.make import Made, Making
from suture.number import BuildId
from suture.patch.manifest import Manifest, Target, Verdict
from suture.patch.tripwire import UNWIRED, Tripwire, WithoutTripwire
from suture.progress import Clock
from suture.trial.result import Case, Trial, TrialOutcome

PLACES = ("a.c:1", "a.c:2", "a.c:3", "a.c:4", "a.c:5")


def making(wired: bool = False, unwanted: Mapping[str, str] | None = None, safe: bool = True) -> Making:
    """One patch; its bytes tell which tripwires it has."""
    left = unwanted or {}
    own = [p for p in PLACES if wired and p not in left]
    target = Target(BuildId("aa"), "lib.so", "p", "x", "1-1", "x86_64")
    manifest = Manifest("n", target, (), (), {}, verdict=Verdict(safe))
    wires = tuple(Tripwire("a.c", int(p[-1]), "f", "n > 1", "exit", "fix", (), 8 * n) for n, p in enumerate(own))
    without = tuple(WithoutTripwire("a.c", int(p[-1]), "f", "n > 1", why) for p, why in left.items())
    manifest = replace(manifest, tripwires=wires, without_tripwire=without)
    data = ",".join(own).encode()
    return Making((Made(f"{'w' if wired else 'p'}{len(own)}.suture.o", "id", data, manifest),), (), {})


@dataclass
class World:
    """Trials of our own: `fires` are places that fire wherever they are, `breaks` says that a trial with any fails."""

    folder: Path
    fires: Sequence[Sequence[str]] = ()
    breaks: bool = False
    plain_breaks: bool = False
    trials: list[str] = field(default_factory=list)

    def try_patches(self, tree: Any, shipped: Any, candidates: Sequence[Any], progress: Any) -> tuple[Trial, ...]:
        own = [p for p in candidates[0].path.read_text().split(",") if p]
        round_ = self.fires[min(len(self.trials), len(self.fires) - 1)] if self.fires else ()
        self.trials.append(",".join(own))
        fired = tuple(p for p in own if p in round_)
        fails = self.plain_breaks or (self.breaks and own)
        outcome = TrialOutcome.FAILED if fails else TrialOutcome.PASSED
        return (Trial("lib.so", (Case("x --version", outcome, "it ended with 139" if fails else "", fired=fired),)),)

    def offer(self, monkeypatch: pytest.MonkeyPatch, remake: Any) -> PatchesToOffer:
        monkeypatch.setattr(offered, "try_patches", self.try_patches)
        shipped = SimpleNamespace(path="lib.so")
        monkeypatch.setattr(offered, "ElfFile", SimpleNamespace(read=lambda _: SimpleNamespace(build_id="aa")))
        prepared: Any = SimpleNamespace(tree=None, shipped=(shipped,))
        return PatchesToOffer(prepared, making(), remake, self.folder, Clock(), lambda text: None)

    def tried(self, monkeypatch: pytest.MonkeyPatch) -> PatchResult:
        (found,) = self.offer(monkeypatch, lambda unwanted: making(True, unwanted)).tried()
        return found

    @property
    def kept(self) -> list[str]:
        return [p.name for p in self.folder.iterdir()]


def test_a_patch_is_offered_with_its_tripwires(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World(tmp_path)
    found = world.tried(monkeypatch)
    assert (found.tripwires, found.noisy, found.unwired, found.trial) == (5, {}, "", "passed")
    assert world.kept == ["w5.suture.o"] and len(world.trials) == 1


def test_what_fires_in_the_trial_is_left_out_and_the_rest_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(tmp_path, [["a.c:2"]])
    found = world.tried(monkeypatch)
    assert (found.tripwires, found.noisy) == (4, {"a.c:2": "noisy: x --version reaches it"})
    assert world.kept == ["w4.suture.o"] and world.trials[-1] == "a.c:1,a.c:3,a.c:4,a.c:5"


def test_where_others_fire_each_time_the_patch_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    world = World(tmp_path, [["a.c:1"], ["a.c:2"], ["a.c:3"], ["a.c:4"]])
    found = world.tried(monkeypatch)
    assert (found.tripwires, found.trial) == (0, "passed")
    assert found.unwired == "others fire in each trial, the last at a.c:4"
    assert world.kept == ["p0.suture.o"] and world.trials[-1] == ""


def test_a_trial_that_fails_with_tripwires_alone_costs_no_patch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(tmp_path, breaks=True)
    found = world.tried(monkeypatch)
    assert (found.tripwires, found.trial) == (0, "passed") and world.kept == ["p0.suture.o"]
    assert found.unwired == "with them the trial failed: lib.so: x --version: it ended with 139"


def test_a_trial_that_fails_without_tripwires_too_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = World(tmp_path, plain_breaks=True)
    assert world.tried(monkeypatch).trial == "failed" and world.kept == []


def gone(unwanted: Mapping[str, str]) -> Making:
    raise NotFound("no compiler", "install one")


@pytest.mark.parametrize(
    ("remake", "why"),
    [
        (gone, "no compiler"),
        (lambda unwanted: making(True, unwanted, safe=False), "with them they would be other patches"),
        (lambda unwanted: Making((), (), {}), "with them they would be other patches"),
        (None, ""),
    ],
)
def test_a_patch_that_gets_no_tripwires_is_made_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, remake: Any, why: str
) -> None:
    world = World(tmp_path)
    for found in (world.offer(monkeypatch, remake).made(), world.offer(monkeypatch, remake).tried()):
        assert [(p.tripwires, p.unwired) for p in found] == [(0, why)]
    assert world.kept == ["p0.suture.o"]


def test_work_on_counters_that_failed_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failed = dict.fromkeys(PLACES, f"{UNWIRED} (RecursionError)")
    (found,) = World(tmp_path).offer(monkeypatch, lambda unwanted: making(True, failed)).tried()
    assert (found.tripwires, found.unwired) == (0, "counters could not be put in (RecursionError)")
