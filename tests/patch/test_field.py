"""JSON as dataclasses: what a field takes and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import pytest

from suture.number import Vaddr
from suture.patch.field import MOST_TEXT, Reader, raw_text


class Kind(Enum):
    ONE = "one"


@dataclass(frozen=True)
class Within:
    at: Vaddr


@dataclass(frozen=True)
class Whole:
    name: str
    kind: Kind
    flag: bool
    rows: tuple[Within, ...]
    by_name: dict[str, Within]


RIGHT: dict[str, Any] = {"name": "n", "kind": "one", "flag": False, "rows": [{"at": 1}], "by_name": {"x": {"at": 2}}}


def test_an_object_is_read_as_its_type_says() -> None:
    found = Reader({}).read(RIGHT, Whole)
    assert found == Whole("n", Kind.ONE, False, (Within(Vaddr(1)),), {"x": Within(Vaddr(2))})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": 1}, "1 is not a string"),
        ({"name": "x" * (MOST_TEXT + 1)}, f"has {MOST_TEXT + 1} characters"),
        ({"name": "\udc80"}, "surrogates not allowed"),
        ({"kind": "two"}, "'two' is not a valid Kind"),
        ({"kind": ["one"]}, "is not a valid Kind"),
        ({"flag": 0}, "0 is neither true nor false"),
        ({"rows": {}}, "<class 'dict'> is not a list"),
        ({"rows": [[]]}, "<class 'list'> is not an object"),
        ({"rows": [{"at": -1}]}, "-1 is not an address"),
        ({"rows": [{"at": 1 << 64}]}, "is not an address"),
        ({"rows": [{"at": True}]}, "True is not an address"),
        ({"rows": [{"at": 1.0}]}, "1.0 is not an address"),
        ({"rows": [{}]}, "Within: has no at"),
        ({"rows": [{"at": 1, "to": 2}]}, "Within: has a 'to'"),
        ({"more": 1}, "Whole: has a 'more'"),
    ],
)
def test_what_a_field_cannot_hold_is_refused_and_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        Reader({}).read({**RIGHT, **change}, Whole)
    assert says in str(caught.value)


def test_a_field_may_have_a_reader_of_its_own() -> None:
    own = Reader({(Within, "at"): lambda value: Vaddr(int(value, 16))})
    assert own.read({"at": "0x10"}, Within) == Within(Vaddr(16))


def test_the_text_of_a_fix_may_hold_bytes_that_are_no_utf8_and_no_other_surrogate() -> None:
    assert raw_text("\udcff") == "\udcff"
    with pytest.raises(UnicodeEncodeError):
        raw_text("\ud800")
    with pytest.raises(TypeError):
        raw_text(b"x")


def test_an_error_shows_no_more_than_a_part_of_what_was_given() -> None:
    with pytest.raises(TypeError) as caught:
        Reader({}).read({"at": "x" * 100_000}, Within)
    assert len(str(caught.value)) < 300
