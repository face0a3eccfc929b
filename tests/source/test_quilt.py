"""What a file held at each point of a series."""

from __future__ import annotations

from pathlib import Path

from suture.source.quilt import Series
from tests.els.made_up import package


def test_each_point_of_a_series_has_its_text(tmp_path: Path) -> None:
    rows = [
        ("first", "", {"a.c": "one\n"}),
        ("second", "", {"new.c": "new\n"}),
        ("third", "", {"a.c": "three\n"}),
    ]
    series = Series.of(package(tmp_path, "1-1", {"a.c": "zero\n", "b.c": "b\n"}, rows))
    assert [series.before(p, "a.c") for p in ("first", "second", "third")] == ["zero\n", "one\n", "one\n"]
    assert series.after("third", "a.c") == "three\n"
    assert [series.before("second", "new.c"), series.after("second", "new.c")] == [None, "new\n"]
    assert series.before("first", "b.c") == "b\n" and series.before("first", "none.c") is None
