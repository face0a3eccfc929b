"""What a guest's answer says of a kernel patch. The guest itself is started by tests/live/test_kernel_guest.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from suture.trial.kernel import judged
from suture.trial.result import TrialOutcome

PATCH: Any = SimpleNamespace(manifest=SimpleNamespace(functions=(1, 2), keep=()))
GOOD = {"transition": True, "reverted": True, "apply_seconds": 1.7, "revert_seconds": 1.3, "log": [], "said": ""}


def test_a_patch_that_came_and_went_has_passed_and_says_how_long_it_took() -> None:
    case = judged("apply", GOOD, "", PATCH)
    assert case.outcome is TrialOutcome.PASSED
    assert case.detail == "2 functions, 1.7 s to change over, 1.3 s back"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"log": ["[ 9.1] BUG: unable to handle page fault"]}, "BUG: unable to handle"),
        ({"reverted": False, "said": "not reverted in 90 s\nmore"}, "not reverted in 90 s"),
        ({"transition": False, "reverted": False, "said": ""}, "not reverted"),
    ],
)
def test_a_fault_or_a_patch_that_stays_has_failed(changed: dict[str, object], said: str) -> None:
    case = judged("apply", {**GOOD, **changed}, "", PATCH)
    assert case.outcome is TrialOutcome.FAILED and said in case.detail


def test_a_guest_that_says_nothing_has_failed() -> None:
    case = judged("apply", None, "Kernel panic - not syncing", PATCH)
    assert case.outcome is TrialOutcome.FAILED and "panic" in case.detail
