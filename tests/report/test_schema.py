"""The schema of a few small types; a validator is the judge of what fits. Whole documents are test_encoding's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import jsonschema
import pytest

from suture.report.document import DOCUMENTS, FORMAT, ErrorReport
from suture.report.schema import _Schema, described, schema


class Colour(Enum):
    """What it looks like."""

    RED = "red"
    GREEN = "green"


@dataclass(frozen=True)
class Inner:
    """Something
    inside."""

    number: int


@dataclass(frozen=True)
class Outer:
    """Holds it."""

    text: str
    ratio: float
    flag: bool
    colour: Colour
    inner: Inner
    several: tuple[Inner, ...]
    perhaps: Inner | None
    counts: Mapping[Colour, int]
    texts: Mapping[str, tuple[str, ...]]
    anything: Any


GOOD: dict[str, Any] = {
    "text": "x",
    "ratio": 1.5,
    "flag": True,
    "colour": "red",
    "inner": {"number": 1},
    "several": [{"number": 2}],
    "perhaps": None,
    "counts": {"green": 3},
    "texts": {"a": ["b"]},
    "anything": [1, {"z": None}],
}


def fits(value: Any, strict: bool) -> bool:
    made = _Schema(strict)
    top = made.reference(Outer)
    return bool(jsonschema.Draft202012Validator({**top, "$defs": made.found}).is_valid(value))


@pytest.mark.parametrize("strict", [True, False])
def test_what_the_types_say_fits_and_nothing_else(strict: bool) -> None:
    assert fits(GOOD, strict) and fits({**GOOD, "perhaps": {"number": 7}}, strict)
    for field, value in (
        ("text", 1),
        ("ratio", "1"),
        ("flag", 1),
        ("colour", 5),
        ("inner", {}),
        ("inner", []),
        ("several", {"number": 2}),
        ("several", [3]),
        ("perhaps", 5),
        ("perhaps", {"number": "x"}),
        ("counts", {"green": "3"}),
        ("texts", {"a": "b"}),
        ("texts", []),
    ):
        assert not fits({**GOOD, field: value}, strict), (field, value)
    for field in GOOD:
        assert not fits({k: v for k, v in GOOD.items() if k != field}, strict), field


def test_only_what_this_version_writes_fits_the_strict_one() -> None:
    for newer in ({**GOOD, "new": 1}, {**GOOD, "colour": "blue"}, {**GOOD, "inner": {"number": 1, "new": 2}}):
        assert fits(newer, False) and not fits(newer, True)
    assert not fits({**GOOD, "counts": {"blue": 3}}, True)


def test_a_type_is_described_by_its_docstring_in_one_paragraph() -> None:
    made = _Schema(False)
    made.reference(Outer)
    assert {n: d["description"] for n, d in made.found.items()} == {
        "Outer": "Holds it.",
        "Colour": "What it looks like.",
        "Inner": "Something inside.",
    }


@pytest.mark.parametrize("strict", [True, False])
def test_the_schema_names_its_format_and_every_document(strict: bool) -> None:
    found = schema(strict=strict)
    assert found["$id"] == f"urn:suture:report:{FORMAT}" and found["title"].endswith(f"format {FORMAT}")
    assert [row["$ref"] for row in found["oneOf"]] == [f"#/$defs/{d.__name__}" for d in DOCUMENTS]
    assert list(found["$defs"]) == sorted(found["$defs"])
    error = found["$defs"]["ErrorReport"]
    assert list(error["properties"])[:3] == ["format", "kind", "tool"] and error["required"] == list(
        error["properties"]
    )
    assert error["properties"]["kind"] == {"const": ErrorReport.kind} and error["properties"]["format"] == {
        "const": FORMAT
    }
    assert error.get("additionalProperties", True) is not strict


def test_described_are_all_types_by_name() -> None:
    names = [t.__name__ for t in described()]
    assert names == sorted(schema()["$defs"]) and {d.__name__ for d in DOCUMENTS} < set(names)
