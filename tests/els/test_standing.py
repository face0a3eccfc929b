"""Where a hole stands, from what was done about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from suture.els.standing import standing
from suture.report.document import BackportReport
from suture.report.els import (
    BackportedFile,
    BackportedFix,
    BackportFinding,
    CarriedBy,
    ElsGrade,
    ElsHoleState,
    FixState,
    Objection,
)
from tests.els.made_up import report

CVE = ("CVE-2026-1111",)


def carried(state: FixState, *kinds: Objection, files: int = 0) -> BackportReport:
    findings = tuple(BackportFinding(k, "a.c", "", "why") for k in kinds)
    row = BackportedFix(CVE, ("p",), state, "", (BackportedFile("a.c", CarriedBy.PATCH),) * files, findings, ())
    return BackportReport("2026-11-28T05:00:00Z", 0, "x", "1.0-1+deb11u1", "1.1", (row,))


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (carried(FixState.WHOLE, files=1), ElsHoleState.OPEN),
        (carried(FixState.THERE, Objection.THERE), ElsHoleState.THERE),
        (carried(FixState.HANDED_OVER, Objection.CONFLICT, Objection.UNKNOWN), ElsHoleState.HANDED_OVER),
        (carried(FixState.HANDED_OVER, Objection.ABSENT, Objection.UNKNOWN), ElsHoleState.NOT_PROVED),
        (carried(FixState.HANDED_OVER, Objection.UNKNOWN, files=1), ElsHoleState.HANDED_OVER),
    ],
)
def test_without_a_package_the_carrying_says_it_and_names_alone_prove_nothing(
    found: BackportReport, state: ElsHoleState
) -> None:
    [hole] = standing(found, (), (), (), {}).holes
    assert hole.state is state and hole.reasons


def test_a_fix_without_code_says_so() -> None:
    found = carried(FixState.HANDED_OVER)
    [hole] = standing(replace(found, fixes=(replace(found.fixes[0], left_out=("README",)),)), (), (), (), {}).holes
    assert hole.state is ElsHoleState.HANDED_OVER and hole.reasons == ("no file of it is code: README",)


def test_a_package_closes_only_once_it_is_published(tmp_path: Path) -> None:
    safe, doubted = report(tmp_path / "a"), report(tmp_path / "b", ElsGrade.REVIEW)
    found = carried(FixState.WHOLE, files=1)

    def state(*words: object) -> ElsHoleState:
        build, accepted, published = words
        [hole] = standing(found, (build,), accepted, published, {CVE[0]: "closed live"}).holes  # type: ignore[arg-type]
        assert hole.live == "closed live" and hole.made == safe.made
        return hole.state

    assert state(doubted, (), ()) is ElsHoleState.WAITING
    assert state(doubted, (doubted.made,), ()) is ElsHoleState.BUILT
    assert state(safe, (), ()) is ElsHoleState.BUILT
    assert state(safe, (), (safe.made,)) is ElsHoleState.PACKAGE
    [hole] = standing(found, (replace(safe, version="0.9"),), (), (safe.made,), {}).holes
    assert hole.state is ElsHoleState.OPEN  # built on another version than hosts have now
