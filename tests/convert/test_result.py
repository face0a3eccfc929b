"""What came of a CVE, from what came of the fixes that are for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from suture.convert.result import Closing, ConvertOutcome, FixResult, PatchResult, after_trial, close

CVE, OTHER = "CVE-2026-1111", "CVE-2026-2222"


def fix(name: str, outcome: ConvertOutcome, *cves: str, reason: str = "") -> FixResult:
    return FixResult(name, cves, outcome, {}, (reason,) if reason else ())


@pytest.mark.parametrize(
    ("outcomes", "closing"),
    [
        ((ConvertOutcome.LIVE,), Closing.LIVE),
        ((ConvertOutcome.LIVE, ConvertOutcome.NO_CODE), Closing.LIVE),
        ((ConvertOutcome.NO_CODE,), Closing.NO_CODE),
        ((ConvertOutcome.LIVE, ConvertOutcome.DISK), Closing.DISK),
        ((ConvertOutcome.UNTRIED,), Closing.UNTRIED),
        ((ConvertOutcome.UNTRIED, ConvertOutcome.DISK), Closing.DISK),
    ],
)
def test_a_cve_is_closed_live_only_when_every_fix_for_it_is(
    outcomes: tuple[ConvertOutcome, ...], closing: Closing
) -> None:
    (found,) = close([CVE], {}, [fix(f"{n}.patch", o, CVE) for n, o in enumerate(outcomes)])
    assert found.closing is closing


def test_the_reason_is_that_of_the_fix_that_is_not_live() -> None:
    fixes = [fix("a", ConvertOutcome.LIVE, CVE), fix("b", ConvertOutcome.DISK, CVE, reason="a structure grows")]
    (found,) = close([CVE], {}, fixes)
    assert found.reasons == ("a structure grows",) and found.fixes == ("a", "b")


def test_a_cve_that_no_fix_is_for_is_unknown() -> None:
    found = close([CVE, OTHER], {}, [fix("a", ConvertOutcome.LIVE, CVE)])
    assert [(x.cve, x.closing) for x in found] == [(CVE, Closing.LIVE), (OTHER, Closing.UNKNOWN)]


def test_a_cve_that_may_be_any_of_the_other_changes_is_closed_where_all_of_them_are() -> None:
    rest = [fix("x", ConvertOutcome.LIVE), fix("y", ConvertOutcome.LIVE), fix("docs", ConvertOutcome.NO_CODE)]
    assert close([CVE], {CVE: ["x", "y", "docs"]}, rest)[0].closing is Closing.LIVE
    rest[1] = fix("y", ConvertOutcome.DISK, reason="initial value")
    assert close([CVE], {CVE: ["x", "y", "docs"]}, rest)[0].closing is Closing.DISK


def test_a_cve_that_the_fix_names_and_the_changelog_does_not_counts() -> None:
    assert close([], {}, [fix("a", ConvertOutcome.LIVE, CVE)])[0].cve == CVE


def test_a_fix_whose_trial_failed_is_not_live_and_one_that_was_not_tried_is_looked_at() -> None:
    live = FixResult("a", (CVE,), ConvertOutcome.LIVE, {"lib.so": ("f",)})
    patch = PatchResult("id", "f.suture.o", "/p", "lib.so", "aa", 1, "safe", "failed", (), "x: it ended with 139")
    failed = after_trial(live, [patch])
    assert failed.outcome is ConvertOutcome.DISK and "139" in failed.reasons[0]
    untried = after_trial(live, [replace(patch, trial="not run", detail="no room")])
    assert untried.outcome is ConvertOutcome.LIVE and untried.review == ("lib.so was not tried: no room",)
    assert after_trial(live, [replace(patch, binary="other.so")]) == live
