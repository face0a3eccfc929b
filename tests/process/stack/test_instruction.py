"""Lengths of instructions, with a disassembler as the judge."""

from __future__ import annotations

from pathlib import Path

import capstone
import pytest

from suture.elf.file import ElfFile
from suture.process.stack.instruction import begins_at, length

FILES = ["/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/bin/bash", "/usr/lib/x86_64-linux-gnu/libm.so.6"]
MOST = 400_000


@pytest.mark.parametrize("path", FILES)
def test_every_instruction_is_as_long_as_the_disassembler_says(path: str) -> None:
    elf = ElfFile.read(Path(path))
    text = next(s for s in elf.sections if s.name == ".text")
    code = elf.bytes_of(text)[:MOST]
    judge = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    seen = 0
    for at, size, name, operands in judge.disasm_lite(code, 0):
        assert length(code, at) == size, f"{code[at : at + 15].hex()} {name} {operands}"
        seen += 1
    assert seen > 20_000


def test_bytes_inside_an_instruction_are_told_from_one() -> None:
    code = bytes.fromhex("894c01fc 4c01fc c3".replace(" ", ""))  # mov %ecx,-4(%rcx,%rax); add %r15,%rsp; ret
    assert not begins_at(code, 0, 1)
    assert begins_at(code, 0, 4)


def test_what_is_no_instruction_or_cut_off_has_no_length() -> None:
    assert length(b"\x06", 0) == 0
    assert length(b"\xe8\x00\x00", 0) == 0
    assert length(b"\x66" * 20, 0) == 0
    assert length(bytes.fromhex("8fe8e0a3de90"), 0) == 0  # XOP


JUDGE = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
TAIL = bytes(range(0x11, 0x1D))
PREFIXES = ["", "66", "67", "f0", "f2", "f3", "2e", "64", "40", "47", "48", "4c", "6648", "664f", "f366"]
MODRMS = [0x00, 0x04, 0x05, 0x0D, 0x38, 0x44, 0x7C, 0x85, 0xBC, 0xC1, 0xC8, 0xF8]
NO_OPCODE = {0x0F, 0x26, 0x2E, 0x36, 0x3E, *range(0x40, 0x50), 0x62, *range(0x64, 0x68), 0xC4, 0xC5, 0xF0, 0xF2, 0xF3}
OTHERWISE = {
    "": {
        0xC2
    },  # the judge takes a prefix 66 for the size of a jump's operand, which it is not in 64-bit code (SDM, RET, Jcc)
    "0f": {0x80, 0x81, 0x20, 0x21, 0x22, 0x23, 0x78, 0xB9, 0xFF},  # and ud0, ud1 for two bytes; privileged, AMD's alone
}


def judged(code: bytes) -> int:
    """As the disassembler says; 0 when it knows no such instruction."""
    return next((size for _, size, _, _ in JUDGE.disasm_lite(code, 0, 1)), 0)


@pytest.mark.parametrize("opcodes", ["", "0f", "0f38", "0f3a"])
def test_every_opcode_with_every_prefix_is_as_long_as_the_disassembler_says(opcodes: str) -> None:
    wrong, seen = [], 0
    for prefix in PREFIXES:
        for op in range(256):
            if opcodes == "" and op in NO_OPCODE:
                continue
            for modrm in MODRMS:
                code = bytes.fromhex(prefix + opcodes) + bytes([op, modrm]) + TAIL
                wanted = judged(code)
                if wanted and length(code, 0) != wanted and op not in OTHERWISE.get(opcodes, ()):
                    wrong.append((code.hex(), wanted, length(code, 0)))
                seen += wanted > 0
    assert wrong == []
    assert seen > 1_000


def test_opcodes_that_64_bit_code_does_not_have_are_none() -> None:
    for op in {*range(256)} - NO_OPCODE:
        code = bytes([op, 0xC1]) + TAIL
        if not judged(code) and not judged(bytes([op, 0x01]) + TAIL) and not judged(bytes([op, 0x0F]) + TAIL):
            assert length(code, 0) == (2 if op == 0x63 else 0), hex(op)
    for op in (0x04, 0x0A, 0x0C, 0x36, 0x39, 0x3B, 0x3C, 0x3D, 0x3E, 0x3F):
        assert length(bytes([0x0F, op]) + TAIL, 0) == 0, hex(op)


VECTORS = [
    "c5f877",
    "c5fc28c1",
    "c5fc2805aabbccdd",
    "c4e27d18c1",
    "c4e37d18c101",
    "c4e27d1844240 8".replace(" ", ""),
    "c5f9c6c101",
    "62f17c4828c1",
    "62f27d48184424 10".replace(" ", ""),
    "62f37d4818c101",
    "62f57c4858c1",
    "62f67d4898c1",
    "c4e1f96ec0",
    "c4c37d194c2410 01".replace(" ", ""),
]


@pytest.mark.parametrize("code", VECTORS)
def test_vector_instructions_are_as_long_as_they_are(code: str) -> None:
    raw = bytes.fromhex(code)
    if not code.startswith(("62f5", "62f6")):  # half precision, newer than the disassembler
        assert judged(raw + TAIL) == len(raw)
    assert length(raw + TAIL, 0) == len(raw)
    for cut in range(1, len(raw)):
        assert length(raw[:cut], 0) == 0


def test_maps_of_vector_instructions_that_there_are_not_are_none() -> None:
    for code in ("c4e07d18c1", "c4e47d18c1", "c4ff7d18c1", "62f07c4828c1", "62f47c4828c1", "62f77c4828c1"):
        assert length(bytes.fromhex(code) + TAIL, 0) == 0, code


def test_an_instruction_of_fifteen_bytes_is_the_longest() -> None:
    assert length(b"\x66" * 10 + b"\x05\x01\x02\x03\x04", 0) == 13
    assert length(b"\x2e" * 10 + b"\x05\x01\x02\x03\x04", 0) == 15
    assert length(b"\x2e" * 11 + b"\x05\x01\x02\x03\x04", 0) == 0


def test_what_cannot_be_told_may_be_an_instruction() -> None:
    code = bytes.fromhex("90 90 06 90 e8 01 02 03 04 c3".replace(" ", ""))
    assert [begins_at(code, 0, n) for n in range(3)] == [True, True, True]
    assert begins_at(code, 0, 3) and begins_at(code, 0, 8)  # an opcode that is none stands before them
    assert [begins_at(code, 3, n) for n in range(3, 10)] == [True, True, False, False, False, False, True]
    assert length(code, 4) == 5
