"""What came of a CVE, from what came of the fixes that are for it."""

from __future__ import annotations

import pytest

from suture.convert.result import Closing, FixResult, Outcome, close

CVE, OTHER = "CVE-2026-1111", "CVE-2026-2222"


def fix(name: str, outcome: Outcome, *cves: str, reason: str = "") -> FixResult:
    return FixResult(name, cves, outcome, {}, (reason,) if reason else ())


@pytest.mark.parametrize(
    ("outcomes", "closing"),
    [
        ((Outcome.LIVE,), Closing.LIVE),
        ((Outcome.LIVE, Outcome.NO_CODE), Closing.LIVE),
        ((Outcome.NO_CODE,), Closing.NO_CODE),
        ((Outcome.LIVE, Outcome.DISK), Closing.DISK),
        ((Outcome.UNTRIED,), Closing.DISK),
    ],
)
def test_a_cve_is_closed_live_only_when_every_fix_for_it_is(outcomes: tuple[Outcome, ...], closing: Closing) -> None:
    (found,) = close([CVE], [], [fix(f"{n}.patch", o, CVE) for n, o in enumerate(outcomes)], [])
    assert found.closing is closing


def test_the_reason_is_that_of_the_fix_that_is_not_live() -> None:
    fixes = [fix("a", Outcome.LIVE, CVE), fix("b", Outcome.DISK, CVE, reason="a structure grows")]
    (found,) = close([CVE], [], fixes, [])
    assert found.reasons == ("a structure grows",) and found.fixes == ("a", "b")


def test_a_cve_that_no_fix_is_for_is_unknown() -> None:
    found = close([CVE, OTHER], [], [fix("a", Outcome.LIVE, CVE)], [])
    assert [(x.cve, x.closing) for x in found] == [(CVE, Closing.LIVE), (OTHER, Closing.UNKNOWN)]


def test_a_cve_that_may_be_any_of_the_other_changes_is_closed_where_all_of_them_are() -> None:
    rest = [fix("x", Outcome.LIVE), fix("y", Outcome.LIVE), fix("docs", Outcome.NO_CODE)]
    assert close([CVE], [CVE], rest, ["x", "y", "docs"])[0].closing is Closing.LIVE
    rest[1] = fix("y", Outcome.DISK, reason="initial value")
    assert close([CVE], [CVE], rest, ["x", "y", "docs"])[0].closing is Closing.DISK


def test_a_cve_that_the_fix_names_and_the_changelog_does_not_counts() -> None:
    assert close([], [], [fix("a", Outcome.LIVE, CVE)], [])[0].cve == CVE
