"""Where a hole stands, from what was done about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from suture.els.finding import Objection
from suture.els.standing import standing
from suture.report.document import BackportReport
from suture.report.els import BackportedFile, BackportedFix, BackportFinding, ElsGrade, ElsHoleState
from tests.els.made_up import report

CVE = ("CVE-2026-1111",)


def carried(state: str, *kinds: Objection, files: int = 0) -> BackportReport:
    findings = tuple(BackportFinding(k.value, "a.c", "", "why") for k in kinds)
    row = BackportedFix(CVE, ("p",), state, "", (BackportedFile("a.c", "patch"),) * files, findings, ())
    return BackportReport("2026-11-28T05:00:00Z", 0, "x", "1.0-1+deb11u1", "1.1", (row,))


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (carried("whole", files=1), ElsHoleState.OPEN),
        (carried("there", Objection.THERE), ElsHoleState.THERE),
        (carried("handed over", Objection.CONFLICT, Objection.UNKNOWN), ElsHoleState.HANDED_OVER),
        (carried("handed over", Objection.ABSENT, Objection.UNKNOWN), ElsHoleState.NOT_PROVED),
        (carried("handed over", Objection.UNKNOWN, files=1), ElsHoleState.HANDED_OVER),
    ],
)
def test_without_a_package_the_carrying_says_it_and_names_alone_prove_nothing(
    found: BackportReport, state: ElsHoleState
) -> None:
    [hole] = standing(found, (), (), (), {}).holes
    assert hole.state is state and hole.reasons


def test_a_package_closes_only_once_it_is_published(tmp_path: Path) -> None:
    safe, doubted = report(tmp_path / "a"), report(tmp_path / "b", ElsGrade.REVIEW)
    found = carried("whole", files=1)

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
