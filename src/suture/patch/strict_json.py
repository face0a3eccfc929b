"""JSON that comes from outside, read strictly and within bounds.

RFC 8259 leaves open what a name means that is given twice, so two readers of one text may see two things: it is refused
here. So are numbers that are not whole, and a text with more bytes or values than its kind ever has, before anything is
built from it.
"""

from __future__ import annotations

import json
from typing import Any

_MOST_DIGITS = 20  # of 2**64


def loads(raw: bytes, most_bytes: int, most_values: int) -> Any:
    """The value of a UTF-8 text. Raises ValueError for everything that is none, deep nesting included."""
    if len(raw) > most_bytes:
        raise ValueError(f"{len(raw)} bytes of JSON, more than {most_bytes}")
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > most_values:
        raise ValueError(f"more than {most_values} values")
    try:
        return _decode(raw.decode())
    except RecursionError as problem:
        raise ValueError("nested too deeply") from problem


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)[:64]!r} is given twice")
    return found


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS + 1:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _refuse(text: str) -> Any:
    raise ValueError(f"{text[:64]} is no whole number")


_decode = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_whole, parse_float=_refuse, parse_constant=_refuse
).decode
