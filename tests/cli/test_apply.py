"""What `suture apply` prints of a process."""

from __future__ import annotations

from suture.cli.apply import names_that_fit


def test_names_that_do_not_fit_are_counted_and_none_is_cut() -> None:
    assert names_that_fit([]) == ""
    assert names_that_fit(["f", "g"]) == "f, g"
    assert names_that_fit(["a" * 40, "b" * 40, "c"]) == f"{'a' * 40} and 2 more"
    assert names_that_fit(["a" * 400]) == "a" * 400
