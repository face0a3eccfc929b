"""Which code asks for flags that were set before it; the code is that of an assembler."""

from __future__ import annotations

import subprocess
from pathlib import Path

import capstone
import pytest

from suture.elf.file import ElfFile
from suture.make.flag import asks_for_flags

DECODER = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
DECODER.detail = True

ASKS = [
    "sete %al; ret",
    "mov $1, %eax; cmove %edi, %eax; ret",
    "inc %eax; jc 1f; 1: ret",  # inc leaves the carry as it is
    "1: dec %edi; jne 1b; adc $0, %eax; ret",
    "jmp 1f; ret; 1: setl %al; ret",
    "2: dec %edi; je 1f; ret; 1: sbb %eax, %eax; ret",
    "pushf; pop %rax; ret",
    "lahf; ret",
    "fcmove %st(1), %st; ret",
    "rcl %eax; ret",
    "cmc; jc 1f; 1: ret",
    "adcx %eax, %ecx; ret",
    "adox %eax, %ecx; ret",
    "loope 1f; 1: ret",
    "jmp *%rax",
    ".byte 0x06",
]
ASKS_NOT = [
    "ret",
    "test %edi, %edi; sete %al; ret",
    "xor %eax, %eax; adc $0, %eax; ret",
    "1: dec %edi; jne 1b; ret",
    "call 1f; 1: ret",
    "mov %edi, %eax; lea 1(%rdi), %ecx; ret",
    "comisd %xmm0, %xmm1; ja 1f; 1: ret",
    "jmp 1f; sete %al; 1: ret",
]


@pytest.mark.parametrize(("text", "asks"), [*((t, True) for t in ASKS), *((t, False) for t in ASKS_NOT)])
def test_what_reads_a_flag_before_it_is_written_anew(text: str, asks: bool, tmp_path: Path) -> None:
    made = tmp_path / "x.o"
    subprocess.run(["as", "-o", made, "-"], input=f"{text}\n".encode(), check=True)
    elf = ElfFile.read(made)
    section = elf.section(".text")
    assert section is not None
    assert asks_for_flags(DECODER, elf.bytes_of(section), 0) is asks
