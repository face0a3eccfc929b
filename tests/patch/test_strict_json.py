"""JSON from outside: the judge is json itself for what is plain; what two readers could read in two ways is refused."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suture.patch.strict_json import loads

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 64), 1 << 64) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(plain)
def test_a_plain_value_is_read_as_it_was_written(value: Any) -> None:
    assert loads(json.dumps(value).encode(), 1 << 20, 1 << 16) == value


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":1,"a":1}', b'{"x":{"a":1,"b":2,"a":3}}', b"1.5", b"1e3", b"[1e400]", b"NaN", b"[-Infinity]",
        b"1" * 30, b'"\xff"',
        b"[" * 100_000, b'{"a":' * 50_000, b"", b"{} x", b"\xef\xbb\xbf{}", '{"a":1}'.encode("utf-16"),
    ],
)  # fmt: skip
def test_what_is_not_plain_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError):
        loads(raw, 1 << 20, 1 << 18)


def test_a_text_with_too_many_bytes_or_values_is_refused_before_anything_is_built() -> None:
    many = b"[" + b"[]," * 5_000_000 + b"1]"
    tracemalloc.start()
    for most_bytes, most_values in ((1 << 20, 1 << 30), (1 << 30, 1 << 20)):
        with pytest.raises(ValueError):
            loads(many, most_bytes, most_values)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_commas_lists_and_objects_count_as_values() -> None:
    raw = b'[1,2,{"a":[]},{}]'
    assert loads(raw, len(raw), 7) == [1, 2, {"a": []}, {}]
    with pytest.raises(ValueError, match="more than 6 values"):
        loads(raw, len(raw), 6)
    with pytest.raises(ValueError, match=f"{len(raw)} bytes of JSON, more than {len(raw) - 1}"):
        loads(raw, len(raw) - 1, 7)
    assert loads(b"-18446744073709551616", 99, 9) == -(1 << 64)
    with pytest.raises(ValueError, match="a number of 22 digits"):
        loads(b"1" * 22, 99, 9)
