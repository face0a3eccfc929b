"""Where two files begin to differ."""

from __future__ import annotations

import pytest

from suture.cli.difference import first_difference


@pytest.mark.parametrize(
    ("a", "b", "at"), [(b"abc", b"abd", 2), (b"xbc", b"abc", 0), (b"ab", b"abc", 2), (b"", b"a", 0)]
)
def test_the_first_byte_that_one_file_has_and_the_other_not_is_named(a: bytes, b: bytes, at: int) -> None:
    assert first_difference(a, b) == f"the first difference is at byte {at} of {len(a)} and {len(b)}"
    assert first_difference(b, a) == f"the first difference is at byte {at} of {len(b)} and {len(a)}"
