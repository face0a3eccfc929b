"""What may be published without a person's word."""

from __future__ import annotations

import pytest

from suture.els.backport import Backport, CarriedBy, CarriedFile
from suture.els.grade import doubts, doubts_of_build, worst
from suture.report.els import BuiltDifference, ElsGrade, PackageTests, TestsOutcome


@pytest.mark.parametrize("way", list(CarriedBy))
def test_what_was_merged_by_tokens_or_function_alone_is_never_safe(way: CarriedBy) -> None:
    found = Backport((CarriedFile("a.c", "x", "y", way),), (), ())
    expected = ElsGrade.REVIEW if way in (CarriedBy.TOKENS, CarriedBy.FUNCTIONS) else ElsGrade.SAFE
    assert worst(doubts(found)) is expected


def ran(outcome: TestsOutcome) -> PackageTests:
    return PackageTests(outcome, {}, {}, "FAIL 3")


def test_a_build_is_safe_only_with_tests_that_passed_and_no_difference_beyond_the_fixes() -> None:
    meant = BuiltDifference("libx", "usr/lib/x.so", "function", "f changes", True)
    other = BuiltDifference("libx", "usr/lib/x.so", "symbol", "g is exported now", False)
    assert doubts_of_build(ran(TestsOutcome.PASSED), (meant,)) == ()
    assert doubts_of_build(ran(TestsOutcome.PASSED), (meant, other)) == ("libx usr/lib/x.so: g is exported now",)
    assert "FAIL 3" in doubts_of_build(ran(TestsOutcome.AS_BEFORE), ())[0]
    assert "no tests" in doubts_of_build(ran(TestsOutcome.NONE), ())[0]
