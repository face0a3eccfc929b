"""Numbers of a command line: their bounds, and words that only look like one."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest

from suture.cli import number


@pytest.mark.parametrize(
    ("read", "word", "value"),
    [
        (number.seconds, "0", 0.0), (number.seconds, "0.5", 0.5), (number.seconds, "1e7", 10_000_000.0),
        (number.pid, "1", 1), (number.pid, "2147483647", 2**31 - 1), (number.pid, "007", 7),
        (number.jobs, "10000", 10_000), (number.days, "3650", 3650), (number.count, "1000000", 1_000_000),
    ],
)  # fmt: skip
def test_numbers_up_to_their_bounds(read: Callable[[str], float], word: str, value: float) -> None:
    assert read(word) == value


@pytest.mark.parametrize(
    ("read", "word"),
    [
        *((number.seconds, word) for word in ("-0.1", "1.1e7", "nan", "inf", "", "1s")),
        *((number.pid, word) for word in ("0", "-1", "2147483648", "1_0", "+1", " 1", "1.0", "٣", "²")),
        pytest.param(number.pid, "9" * 5000, id="more digits than int() takes"),
        (number.jobs, "10001"),
        (number.count, "1000001"),
        (number.days, "3651"),
    ],
)
def test_what_is_none_or_beyond_is_an_error_that_names_the_bounds(read: Callable[[str], float], word: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is no .* from [01] to \d+"):
        read(word)
