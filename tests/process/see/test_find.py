"""Finding processes is hurried for as much work as it takes, and no longer; what is found is in test_scan.py."""

from __future__ import annotations

import time

import pytest

from suture.process.see import find
from tests.process.test_urgency import burn, is_urgent


def test_time_in_which_others_had_the_processor_does_not_end_the_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "URGENT_SECONDS", 0.05)
    for _ in find.hurried(range(3)):
        time.sleep(0.06)
        assert is_urgent()
    assert not is_urgent()


def test_the_hurry_ends_when_its_time_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "URGENT_SECONDS", 0.05)
    seen = []
    for _ in find.hurried(range(3)):
        seen.append(is_urgent())
        burn(0.03)
    assert seen == [True, True, False] and not is_urgent()


def test_who_stops_half_way_is_not_hurried_any_more() -> None:
    rows = find.hurried(range(3))
    next(rows)
    assert is_urgent()
    rows.close()  # type: ignore[attr-defined]
    assert not is_urgent()
