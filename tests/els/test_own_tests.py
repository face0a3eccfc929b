"""Tests of packages, read from logs as automake, CTest, Meson and curl write them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from suture.els.own_tests import counted, failing, has_run, judged
from suture.els.package_build import PackageBuild
from suture.report.els import TestsOutcome

AUTOMAKE = "   dh_auto_test\n# TOTAL: {total}\n# PASS:  {passed}\n# FAIL:  {failed}\n"


def built(log: str, succeeded: bool = True) -> PackageBuild:
    return PackageBuild(Path("/nowhere"), succeeded, log)


def suite(passed: int, failed: int, succeeded: bool = True) -> PackageBuild:
    return built(AUTOMAKE.format(total=passed + failed, passed=passed, failed=failed), succeeded)


@pytest.mark.parametrize(
    ("log", "counts"),
    [
        (AUTOMAKE.format(total=3, passed=2, failed=1) * 2, {"TOTAL": 6, "PASS": 4, "FAIL": 2}),
        ("99% tests passed, 1 tests failed out of 150\n", {"failed": 1, "total": 150}),
        ("Ok:                 12  \nFail:               1   \n", {"Ok": 12, "Fail": 1}),
        ("----- overall results:\n      38 passed\n      2 failed\n", {"passed": 38, "failed": 2}),
        ("TESTDONE: 1283 tests out of 1290 reported OK: 99%\n", {"reported OK": 1283}),
        ("checking whether make sets $(MAKE)... yes\n", {}),
    ],
)
def test_what_tests_count_is_read(log: str, counts: dict[str, int]) -> None:
    assert counted(log) == counts


def test_a_configure_script_that_checks_is_no_test() -> None:
    assert not has_run("checking whether make sets $(MAKE)... yes\n   dh_auto_build\n\tmake -j2\n")
    assert not has_run("   dh_auto_test\n   dh_testroot\n")  # the makefile has no such target
    assert not has_run("   dh_auto_test\n\tmake -j2 check\nmake[1]: Nothing to be done for 'check'.\n")
    assert has_run("   dh_auto_test\n\tmake -j2 check VERBOSE=1\n")
    assert has_run("Executing(%check): /bin/sh -e /var/tmp/rpm-tmp.1\n+ make test\n")


@pytest.mark.parametrize(
    ("log", "names"),
    [
        ("PASS: a\nFAIL: net/b\n# FAIL:  1\nXFAIL: c\n", ("net/b",)),
        ("PASS    chmod\nFAIL    daemon\n# FAIL:  1\n", ("daemon",)),
        ("FAIL: test.sh 3 - it opens a socket\n", ("test.sh 3 - it opens a socket",)),
        ("The following tests FAILED:\n\t  5 - parse_test (Failed)\n\t  7 - big (Timeout)\n", ("big", "parse_test")),
        (" 3/12 x:unit / net       FAIL            0.10s   exit status 1\n 4/12 ok   OK  0.1s\n", ("x:unit / net",)),
        ("TESTFAIL: These test cases failed: 1401 19 \n", ("1401", "19")),
    ],
)
def test_the_tests_that_failed_are_read_by_name(log: str, names: tuple[str, ...]) -> None:
    assert failing(log) == names


def test_another_test_that_fails_is_worse_though_as_many_fail() -> None:
    before, after = suite(8, 1, False), suite(8, 1, False)
    one = judged(replace(before, log=f"{before.log}FAIL: a\n"), replace(after, log=f"{after.log}FAIL: a\n"))
    assert one.outcome is TestsOutcome.AS_BEFORE and one.failing == ("a",)
    other = judged(replace(before, log=f"{before.log}FAIL: a\n"), replace(after, log=f"{after.log}FAIL: b\n"))
    assert other.outcome is TestsOutcome.WORSE and other.detail.endswith("failing now: b")


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        (suite(9, 0), suite(9, 0), TestsOutcome.PASSED),
        (suite(9, 1), suite(10, 0), TestsOutcome.PASSED),
        (suite(9, 0), suite(8, 1), TestsOutcome.WORSE),
        (suite(9, 0), suite(8, 0), TestsOutcome.WORSE),  # one does not run any more
        (suite(0, 0), suite(0, 0), TestsOutcome.NONE),
        (suite(9, 0), suite(9, 0, succeeded=False), TestsOutcome.WORSE),
        (suite(8, 1, succeeded=False), suite(8, 1, succeeded=False), TestsOutcome.AS_BEFORE),
        (suite(8, 1, succeeded=False), suite(7, 2, succeeded=False), TestsOutcome.WORSE),
        (built("dh_auto_build\n"), built("dh_auto_build\n"), TestsOutcome.NONE),
        (built("\tmake check\n", False), built("\tmake check\n", False), TestsOutcome.AS_BEFORE),
        (built("\tmake check\n"), built("\tmake check\n", False), TestsOutcome.WORSE),
    ],
)
def test_tests_are_compared_and_not_demanded(before: PackageBuild, after: PackageBuild, outcome: TestsOutcome) -> None:
    assert judged(before, after).outcome is outcome
