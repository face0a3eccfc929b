"""Which compiler a package was built with."""

from __future__ import annotations

from collections.abc import Callable

from suture.make.built_with import choose


def share(value: float, asked: list[float]) -> Callable[[], float]:
    def tell() -> float:
        asked.append(value)
        return value

    return tell


def test_the_default_is_kept_where_its_code_is_there_and_no_other_is_asked() -> None:
    asked: list[float] = []
    assert choose(share(0.95, asked), [("9", share(1.0, asked))]) == ""
    assert asked == [0.95]


def test_the_first_that_finds_enough_is_taken() -> None:
    asked: list[float] = []
    assert (
        choose(share(0.2, asked), [("11", share(0.4, asked)), ("9", share(0.99, asked)), ("8", share(1.0, asked))])
        == "9"
    )
    assert asked == [0.2, 0.4, 0.99]


def test_one_that_finds_no_more_than_the_default_is_not_taken() -> None:
    assert choose(lambda: 0.5, [("9", lambda: 0.5), ("8", lambda: 0.1)]) == ""


def test_the_best_is_taken_where_none_finds_enough() -> None:
    assert choose(lambda: 0.1, [("9", lambda: 0.6), ("8", lambda: 0.3)]) == "9"
