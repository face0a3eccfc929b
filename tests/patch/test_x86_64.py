"""Jumps, stubs and thunks, with a disassembler as the judge."""

from __future__ import annotations

import struct

import capstone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suture.number import Address
from suture.patch import x86_64
from suture.patch.x86_64 import (
    REACH,
    STUB_SIZE,
    Stub,
    decode_stub,
    encode_stub,
    import_thunk,
    jump,
    jump_target,
    reaches,
)

JUDGE = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
AT = 0x5555_5555_0000
NEAR = st.integers(-REACH + 64, REACH - 64)


def text(code: bytes, address: int) -> list[str]:
    return [f"{name} {operands}".strip() for _, _, name, operands in JUDGE.disasm_lite(code, address)]


@given(NEAR)
def test_a_jump_leads_where_it_says(distance: int) -> None:
    code = jump(Address(AT), Address(AT + distance))
    assert text(code, AT) == [f"jmp {AT + distance:#x}"]
    assert len(code) == x86_64.JUMP_SIZE == 5
    assert jump_target(Address(AT), code) == jump_target(Address(AT), code + b"more") == AT + distance


def test_a_jump_reaches_so_far_and_no_further() -> None:
    for target in (AT + 5 - REACH, AT + 5 + REACH - 1):
        assert jump_target(Address(AT), jump(Address(AT), Address(target))) == target
    for target in (AT + 4 - REACH, AT + 5 + REACH):
        with pytest.raises(ValueError, match=f"{target:#x} is out of reach of a jump at {AT:#x}"):
            jump(Address(AT), Address(target))
    assert REACH == 2**31


def test_other_code_is_no_jump() -> None:
    for code in (b"", b"\xe9\0\0\0", b"\xe8\0\0\0\0", b"\xeb\0\0\0\0"):
        assert jump_target(Address(AT), code) is None
    assert jump_target(Address(0), b"\xe9" + struct.pack("<i", -6)) == (1 << 64) - 1


@given(NEAR, NEAR, NEAR)
def test_a_stub_asks_its_byte_and_goes_one_way_or_the_other(switch: int, to: int, origin: int) -> None:
    stub = Stub(Address(AT + switch), Address(AT + to), Address(AT + origin))
    code = encode_stub(Address(AT), stub)
    assert len(code) == STUB_SIZE == 32
    assert decode_stub(Address(AT), code) == stub
    rows = list(JUDGE.disasm_lite(code[:18], AT))
    assert [(name, size) for _, size, name, _ in rows] == [("cmp", 7), ("jne", 6), ("jmp", 5)]
    assert [rows[1][3], rows[2][3]] == [f"{AT + to:#x}", f"{AT + origin:#x}"]
    assert code[6] == 0 and AT + 7 + struct.unpack_from("<i", code, 2)[0] == AT + switch
    assert code[18:] == b"\xcc" * 14


@pytest.mark.parametrize(("place", "size"), [("switch", 7), ("to", 13), ("origin", 18)])
def test_a_stub_reaches_so_far_and_no_further(place: str, size: int) -> None:
    near = {"switch": Address(AT), "to": Address(AT), "origin": Address(AT)}
    for target in (AT + size - REACH, AT + size + REACH - 1):
        stub = Stub(**{**near, place: Address(target)})
        assert decode_stub(Address(AT), encode_stub(Address(AT), stub)) == stub
    for target in (AT + size - REACH - 1, AT + size + REACH):
        with pytest.raises(ValueError, match=f"a switch stub at {AT:#x} does not reach"):
            encode_stub(Address(AT), Stub(**{**near, place: Address(target)}))


def test_other_code_is_no_stub() -> None:
    code = encode_stub(Address(AT), Stub(Address(AT + 1), Address(AT + 2), Address(AT + 3)))
    assert decode_stub(Address(AT), code[:18]) is not None and decode_stub(Address(AT), code[:17]) is None
    for at in (0, 1, 6, 7, 8, 13):
        for bit in range(8):
            assert decode_stub(Address(AT), code[:at] + bytes([code[at] ^ 1 << bit]) + code[at + 1 :]) is None


def test_an_import_thunk_goes_through_its_slot() -> None:
    code = import_thunk(Address(AT), Address(AT + 0x1000))
    assert len(code) == 8 and code[6:] == b"\xcc\xcc"
    assert text(code[:6], AT) == ["jmp qword ptr [rip + 0xffa]"]
    assert text(import_thunk(Address(AT), Address(AT - 0x1000))[:6], AT) == ["jmp qword ptr [rip - 0x1006]"]


def test_a_jump_behind_what_new_code_undoes() -> None:
    assert (x86_64.PAGE, x86_64.MOST_ENTRY) == (4096, 20)


def test_a_stub_asks_a_byte_so_far_away_and_no_further() -> None:
    near = Address(AT)
    for switch in (AT + 7 - REACH, AT + 7 + REACH - 1):
        stub = Stub(Address(switch), near, near)
        assert (
            reaches(Address(AT), Address(switch)) and decode_stub(Address(AT), encode_stub(Address(AT), stub)) == stub
        )
    for switch in (AT + 6 - REACH, AT + 7 + REACH):
        assert not reaches(Address(AT), Address(switch))
        with pytest.raises(ValueError, match="does not reach what it needs"):
            encode_stub(Address(AT), Stub(Address(switch), near, near))
