"""What stands before a jump is done and taken back. The judge is the processor: stack and kept registers are as at
the call again."""

from __future__ import annotations

import ctypes
import mmap
import struct

import capstone
import pytest

from suture.make.lead import Lead

DECODER = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
DECODER.detail = True
VARIADIC = "b808000000"


def taken(*codes: str) -> tuple[list[bool], str]:
    """Whether each instruction was taken, and how all is taken back."""
    lead = Lead()
    answers = []
    for code in codes:
        (insn,) = DECODER.disasm(bytes.fromhex(code), 0x1000)
        answers.append(lead.take(insn))
    return answers, lead.undo.hex()


UNDONE = [
    (["55"], "5d"),  # push rbp
    (["4154"], "415c"),  # push r12
    (["4155", "53"], "5b415d"),
    (["50"], "58"),
    (["55", "4889e5"], "5d"),  # mov rsp, rbp
    (["55", "89fd"], "5d"),  # mov edi, ebp
    (["53", "6689fb"], "5b"),  # mov di, bx
    (["53", "88d3"], "5b"),  # mov dl, bl
    (["4154", "4989fc"], "415c"),
    (["4155", "4589c5"], "415d"),
    (["53", "31db"], "5b"),
    (["55", "488d6c2410"], "5d"),  # lea 16(rsp), rbp
    (["4883ec18"], "488da42418000000"),
    (["4881ec00010000"], "488da42400010000"),
    (["53", "4883ec10"], "488da424100000005b"),
    (["f30f1efa"], ""),
    (["90"], ""),
    (["0f1f440000"], ""),
    (["85ff"], ""),  # test edi, edi
    (["4839f7"], ""),
    (["83ff05"], ""),
    (["31c0"], VARIADIC),
    (["b805000000"], VARIADIC),
    (["4889f8"], VARIADIC),
    (["b005"], VARIADIC),
    (["488d4701"], VARIADIC),
    (["53", "89f8"], "5b" + VARIADIC),
    (["48b80102030405060708"], VARIADIC),
]


@pytest.mark.parametrize(("codes", "undo"), UNDONE)
def test_what_can_be_undone_is_taken(codes: list[str], undo: str) -> None:
    assert taken(*codes) == ([True] * len(codes), undo)


NOT = [
    "54",  # push rsp
    "ff37",  # push (rdi)
    "6a05",
    "6653",  # push bx
    "6650",
    "89fb",  # mov edi, ebx: not kept
    "4989fc",
    "31ff",  # an argument
    "31c9",
    "8b07",  # may fault
    "8907",
    "833f05",
    "4883e810",  # sub 16, rax
    "4829e0",  # sub rsp, rax
    "4829c4",  # sub rax, rsp
    "482b2507000000",  # sub 7(rip), rsp
    "4883c410",
    "e800000000",
    "7400",
    "c3",
    "0fa2",
    "f7d0",
    "488d6c2410",  # lea into a register that was not pushed
    "4889e5",
    "0f05",
]


@pytest.mark.parametrize("code", NOT)
def test_what_cannot_be_undone_is_not_taken_and_adds_nothing(code: str) -> None:
    assert taken("4155", code, "53") == ([True, False, True], "5b415d")


def test_a_register_is_kept_from_its_push_on_and_no_other_by_it() -> None:
    assert taken("53", "4989fc")[0] == [True, False]
    assert taken("4154", "89fb")[0] == [True, False]
    for push, move in (
        ("55", "4889fd"),
        ("53", "4889fb"),
        ("4154", "4989fc"),
        ("4155", "4989fd"),
        ("4156", "4989fe"),
        ("4157", "4989ff"),
    ):
        assert taken(push, move)[0] == [True, True]
        assert taken(move)[0] == [False]


def ran(code: bytes) -> tuple[int, ...]:
    """rsp before and after, and rbx, rbp, r12..r15, eax after, of code that runs with known values in them."""
    out = ctypes.create_string_buffer(64)
    at = ctypes.addressof(out)
    head = bytes.fromhex("5355415441554156415750") + b"\x48\xbe" + struct.pack("<Q", at)  # pushes; mov $out, rsi
    head += (
        bytes.fromhex("488926")
        + b"\xbb\x0b\0\0\0\xbd\x0c\0\0\0\x41\xbc\x0d\0\0\0\x41\xbd\x0e\0\0\0\x41\xbe\x0f\0\0\0\x41\xbf\x10\0\0\0"
    )
    head += b"\xb8\x01\0\0\0\xbf\x07\0\0\0\xba\x09\0\0\0"
    tail = bytes.fromhex("48896608 48895e10 48896e18 4c896620 4c896e28 4c897630 4c897e38".replace(" ", ""))
    tail += bytes.fromhex("488b26" + "58415f415e415d415c5d5bc3")  # mov (rsi), rsp; pops
    room = mmap.mmap(-1, 4096, prot=7)
    room.write(head + code + tail)
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(room)))()
    return struct.unpack("<8Q", out.raw)


@pytest.mark.parametrize(("codes", "undo"), [row for row in UNDONE if not row[0][-1].startswith("b")])
def test_the_processor_finds_all_as_it_was(codes: list[str], undo: str) -> None:
    before, after, *kept = ran(bytes.fromhex("".join(codes) + undo))
    assert before == after
    assert kept == [11, 12, 13, 14, 15, 16]
