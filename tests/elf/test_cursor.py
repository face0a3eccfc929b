from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suture.elf.cursor import Cursor


class Bad(Exception):
    pass


class Mine(Cursor):
    error = Bad


def leb(value: int, signed: bool) -> bytes:
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        if value == (-1 if signed and byte & 0x40 else 0) and not (signed and value == 0 and byte & 0x40):
            return bytes([*out, byte])
        out.append(byte | 0x80)


def test_numbers_are_little_endian_and_stand_one_behind_the_other() -> None:
    c = Mine(b"\x01\x02\x03\xff\xfe\xff\x80")
    assert (c.u(1), c.u(2), c.s(1), c.s(2), c.u(1), c.at) == (1, 0x302, -1, -2, 0x80, 7)


def test_nothing_is_read_behind_the_end() -> None:
    c = Mine(b"abcdef", 1, 4)
    assert (c.at, c.end, c.take(2), c.at) == (1, 4, b"bc", 3)
    with pytest.raises(Bad, match="truncated"):
        c.take(2)
    assert (c.take(1), c.take(0)) == (b"d", b"")
    for count in (1, -1):
        with pytest.raises(Bad):
            c.take(count)
    with pytest.raises(Bad):
        Mine(b"\x80").uleb()
    assert Mine(b"ab").end == 2


@given(st.integers(0, (1 << 64) - 1), st.integers(-(1 << 63), (1 << 63) - 1))
def test_leb128_is_read_as_it_is_written(unsigned: int, signed: int) -> None:
    c = Mine(leb(unsigned, False) + leb(signed, True) + b"x")
    assert (c.uleb(), c.sleb(), c.u(1)) == (unsigned, signed, ord("x"))


@pytest.mark.parametrize(
    ("raw", "unsigned", "signed"),
    [
        ("02", 2, 2),
        ("7f", 127, -1),
        ("7e", 126, -2),
        ("40", 64, -64),
        ("3f", 63, 63),
        ("ff00", 127, 127),
        ("8001", 128, 128),
        ("807f", 0x3F80, -128),
        ("8000", 0, 0),
    ],
)
def test_numbers_of_the_standard(raw: str, unsigned: int, signed: int) -> None:
    """DWARF 5, tables 7.7 and 7.8."""
    assert Mine(bytes.fromhex(raw)).uleb() == unsigned
    assert Mine(bytes.fromhex(raw)).sleb() == signed


def test_a_number_without_end_is_refused() -> None:
    assert Mine(b"\x80" * 9 + b"\x01").uleb() == 1 << 63
    with pytest.raises(Bad, match="number too long"):
        Mine(b"\x80" * 10 + b"\x01").uleb()


def test_text_ends_with_a_zero_byte() -> None:
    c = Mine(b"xab\0\0cd\0", 1, 7)
    assert (c.text(), c.at, c.text(), c.at) == (b"ab", 4, b"", 5)
    with pytest.raises(Bad, match="truncated"):
        c.text()
