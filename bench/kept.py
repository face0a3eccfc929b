"""How raw numbers are kept: JSON with one line for each record, numbers rounded to what the clock can tell, names in
the order given."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_COLUMNS = 120
_PLACES = 6
_PLACES_OF_MICROSECONDS = 3


def rounded(value: Any, places: int = _PLACES) -> Any:
    """`value` with its numbers rounded, at any depth.

    Seconds are rounded to a microsecond, and what a name with `_us` holds to a nanosecond.
    """
    if isinstance(value, Mapping):
        return {key: rounded(inner, _places(str(key), places)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(inner, places) for inner in value]
    return round(value, places) if isinstance(value, float) else value


def _places(name: str, above: int) -> int:
    return _PLACES_OF_MICROSECONDS if name.endswith("_us") else above


def text(value: Any) -> str:
    """A document in which each element of a list is one line, however long, and so is a list of plain values.

    An object that stands in no list has a line for each of its members, unless it fits on one.
    """
    return "\n".join(_lines(value, 0, 0)) + "\n"


def _lines(value: Any, depth: int, taken: int) -> list[str]:
    """Lines of a value that stands `depth` deep, after `taken` columns; the first is not set in."""
    whole = json.dumps(value)
    parts: list[list[str]]
    if isinstance(value, Mapping) and taken + len(whole) > _COLUMNS:
        parts = [_member(str(key), inner, depth + 1) for key, inner in value.items()]
        ends = "{}"
    elif isinstance(value, list | tuple) and any(isinstance(inner, Mapping | list | tuple) for inner in value):
        parts = [[json.dumps(inner)] for inner in value]
        ends = "[]"
    else:
        return [whole]
    within, margin = " " * (depth + 1), " " * depth
    lines = [ends[0]]
    for number, part in enumerate(parts, 1):
        comma = "," if number < len(parts) else ""
        lines += [within + part[0], *part[1:]]
        lines[-1] += comma
    return [*lines, margin + ends[1]]


def _member(name: str, value: Any, depth: int) -> list[str]:
    label = f"{json.dumps(name)}: "
    first, *others = _lines(value, depth, depth + len(label) + 1)
    return [label + first, *others]
