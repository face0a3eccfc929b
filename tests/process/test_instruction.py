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
