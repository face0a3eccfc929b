"""What may be published without a person's word."""

from __future__ import annotations

from dataclasses import replace

import pytest

from suture.els.backport import Backport, CarriedFile
from suture.els.grade import doubts, doubts_of_build, worst
from suture.report.els import BuiltDifference, CarriedBy, DifferenceKind, ElsGrade, PackageTests, TestsOutcome

_LOOKED_AT = (CarriedBy.TOKENS, CarriedBy.FUNCTIONS, CarriedBy.HAND)


@pytest.mark.parametrize("way", list(CarriedBy))
def test_what_was_merged_by_tokens_or_function_alone_is_never_safe(way: CarriedBy) -> None:
    found = Backport((CarriedFile("a.c", "x", "y", way),), (), ())
    expected = ElsGrade.REVIEW if way in _LOOKED_AT else ElsGrade.SAFE
    assert worst(doubts(found)) is expected


def ran(outcome: TestsOutcome) -> PackageTests:
    return PackageTests(outcome, {}, {}, "FAIL 3")


def test_a_build_is_safe_only_with_tests_that_passed_and_no_difference_beyond_the_fixes() -> None:
    meant = BuiltDifference("libx", "usr/lib/x.so", DifferenceKind.FUNCTION, "f changes", True)
    other = BuiltDifference("libx", "usr/lib/x.so", DifferenceKind.SYMBOL, "g is exported now", False)
    assert doubts_of_build(ran(TestsOutcome.PASSED), (meant,)) == ()
    assert doubts_of_build(ran(TestsOutcome.PASSED), (meant, other)) == ("libx usr/lib/x.so: g is exported now",)
    some = PackageTests(TestsOutcome.AS_BEFORE, {"PASS": 9, "FAIL": 1}, {"PASS": 9, "FAIL": 1}, "FAIL 1", ("net",))
    assert doubts_of_build(some, ()) == ()  # the same test fails without the fixes, the others pass
    assert doubts_of_build(replace(some, failing=()), ())  # nothing tells which fails
    assert doubts_of_build(replace(some, after={"PASS": 1, "FAIL": 1}), ())
    assert "FAIL 3" in doubts_of_build(ran(TestsOutcome.AS_BEFORE), ())[0]
    assert "no tests" in doubts_of_build(ran(TestsOutcome.NONE), ())[0]
