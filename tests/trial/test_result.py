"""What a trial shows, judged from its runs."""

from __future__ import annotations

import pytest

from suture.trial.result import Case, Seen, Trial, TrialOutcome, judge, judge_calls

GOOD = Seen(0, b"x 1.0\n")
TWICE = [GOOD, GOOD]


def changed(patched: Seen | str, reverted: Seen | str = GOOD) -> list[tuple[str, Seen | str]]:
    return [("patched", patched), ("patched and reverted", reverted)]


def test_a_command_that_does_the_same_with_the_patch_passes() -> None:
    assert judge("x --version", TWICE, changed(GOOD)) == Case("x --version", TrialOutcome.PASSED)


@pytest.mark.parametrize(
    ("seen", "detail"),
    [
        (Seen(139, b""), "patched: it ended with 139, without the patch with 0"),
        (Seen(None, b""), "patched: it did not end, without the patch with 0"),
        (Seen(0, b"y\n"), "patched: its output is another than without the patch"),
        ("the process is gone", "patched: the process is gone"),
    ],
)
def test_a_command_that_ends_in_another_way_fails(seen: Seen | str, detail: str) -> None:
    found = judge("x", TWICE, changed(seen))
    assert (found.outcome, found.detail) == (TrialOutcome.FAILED, detail)


def test_taking_the_patch_back_counts_as_well() -> None:
    found = judge("x", TWICE, changed(GOOD, Seen(134, b"")))
    assert found.outcome is TrialOutcome.FAILED and found.detail.startswith("patched and reverted")


def test_output_that_changes_by_itself_does_not_count() -> None:
    assert (
        judge("date", [Seen(0, b"1\n"), Seen(0, b"2\n")], changed(Seen(0, b"3\n"), Seen(0, b"4\n"))).outcome
        is TrialOutcome.PASSED
    )


@pytest.mark.parametrize("plain", [[Seen(None, b"")] * 2, [Seen(139, b"")] * 2, [Seen(0, b""), Seen(1, b"")]])
def test_a_command_that_is_not_the_same_twice_without_the_patch_shows_nothing(plain: list[Seen]) -> None:
    assert judge("x", plain, changed(GOOD)).outcome is TrialOutcome.NOT_RUN


def test_one_failure_fails_the_trial_and_is_named() -> None:
    cases = (
        Case("a", TrialOutcome.PASSED),
        Case("b", TrialOutcome.FAILED, "died"),
        Case("c", TrialOutcome.NOT_RUN, "no"),
    )
    trial = Trial("lib.so", cases)
    assert (trial.outcome, trial.detail) == (TrialOutcome.FAILED, "b: died")


def test_what_nothing_ran_has_not_passed() -> None:
    assert Trial("lib.so", ()).outcome is TrialOutcome.NOT_RUN
    assert Trial("lib.so", (Case("a", TrialOutcome.NOT_RUN, "no"),)).outcome is TrialOutcome.NOT_RUN
    assert (
        Trial("lib.so", (Case("a", TrialOutcome.NOT_RUN), Case("b", TrialOutcome.PASSED))).outcome
        is TrialOutcome.PASSED
    )


RETURNED, ENDED = Seen(0, b"f/0 returned\n"), Seen(0, b"f/0 ended\n")


def test_a_call_that_ends_only_with_the_patch_is_for_a_person_to_look_at() -> None:
    same = judge_calls("load x.so f", [RETURNED] * 2, changed(RETURNED, RETURNED))
    assert (same.outcome, same.look) == (TrialOutcome.PASSED, "")
    found = judge_calls("load x.so f", [RETURNED] * 2, changed(ENDED, RETURNED))
    assert found.outcome is TrialOutcome.PASSED and found.look.startswith("f: called with zeros")
    assert Trial("x.so", (same, found)).looks == (found.look,)
    fixed = judge_calls("load x.so f", [ENDED] * 2, changed(RETURNED, ENDED))
    assert (fixed.outcome, fixed.look) == (TrialOutcome.PASSED, "")


def test_a_call_that_still_ends_when_the_patch_is_taken_back_fails() -> None:
    found = judge_calls("load x.so f", [RETURNED] * 2, changed(RETURNED, ENDED))
    assert (found.outcome, found.detail) == (TrialOutcome.FAILED, "patched and reverted: f no more returns")
    gone = judge_calls("load x.so f", [RETURNED] * 2, changed("the process is gone", RETURNED))
    assert gone.outcome is TrialOutcome.FAILED
