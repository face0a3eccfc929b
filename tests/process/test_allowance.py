"""What a look may cost."""

from __future__ import annotations

import threading
import time

import pytest

from suture.process.allowance import limited, spend
from suture.process.error import Hostile
from suture.report.reason import Reason


def test_nothing_is_counted_where_no_allowance_is_in_force() -> None:
    spend(1 << 60, 1 << 60)


@pytest.mark.parametrize(
    ("size", "reads", "says"), [(11, 1, "more of its memory"), (0, 4, "more places of its memory")]
)
def test_what_is_more_than_allowed_is_hostile(size: int, reads: int, says: str) -> None:
    with limited(7, most_bytes=10, most_reads=3), pytest.raises(Hostile, match=says) as caught:
        spend(size, reads)
    assert caught.value.reason is Reason.TOO_COSTLY and "7" in caught.value.what


def test_all_reads_count_together() -> None:
    with limited(7, most_bytes=10, most_reads=3):
        spend(5)
        spend(5)
        spend(0)
        with pytest.raises(Hostile):
            spend(0)


def test_processor_time_counts_and_waiting_does_not() -> None:
    with limited(7, seconds=0.05):
        time.sleep(0.1)
        spend(1)
        until = time.thread_time() + 0.06
        while time.thread_time() < until:
            pass
        with pytest.raises(Hostile, match="processor time"):
            spend(1)


def test_the_inner_of_two_holds_and_the_outer_one_is_in_force_again() -> None:
    with limited(7, most_bytes=10):
        with limited(8, most_bytes=100):
            spend(50)
        spend(10)
        with pytest.raises(Hostile):
            spend(1)
    spend(1 << 40)


def test_an_allowance_is_of_one_thread() -> None:
    with limited(7, most_bytes=1):
        other = threading.Thread(target=spend, args=(1 << 40,))
        other.start()
        other.join()
        spend(1)
