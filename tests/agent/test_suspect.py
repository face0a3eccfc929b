"""Of several patches that a failed process has carried, the newest are suspected; the others when it goes on."""

from __future__ import annotations

from suture.agent.suspect import Carriers, Suspected

WINDOW = 600.0
FIRST, SECOND, OTHER = 10, 11, 12
NOBODY = 0


def carriers() -> Carriers:
    """Two processes with an older patch, and with a newer one 90 seconds later."""
    found = Carriers()
    for pid in (FIRST, SECOND):
        found.patched(pid, ["older"], 0.0)
        found.patched(pid, ["newer"], 90.0)
    return found


def test_a_patch_that_ran_well_before_a_newer_one_came_is_not_suspected() -> None:
    assert carriers().suspected(FIRST, NOBODY, 93.0, WINDOW) == Suspected(("newer",), ("older",), 3.0)


def test_patches_that_came_shortly_one_after_the_other_are_suspected_together() -> None:
    found = Carriers()
    found.patched(FIRST, ["one"], 0.0)
    found.patched(FIRST, ["two"], 30.0)
    assert found.suspected(FIRST, NOBODY, 33.0, WINDOW) == Suspected(("one", "two"), (), 3.0)


def test_a_process_that_got_both_as_it_started_speaks_against_the_one_that_came_to_the_host_last() -> None:
    found = carriers()
    found.patched(OTHER, ["older", "newer"], 120.0)
    assert found.suspected(OTHER, NOBODY, 121.0, WINDOW) == Suspected(("newer",), ("older",), 1.0)


def test_what_came_before_this_agent_started_is_older() -> None:
    found = Carriers()
    found.came({"older": -5000.0})
    found.patched(FIRST, ["older", "newer"], 10.0)
    assert found.suspected(FIRST, NOBODY, 12.0, WINDOW) == Suspected(("newer",), ("older",), 2.0)


def test_the_older_one_is_suspected_when_it_goes_on_after_the_newer_is_out() -> None:
    found = carriers()
    found.suspected(FIRST, NOBODY, 93.0, WINDOW)
    found.taken_out("newer", 95.0)
    found.patched(OTHER, ["older"], 100.0)
    assert found.suspected(OTHER, NOBODY, 101.0, WINDOW) == Suspected(("older",), (), 1.0)


def test_a_process_that_had_the_newer_one_until_just_now_may_have_been_spoilt_by_it() -> None:
    found = carriers()
    found.suspected(FIRST, NOBODY, 93.0, WINDOW)
    found.taken_out("newer", 95.0)
    assert found.suspected(SECOND, NOBODY, 96.0, WINDOW) == Suspected(("newer",), ("older",), 6.0)


def test_later_it_speaks_against_the_older_one_in_a_window_of_its_own() -> None:
    for after, is_suspected in ((156.0, True), (700.0, True), (754.0, True), (756.0, False)):
        found = carriers()
        found.suspected(FIRST, NOBODY, 93.0, WINDOW)
        found.taken_out("newer", 95.0)
        seen = found.suspected(SECOND, NOBODY, after, WINDOW)
        assert seen == (Suspected(("older",), (), after) if is_suspected else None)


def test_without_a_failure_under_the_newer_one_the_older_ones_window_ends_as_it_began() -> None:
    found = carriers()
    found.taken_out("newer", 95.0)
    assert found.suspected(SECOND, NOBODY, 601.0, WINDOW) is None


def test_one_that_goes_in_again_is_the_newest() -> None:
    found = carriers()
    found.taken_out("older", 300.0)
    found.patched(OTHER, ["newer"], 400.0)
    found.patched(OTHER, ["older"], 500.0)
    assert found.suspected(OTHER, NOBODY, 501.0, WINDOW) == Suspected(("older",), ("newer",), 1.0)


def test_a_child_has_what_its_parent_has_and_the_parent_stays_known() -> None:
    found = carriers()
    for child in (20, 21):
        assert found.suspected(child, FIRST, 93.0, WINDOW) == Suspected(("newer",), ("older",), 3.0)
    assert FIRST in found and 20 not in found


def test_after_the_window_nothing_is_suspected() -> None:
    assert carriers().suspected(FIRST, NOBODY, 691.0, WINDOW) is None
