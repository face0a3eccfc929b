"""A variable that an instruction names directly, reached through a slot. The judge is the processor: each instruction
runs both ways."""

from __future__ import annotations

import ctypes
import struct
import subprocess
from pathlib import Path

import pytest

from suture.make.indirect import detour

# each adds what it did to its registers; `word` is what is named, `%ebx` and the like hold other values
INSTRUCTIONS = """mov word(%rip), %rax
mov word(%rip), %rdi
mov word+8(%rip), %r12
mov word(%rip), %r8d
mov word(%rip), %dl
mov %ecx, word(%rip)
movb $5, word+3(%rip)
movq $-5, word(%rip)
addq $77, word(%rip)
add %r9, word(%rip)
add word(%rip), %rsi
cmpl $3, word(%rip)
cmp word(%rip), %al
movslq word(%rip), %rdx
movzbl word+1(%rip), %ebx
movsbw word(%rip), %cx
lea word+4(%rip), %rdi
imul $77, word(%rip), %edx
imul word(%rip), %rax
mulq word(%rip)
divb word(%rip)
incl word(%rip)
negq word+8(%rip)
shll $3, word(%rip)
shl %cl, word(%rip)
btsl $4, word(%rip)
sete word(%rip)
cmovne word(%rip), %rbx
xchg %rax, word(%rip)
lock xadd %rdx, word(%rip)
lock cmpxchg %rcx, word(%rip)
lock cmpxchg16b word(%rip)
cvtsi2sdq word(%rip), %xmm0
movups word(%rip), %xmm1
pshufd $0x1b, word(%rip), %xmm2
vpaddd word(%rip), %ymm0, %ymm3
movntiq %rax, word(%rip)
test %edx, word(%rip)""".splitlines()
HARNESS = """
.text
.globl run
run: push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; mov %rdi, %r15; mov %rsi, %r14
  movups 64(%r14), %xmm0; movups 80(%r14), %xmm1; movups 96(%r14), %xmm2; movups 112(%r14), %xmm3
  mov 0(%r14), %rax; mov 8(%r14), %rbx; mov 16(%r14), %rcx; mov 24(%r14), %rdx
  mov 32(%r14), %rsi; mov 40(%r14), %rdi; mov 48(%r14), %r8; mov 56(%r14), %r9
  movq $0x1234, -8(%rsp); movq $0x5678, -120(%rsp); xor %r12d, %r12d; xor %r13d, %r13d; cmp %r13, %r12
  jmp *%r15
.globl back
back: pushf; pop %r13; mov %rax, 0(%r14); mov %rbx, 8(%r14); mov %rcx, 16(%r14); mov %rdx, 24(%r14)
  mov %rsi, 32(%r14); mov %rdi, 40(%r14); mov %r8, 48(%r14); mov %r9, 56(%r14)
  movups %xmm0, 64(%r14); movups %xmm1, 80(%r14); movups %xmm2, 96(%r14); movups %xmm3, 112(%r14)
  mov %r12, 128(%r14); and $0x8d5, %r13; mov %r13, 136(%r14); mov -120(%rsp), %rax; mov %rax, 144(%r14)
  pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret
.data
.balign 16
.globl word
word: .quad 0x0102030405060708, 9, 10, 11
"""


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> tuple[ctypes.CDLL, int, list[tuple[bytes, int, int]]]:
    """The harness, 64 KiB of writable code within its reach, and the instructions: bytes, offset of the field, offset
    in `word`."""
    folder: Path = tmp_path_factory.mktemp("indirect")
    rows = "\n".join(f".globl i{n}\ni{n}: {i}\n.globl e{n}\ne{n}:" for n, i in enumerate(INSTRUCTIONS))
    (folder / "t.s").write_text(HARNESS + ".text\n" + rows + '\n.section .note.GNU-stack,"",@progbits\n')
    subprocess.run(["gcc", "-c", "t.s", "-o", "t.o"], check=True, cwd=folder)
    subprocess.run(["gcc", "-shared", "-Wl,-Bsymbolic", "t.o", "-o", "t.so"], check=True, cwd=folder)
    library = ctypes.CDLL(str(folder / "t.so"))
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    word = ctypes.addressof(ctypes.c_char.in_dll(library, "word"))
    base = libc.mmap((word & ~0xFFFF) + (1 << 24), 1 << 16, 7, 0x22, -1, 0)
    found = []
    for n in range(len(INSTRUCTIONS)):
        start, end = (ctypes.addressof(ctypes.c_char.in_dll(library, f"{c}{n}")) for c in "ie")
        raw = ctypes.string_at(start, end - start)
        at = next(
            i for i in range(1, len(raw) - 3) if 0 <= end + struct.unpack_from("<i", raw, i)[0] - word < 16
        )  # fmt: skip
        found.append((raw, at, end + struct.unpack_from("<i", raw, at)[0] - word))
    return library, base, found


@pytest.mark.parametrize("number", range(len(INSTRUCTIONS)), ids=INSTRUCTIONS)
def test_an_instruction_does_the_same_by_way_of_a_slot(
    room: tuple[ctypes.CDLL, int, list[tuple[bytes, int, int]]], number: int
) -> None:
    library, base, rows = room
    raw, field, offset = rows[number]
    word, back = (ctypes.addressof(ctypes.c_char.in_dll(library, n)) for n in ("word", "back"))
    made = detour(raw, field, offset)
    assert made is not None
    slot = base + 0x8000
    ctypes.memmove(slot, struct.pack("<Q", word), 8)
    direct, through = bytearray(raw), bytearray(made.code)
    struct.pack_into("<i", direct, field, word + offset - (base + len(raw)))
    struct.pack_into("<i", through, made.slot, slot - (base + made.slot + 4))
    results = []
    for code in (direct, through):
        ctypes.memmove(base, bytes(code) + b"\xe9" + struct.pack("<i", back - (base + len(code) + 5)), len(code) + 5)
        ctypes.memmove(word, struct.pack("<QQQQ", 0x0102030405060708, 9, 10, 11), 32)
        state = struct.pack("<8Q", 7, 8, 3, 0, 11, 12, 13, 14) + bytes(range(64)) + bytes(24)
        registers = ctypes.create_string_buffer(state, len(state))
        library.run(ctypes.c_void_p(base), registers)
        results.append((registers.raw, ctypes.string_at(word, 32)))
    assert results[0] == results[1]
    assert struct.unpack_from("<Q", results[1][0], 144)[0] == 0x5678  # the red zone


@pytest.mark.parametrize(
    ("code", "field"),
    [
        ("ff1500000000", 2),  # call *word(%rip)
        ("ff2500000000", 2),  # jmp *word(%rip)
        ("ff3500000000", 2),  # push word(%rip)
        ("8f0500000000", 2),  # pop word(%rip)
        ("03250000000090", 2),  # add word(%rip),%esp, and a byte more
        ("488b2500000000", 3),  # mov word(%rip),%rsp
        ("e800000000", 1),
        ("bf00000000", 1),  # mov $word,%edi: no slot holds a number
        ("8b8700000000", 2),  # word(%rdi)
    ],
)
def test_what_branches_or_uses_the_stack_or_names_no_memory_is_left(code: str, field: int) -> None:
    assert detour(bytes.fromhex(code), field, 0) is None
