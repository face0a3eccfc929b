"""The text format of Prometheus."""

from __future__ import annotations

from suture.report.exposition import family


def test_a_metric_has_its_help_its_type_and_a_line_for_each_value() -> None:
    lines = list(family("some_total", "What is counted.", [({}, 3), ({"a": "x", "b": "y"}, 0.5)], "counter"))
    assert lines == [
        "# HELP some_total What is counted.",
        "# TYPE some_total counter",
        "some_total 3",
        'some_total{a="x",b="y"} 0.5',
    ]


def test_what_would_end_a_label_is_escaped_and_a_time_keeps_its_seconds() -> None:
    (*_, line) = family("some", "Help.", [({"a": 'back\\slash "quoted"'}, 1_796_000_123)])
    assert line == 'some{a="back\\\\slash \\"quoted\\""} 1796000123'
