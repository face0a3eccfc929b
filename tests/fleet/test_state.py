"""What a host's report says of its holes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from suture.fleet.state import PatchStanding, condensed
from suture.report.agent import PatchInForce
from suture.report.document import AgentReport
from suture.report.hole import HoleState
from suture.report.mitigation import DeclaredMitigation
from suture.report.reason import Cause, Reason
from tests.fleet.conftest import IN_FORCE, MAPPED, OFFER, WAITS, report

NEWER = replace(MAPPED, version="3.0.19-1~deb12u1")
REBUILT = replace(MAPPED, version=OFFER.version + "+b1")
PROXY = DeclaredMitigation("CVE-2026-1", "a proxy drops it", "2026-12-31", True)
WHY = Cause(Reason.BUSY, "a thread is inside")


def row(**changes: object) -> PatchInForce:
    return replace(IN_FORCE, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (report(waiting=[WAITS]), HoleState.OPEN),
        (report(waiting=[WAITS], binaries=[NEWER]), HoleState.FIXED_ON_DISK),
        (report(in_force=[IN_FORCE]), HoleState.LOST_AT_NEXT_START),
        (report(in_force=[IN_FORCE], binaries=[REBUILT]), HoleState.LOST_AT_NEXT_START),
        (report(in_force=[IN_FORCE], binaries=[NEWER]), HoleState.FIXED_IN_MEMORY),
        (report(in_force=[row(failed=1, why=WHY)]), HoleState.OPEN),
        (report(in_force=[row(held=True, why=WHY)]), HoleState.OPEN),
        (report(in_force=[IN_FORCE], problems=[Cause(Reason.AGENT_DOWN, "")]), HoleState.UNKNOWN),
        (report(in_force=[IN_FORCE], binaries=[]), None),
        (replace(report(waiting=[WAITS]), mitigations=(PROXY,)), HoleState.MITIGATED),
        (replace(report(in_force=[IN_FORCE]), mitigations=(PROXY,)), HoleState.LOST_AT_NEXT_START),
        (replace(report(waiting=[WAITS]), mitigations=(replace(PROXY, in_force=False),)), HoleState.OPEN),
    ],
)
def test_the_states_stay_apart(said: AgentReport, expected: HoleState | None) -> None:
    assert condensed(said, None).holes.get("CVE-2026-1") is expected


def test_a_patch_that_did_not_go_in_says_why() -> None:
    (failed,) = condensed(report(in_force=[row(failed=1, why=WHY)]), None).patches
    assert (failed.standing, failed.why) == (PatchStanding.FAILED, WHY.text)
    (waiting,) = condensed(report(waiting=[WAITS]), None).patches
    assert waiting.standing is PatchStanding.WAITING
