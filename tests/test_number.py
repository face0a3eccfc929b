"""Numbers of different kinds: a mix is an error of mypy's, and one becomes another only as it is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from suture.number import Address, Bias, Vaddr, bias_between, in_file, in_process

ROOT = Path(__file__).resolve().parents[1]

USES = """
from suture.elf.file import ElfFile
from suture.number import Address, Bias, BuildId, FileOffset, SectionOffset, Vaddr, in_process
from suture.process.memory import memory
from suture.process.memory.image import Image

def right(elf: ElfFile, image: Image, at: Vaddr) -> bytes:
    return elf.read_at(at, 8) + memory.read(1, in_process(at, image.bias), 8)

def wrong(elf: ElfFile, image: Image, at: Vaddr, here: Address, offset: FileOffset, inside: SectionOffset) -> None:
    memory.read(1, at, 8)  # line 11
    memory.read(1, offset, 8)
    elf.read_at(here, 8)
    elf.read_at(inside, 8)
    in_process(here, image.bias)
    in_process(at, image.start)
    image.holds(here, 8)
    known: BuildId = image.path
"""
FIRST, LAST = 11, 18


def test_each_kind_of_mix_is_an_error_and_what_is_right_is_none(tmp_path: Path) -> None:
    program = tmp_path / "uses.py"
    program.write_text(USES)
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", f"--cache-dir={tmp_path}"]
    done = subprocess.run([*command, str(program)], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = {int(row.split(":")[1]) for row in done.stdout.splitlines() if ": error:" in row}
    assert lines == set(range(FIRST, LAST + 1)), done.stdout


@pytest.mark.parametrize("bias", [0, 0x7F0000000000, -0x1000])
def test_an_address_of_the_file_and_of_the_process_are_a_bias_apart(bias: int) -> None:
    at = Vaddr(0x401000)
    here = in_process(at, Bias(bias))
    assert here == 0x401000 + bias and in_file(here, Bias(bias)) == at and bias_between(here, at) == bias


def test_addresses_have_64_bits_whatever_the_bias() -> None:
    assert in_process(Vaddr(0x10), Bias(-0x20)) == (1 << 64) - 0x10
    assert in_file(Address(0x10), Bias(0x20)) == (1 << 64) - 0x10
    assert in_process(Vaddr((1 << 64) - 8), Bias(16)) == 8
