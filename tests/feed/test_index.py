from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suture.feed import index
from suture.feed.index import BadIndex


@given(st.sets(st.integers(0, (1 << 24) - 1)))
def test_what_is_packed_is_unpacked(values: set[int]) -> None:
    assert index.unpack(index.pack(values)) == values


@given(st.binary(max_size=64))
def test_what_is_no_index_is_an_error_and_nothing_else(data: bytes) -> None:
    for raw in (data, index.pack([]) + data):
        try:
            found = index.unpack(raw)
        except BadIndex:
            continue
        assert all(0 <= value < 1 << 24 for value in found)


@pytest.mark.parametrize("end", [b"\x80", b"\xff\xff\xff\xff\x7f", b"\xff\xff\xff\x7f"], ids=["cut", "long", "large"])
def test_a_broken_index_is_refused(end: bytes) -> None:
    with pytest.raises(BadIndex):
        index.unpack(index.pack([1]) + end)


def test_ten_thousand_build_ids_take_two_bytes_each() -> None:
    prints = [index.fingerprint(f"{n:040x}") for n in range(10_000)]
    assert len(index.pack(prints)) < 21_000 and len(set(prints)) > 9_990
