"""Whether a backport may go out without a person's word, from how it was carried and from what building it showed."""

from __future__ import annotations

from collections.abc import Sequence

from suture.els.backport import Backport
from suture.els.own_tests import GOOD
from suture.report.els import BuiltDifference, CarriedBy, ElsGrade, PackageTests, TestsOutcome

_BY_ITSELF = frozenset({CarriedBy.PATCH, CarriedBy.MERGE, CarriedBy.COPY})
"""Ways to carry a file that need nobody to look: lines fit as they are. Merges of tokens were what the maintainers made
in 6 of 8 cases (docs/results/els.md)."""


def doubts(found: Backport) -> tuple[str, ...]:
    """Why a person has to look at a fix that was carried whole; none for one graded safe."""
    return tuple(
        f"{c.path}: a person wrote this change"
        if c.way is CarriedBy.HAND
        else f"{c.path}: carried by {c.way.value} alone, which is not always right"
        for c in found.carried
        if c.way not in _BY_ITSELF
    )


def doubts_of_build(tests: PackageTests, differences: Sequence[BuiltDifference]) -> tuple[str, ...]:
    """Why a person has to look at a package that was built."""
    found = [f"{d.package} {d.file}: {d.what}" for d in differences if not d.expected]
    if tests.outcome is TestsOutcome.AS_BEFORE and not _is_compared(tests):
        found.append(f"the package's tests fail here without the fixes too: {tests.detail}")
    if tests.outcome is TestsOutcome.NONE:
        found.append("the package runs no tests of its own when it is built")
    return tuple(found)


def _is_compared(tests: PackageTests) -> bool:
    """Whether tests that fail without the fixes too still say that the fixes broke nothing: each that fails is named,
    and more pass than fail."""
    good = sum(n for word, n in tests.after.items() if word in GOOD)
    if "total" in tests.after:  # CTest counts all, and those that failed
        good += tests.after["total"] - tests.after.get("failed", 0)
    return 0 < len(tests.failing) < good


def worst(doubted: Sequence[str]) -> ElsGrade:
    """The grade by the doubts that there are."""
    return ElsGrade.REVIEW if doubted else ElsGrade.SAFE
