from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suture.match.pattern import Pattern


def test_open_ranges_are_joined_and_cut_to_the_data() -> None:
    assert Pattern.of(b"abcdefgh", [(2, 4), (4, 5), (1, 3)]).open == ((1, 5),)
    assert Pattern.of(b"abcdefgh", [(6, 99), (-3, 1)]).open == ((0, 1), (6, 8))
    assert Pattern.of(b"abcdefgh", [(3, 3), (5, 4), (8, 9), (-2, 0)]).open == ()
    assert Pattern.of(b"abcdefgh", [(0, 6), (1, 2), (7, 8)]).open == ((0, 6), (7, 8))
    assert Pattern.of(b"abcdefgh", [(1, 3), (4, 5)]).open == ((1, 3), (4, 5))


def test_fixed_are_all_others() -> None:
    assert Pattern.of(b"abcdefgh", [(2, 4)]).fixed == ((0, 2), (4, 8))
    assert Pattern.of(b"abcdefgh", [(0, 1), (3, 4), (7, 8)]).fixed == ((1, 3), (4, 7))
    assert Pattern.of(b"abcdefgh", []).fixed == ((0, 8),)
    assert Pattern.of(b"abcd", [(0, 4)]).fixed == Pattern.of(b"", []).fixed == ()
    assert Pattern.of(b"abcdefgh", [(2, 4)]).compared == 6
    assert Pattern.of(b"abcdefgh", [(2, 4), (6, 7)]).compared == 5


def test_text_and_back() -> None:
    pattern = Pattern.of(b"\x01\xab\x00\xff", [(1, 3)])
    assert str(pattern) == "01....ff"
    assert Pattern.parse("01....ff") == Pattern(b"\x01\0\0\xff", ((1, 3),))
    assert str(Pattern.parse("..0203..")) == "..0203.."
    for wrong in ("0", "0.", ".1", "xx", "01..0"):
        with pytest.raises(ValueError):
            Pattern.parse(wrong)


def test_a_pattern_matches_where_all_fixed_bytes_do() -> None:
    pattern = Pattern.of(b"abXXef", [(2, 4)])
    text = b"..ab12ef"
    assert [pattern.matches(text, at) for at in (-1, 0, 1, 2, 3, 8)] == [False, False, False, True, False, False]
    assert not pattern.matches(b"..ab12eg", 2) and not pattern.matches(b"..xb12ef", 2)
    assert not pattern.matches(b"ab12e", 0)
    assert not pattern.matches(b"cdab12ef", -6)


def test_only_so_many_places_are_found_and_the_longest_run_leads_to_them() -> None:
    pattern = Pattern.of(b"aXXbcd", [(1, 3)])
    text = b"a12bcd a34bcd z56bcd a78bcd a90bcd"
    assert pattern.find(text) == [0, 7, 21]
    assert pattern.find(text, 1) == [0]
    assert pattern.find(text, 9) == [0, 7, 21, 28]
    assert Pattern.of(b"abcdXXe", [(4, 6)]).find(b"zabcd12e") == [1]
    assert Pattern.of(b"abcd", [(0, 4)]).find(b"abcdabcd") == []
    assert Pattern.of(b"aa", []).find(b"aaaa") == [0, 1, 2]
    # the anchor may stand before the pattern's first place in the text
    assert Pattern.of(b"XXbcd", [(0, 2)]).find(b"bcd12bcd") == [3]


def test_a_long_pattern_is_compared_to_its_end() -> None:
    data = bytes(range(1, 100))
    pattern = Pattern.of(data, [])
    assert pattern.find(b"zz" + data) == [2]
    assert pattern.find(b"zz" + data[:-1] + b"\0") == []
    two = Pattern.of(data + b"X" + data, [(99, 100)])
    assert two.find(data + b"?" + data) == [0]
    assert two.find(data + b"?" + data[:-1] + b"\0") == []


@given(
    st.binary(max_size=60),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=3),
    st.binary(min_size=1, max_size=6),
)
def test_finding_is_matching_everywhere(text: bytes, open_: list[tuple[int, int]], data: bytes) -> None:
    pattern = Pattern.of(data, open_)
    everywhere = [at for at in range(len(text)) if pattern.matches(text, at)]
    assert pattern.find(text, 99) == (everywhere if pattern.fixed else [])
    for at in range(len(text) - len(data) + 1):
        equal = all(text[at + n] == b for n, b in enumerate(data) if not any(a <= n < e for a, e in open_))
        assert pattern.matches(text, at) == equal
