"""A flood of attempts is few events, and nothing of it is lost."""

from __future__ import annotations

from suture.host.flood import Flood


def test_the_first_is_told_at_once_and_the_rest_together() -> None:
    flood: Flood[str, str] = Flood(10, 60)
    told = []
    for second in range(30):
        flood.add("place", 100, second % 3, f"at {second}")
        told += [(second, *row) for row in flood.due(float(second))]
    assert told == [(0, "at 0", 100, 1), (10, "at 10", 1000, 3), (20, "at 20", 1000, 3)]
    assert list(flood.due(30.0)) == [("at 29", 900, 3)]


def test_a_minute_has_so_many_events_and_the_rest_comes_later() -> None:
    flood: Flood[int, str] = Flood(1, 5)
    for key in range(12):
        flood.add(key, 1, 1, "x")
    counts = [len(list(flood.due(t))) for t in (0.0, 30.0, 61.0, 122.0, 190.0)]
    assert counts == [5, 0, 5, 2, 0]


def test_what_is_silent_is_forgotten() -> None:
    flood: Flood[int, str] = Flood(1, 1000)
    for key in range(100):
        flood.add(key, 1, 1, "x")
    list(flood.due(0.0))
    list(flood.due(5.0))
    assert not flood._held
