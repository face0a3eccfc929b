"""Which code can leave a stack suspended."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import capstone
import pytest
from capstone import x86

from suture.number import Address, FileOffset
from suture.process.memory import memory
from suture.process.memory.maps import Mapping, Maps, read_maps
from suture.process.stack import switching
from suture.process.stack.frame import NoFrame
from suture.process.stack.switching import may_switch_stacks, stack_pointer_loads

Start = Callable[..., Any]
ENDS = 'int main(int argc, char **argv) { char c; puts("up"); fflush(stdout); use(argc); read(0, &c, 1); return 0; }'
HEAD = (
    "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <unistd.h>\n#include <setjmp.h>\n"
    "#include <signal.h>\n#include <ucontext.h>\n"
)
NONE = {
    "plain": "static void use(int n) { }",
    "array of variable length": (
        "static void use(int n) { for (int i = 0; i < n; i++) { char a[n * 16]; memset(a, i, sizeof a); __asm__ "
        'volatile("" :: "r"(a) : "memory"); } }'
    ),
    "alloca": (
        'static void use(int n) { char *a = __builtin_alloca(n * 100); memset(a, 0, n); __asm__ volatile("" :: '
        '"r"(a) : "memory"); }'
    ),
    "aligned": (
        'static void use(int n) { char a[64] __attribute__((aligned(64))); memset(a, n, 64); __asm__ volatile("" :: '
        '"r"(a) : "memory"); }'
    ),
    "longjmp": "static jmp_buf b; static void use(int n) { if (!setjmp(b) && n > 5) longjmp(b, 1); }",
    "copies of odd sizes": (
        "static char x[99], y[99]; static void use(int n) { memcpy(x, y, n & 15); memmove(x + n, y, 7 + (n & 1)); }"
    ),
}
SOME = {
    "swapcontext": "static ucontext_t a, b; static void use(int n) { if (n > 5) swapcontext(&a, &b); }",
    "signal stack": (
        "static jmp_buf b; static void use(int n) { stack_t s = {0}; if (n > 5) { sigaltstack(&s, 0); longjmp(b, 1); "
        "} }"
    ),
    "mov from memory": 'MOV("mov (%rsi), %rsp")',
    "mov from a field": 'MOV("mov 0x30(%rdi), %rsp")',
    "mov from a register": 'MOV("mov %rdi, %rsp")',
    "mov from r9": 'MOV("mov %r9, %rsp")',
    "xchg": 'MOV("xchg %rsp, %rdx")',
    "xchg with memory": 'MOV("xchg %rsp, (%rdi)")',
    "lea": 'MOV("lea -8(%rsi), %rsp")',
    "add": 'MOV("add %rcx, %rsp")',
}
MOV = (
    '#define MOV(i) __asm__(".text\\n.globl leave_it\\n.type leave_it,@function\\nleave_it: push %rbx\\n" i "\\n'
    'pop %rbx; ret\\n.size leave_it, .-leave_it\\n"); '
    "void leave_it(void *, void *); static void use(int n) { if (n > 5) leave_it(0, 0); }\n"
)

# Assembly of a cipher, as libgcrypt's: its frame lies at r11 while rsp is aligned, which its unwind table says (or does
# not).
REALIGNED = (
    '__asm__(".text\\n.globl cipher\\n.type cipher,@function\\ncipher: .cfi_startproc\\n{save}\\n{tells}\\n'
    'sub $0x180, %rsp; and $-32, %rsp\\n"'
    ' "mov %rdi, (%rsp)\\n{back}\\n.cfi_def_cfa rsp, 8\\nret\\n.cfi_endproc\\n.size cipher, .-cipher\\n"); '
    "void cipher(void *); static void use(int n) {{ if (n > 5) cipher(0); }}\n"
)

JUDGE = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
JUDGE.detail = True
RSP, RBP = x86.X86_REG_RSP, x86.X86_REG_RBP
KEPT = ("rbx", "r12", "r13", "r14", "r15")


def forms() -> Iterator[bytes]:
    """Instructions of 64 bits that move to, add to or exchange a register, in all forms, with bytes behind them."""
    bases = (0x04, 0x05, 0x24, 0x25, 0x64, 0x07, 0xE5)
    for prefix, opcode, modrm, base in itertools.product(
        range(0x48, 0x50), (0x8B, 0x89, 0x8D, 0x87, 0x01, 0x03), range(256), bases
    ):
        if modrm >> 6 == 3 and base != bases[0]:
            continue
        yield bytes([prefix, opcode, modrm, base]) + b"\x10\0\0\0\0\0\0"


def leaves(code: bytes) -> bool:
    """Whether the first instruction loads the stack pointer with something that is not of its own frame."""
    insn = next(JUDGE.disasm(code, 0), None)
    if insn is None:
        return False
    target, source = insn.operands
    if insn.mnemonic == "xchg":
        registers = [o.reg for o in (target, source) if o.type == x86.X86_OP_REG]
        return registers.count(RSP) == 1
    if target.type != x86.X86_OP_REG or target.reg != RSP:
        return False
    if source.type == x86.X86_OP_REG:
        return source.reg not in (RSP, RBP)
    aligned = (x86.X86_REG_R10, x86.X86_REG_R13) if insn.mnemonic == "lea" else ()
    return source.mem.base not in (RSP, RBP, *aligned)


def test_every_form_that_loads_the_stack_pointer_is_seen_and_no_other() -> None:
    wrong = []
    for code in forms():
        seen = 0 in stack_pointer_loads(code)
        insn = next(JUDGE.disasm(code, 0), None)
        # one with an index register that has a prefix may be taken for one whatever its base
        if seen != leaves(code) and not (seen and code[0] & 2 and insn is not None):
            wrong.append((code[:4].hex(), seen, insn and f"{insn.mnemonic} {insn.op_str}"))
    assert wrong == []


def encoded(text: str) -> bytes:
    number = {"rbx": 3, "r12": 12, "r13": 13, "r14": 14, "r15": 15, "rdi": 7, "r9": 9}
    save, register = text.split()
    n = number[register]
    return (
        bytes([0x48 | n >> 3, 0x89, 0xE0 | n & 7])
        if save == "save"
        else bytes([0x48 | n >> 3 << 2, 0x89, 0xC4 | (n & 7) << 3])
    )


@pytest.mark.parametrize("register", [*KEPT, "rdi", "r9"])
def test_a_register_that_is_kept_over_calls_and_was_filled_before_is_of_the_present_frame(register: str) -> None:
    save, load = encoded(f"save {register}"), encoded(f"load {register}")
    for between, near in ((0, True), (100, True), (8192 - 3, True), (8192 - 2, False)):
        code = save + b"\x90" * between + load
        wanted = [] if near and register in KEPT else [len(code) - 3]
        assert list(stack_pointer_loads(code)) == wanted, (register, between)
    for between, near in ((0, True), (8192 - 6, True), (8192 - 5, False)):  # compilers move code behind other code
        code = load + b"\x90" * between + save
        assert list(stack_pointer_loads(code)) == ([] if near and register in KEPT else [0]), (register, between)
    for form in ("44", "84"):  # lea 16(%rsp)
        lea = bytearray(bytes.fromhex(f"488d{form}24") + (b"\x10" if form == "44" else b"\x10\0\0\0"))
        lea[0], lea[2] = load[0], lea[2] | load[2] & 0x38
        assert JUDGE.disasm_lite(bytes(lea), 0).__next__()[3].startswith(f"{register}, [rsp + 0x10]")
        code = bytes(lea) + load
        assert list(stack_pointer_loads(code)) == ([] if register in KEPT else [len(lea)])
    other = encoded("save rbx" if register != "rbx" else "save r12")
    assert list(stack_pointer_loads(other + load)) == [3]


def test_each_place_is_told_once_and_a_cut_instruction_is_none() -> None:
    load = bytes.fromhex("488b26")
    assert list(stack_pointer_loads(b"\x90" * 5 + load + b"\x90" * 3 + load)) == [5, 11]
    assert list(stack_pointer_loads(load[1:] + b"\x90" * 4)) == [] == list(stack_pointer_loads(load[:2]))
    assert list(stack_pointer_loads(b"")) == []


@pytest.mark.parametrize(
    ("code", "register"),
    [
        ("4889fc", 5),
        ("4889c4", 0),
        ("4889cc", 2),
        ("4889d4", 1),
        ("4889dc", 3),
        ("4889f4", 4),
        ("4889ec", 6),
        ("4c89c4", 8),
        ("4c89dc", 11),
        ("4c89fc", 15),
        ("488be7", 5),
        ("498be2", 10),
        ("498be7", 15),
        ("4989fc", None),
        ("4889f8", None),
        ("488b27", None),
        ("488d27", None),
        ("498bc7", None),
        ("4a8be7", None),
        ("4801fc", None),
        ("4889e4", 7),
    ],
)
def test_the_register_of_a_move_has_its_number_in_unwind_tables(code: str, register: int | None) -> None:
    """psABI figure 3.36."""
    assert switching._moved_from(bytes.fromhex(code)) == register


def mapping(
    start: int, end: int, name: str = "/x", inode: int = 1, offset: int = 0, executable: bool = True
) -> Mapping:
    return Mapping(
        Address(start), Address(end), True, False, executable, True, FileOffset(offset), b"", inode, name.encode()
    )


def test_code_is_read_in_pieces_that_begin_so_far_before_as_a_register_is_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size, low = (5 << 19) + 5, 0x10000
    data = bytes(n & 0xFF ^ n >> 9 & 0xFF for n in range(size))
    monkeypatch.setattr(memory, "try_read", lambda pid, at, n: data[at - low :][:n])
    found = list(switching._pieces(7, mapping(low, low + size)))
    piece, near = 1 << 20, 8192
    assert [(at - low, len(code), own) for at, code, own in found] == [
        (0, piece + near, range(piece)),
        (piece - near, piece + 2 * near, range(near, near + piece)),
        (2 * piece - near, size - 2 * piece + near, range(near, near + piece)),
    ]
    assert all(code == data[at - low :][: len(code)] for at, code, _ in found)


PROGRAM, LIBRARY, CRYPTO, SSL = "/usr/bin/p", "/usr/lib/l.so.1", "/usr/lib/libcrypto.so.3", "/usr/lib/libssl.so.3"


@pytest.mark.parametrize(
    ("names", "able"),
    [
        ({PROGRAM: ()}, False),
        ({PROGRAM: ("contexts",)}, True),
        ({LIBRARY: ("contexts",)}, True),
        ({PROGRAM: ("longjmp", "alternate stack")}, True),
        ({PROGRAM: ("longjmp",), LIBRARY: ("alternate stack",)}, False),
        ({"/lib/x86_64-linux-gnu/libc.so.6": ("contexts",)}, False),
        ({"/lib64/ld-linux-x86-64.so.2 (deleted)": ("contexts",), "/usr/lib/libgcc_s.so.1": ("contexts",)}, False),
        ({"/usr/lib/libc.so.6.old": ("contexts",)}, True),
        ({CRYPTO: ("contexts",)}, False),
        ({CRYPTO: ("contexts",), SSL: ("pauses",)}, False),
        ({CRYPTO: ("contexts",), PROGRAM: ("pauses",)}, True),
        ({CRYPTO: ("longjmp",), PROGRAM: ("pauses",)}, False),
        ({CRYPTO + " (deleted)": ("contexts",), SSL: ("pauses",), LIBRARY: ("pauses",)}, True),
    ],
    ids=str,
)
def test_names_in_the_files_tell_who_may_ask_the_c_library_for_another_stack(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, tuple[str, ...]], able: bool
) -> None:
    rows = tuple(mapping(0x1000 * n, 0x1000 * n + 0x1000, name, n) for n, name in enumerate(names, 1))
    maps = Maps(b"")
    maps.__dict__["mappings"] = rows
    monkeypatch.setattr(switching, "_names", lambda pid, m: frozenset(names[m.name.decode()]))
    monkeypatch.setattr(switching, "_switches", lambda pid, m, images: False)
    assert may_switch_stacks(7, maps) is able


class Table:
    """An unwind table with one function, at 0x1000."""

    def start_below(self, address: int) -> int | None:
        return 0x1000 if address >= 0x1000 else None

    def row(self, address: int) -> Any:
        raise NoFrame(address)


def test_bytes_inside_another_instruction_are_none_where_the_beginning_of_the_function_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = bytes.fromhex("48b8488b2600000000c3") + b"\x90" * 16  # mov $0x268b48, %rax
    asked = []

    def read(pid: int, at: int, size: int) -> bytes:
        asked.append((at, size))
        return code[at - 0x1000 :][:size]

    monkeypatch.setattr(memory, "try_read", read)
    images = switching._Images(7, Maps(b""))
    images.__dict__["_spans"] = [(0x800, 1 << 30, 1), (1 << 30, 1 << 31, 2)]
    images._tables = {1: Table(), 2: None}  # type: ignore[dict-item]
    told = {at: images.is_instruction(at) for at in (0x1000, 0x1002, 0x1003, 0x100A)}
    assert told == {0x1000: True, 0x1002: False, 0x1003: False, 0x100A: True}
    assert asked == [(0x1000, at + 15) for at in (0, 2, 3, 10)], "no more is read than the longest instruction there"
    # before the first function, too far behind it, without a table, in no image
    assert all(images.is_instruction(at) for at in (0x900, 0x1000 + (1 << 20) + 1, (1 << 30) + 2, 0x10))
    assert (
        not images.is_frame_at(0x1002, 5)
        and not images.is_frame_at((1 << 30) + 2, 5)
        and not images.is_frame_at(0x1002, None)
    )


def test_an_image_whose_unwind_table_cannot_be_read_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, header: int) -> Table:
        raise NoFrame(header)

    monkeypatch.setattr(switching, "FrameTable", refuse)
    images = switching._Images(7, Maps(b""))
    images.__dict__["_spans"] = [(0x1000, 0x2000, 0x1800)]
    assert images._table(0x1000) is images._table(0x1FFF) is images._table(0x2000) is images._table(0xFFF) is None


@pytest.mark.parametrize("register", ["r11", "r10", "rax", "rdx", "rcx", "rsi", "r8"])
@pytest.mark.parametrize("form", ["mov %{r}, %rsp", "mov.s %{r}, %rsp"])
def test_a_frame_that_the_unwind_table_finds_at_a_register_is_the_present_one(
    start: Start, gcc: Any, tmp_path: Path, register: str, form: str
) -> None:
    facts = {"save": f"mov %rsp, %{register}", "back": form.replace("{r}", register)}
    for number, (tells, able) in enumerate(((f".cfi_def_cfa {register}, 8", False), (".cfi_def_cfa rbp, 8", True))):
        text = REALIGNED.format(**facts, tells=tells)
        assert asked(start, gcc(tmp_path / f"target{number}", HEAD + text + ENDS, "-w")) is able


@pytest.mark.parametrize("optimized", ["-O0", "-O2"])
@pytest.mark.parametrize("name", NONE)
def test_ordinary_code_cannot(start: Start, gcc: Any, tmp_path: Path, name: str, optimized: str) -> None:
    able = asked(start, gcc(tmp_path / "target", HEAD + NONE[name] + ENDS, "-w", optimized))
    # without optimization gcc puts the stack pointer back from any register
    assert able == (name == "array of variable length" and optimized == "-O0")


@pytest.mark.parametrize("name", SOME)
def test_code_that_loads_the_stack_pointer_can(start: Start, gcc: Any, tmp_path: Path, name: str) -> None:
    assert asked(start, gcc(tmp_path / "target", HEAD + MOV + SOME[name] + ENDS, "-w"))


def test_a_library_counts_too(start: Start, gcc: Any, tmp_path: Path) -> None:
    library = gcc(
        tmp_path / "libswitch.so",
        HEAD + MOV + SOME["mov from memory"] + "\nvoid *used = use;",
        "-fPIC",
        "-shared",
        "-w",
    )
    program = gcc(
        tmp_path / "target",
        HEAD + NONE["plain"] + ENDS,
        "-w",
        "-Wl,--no-as-needed",
        str(library),
        f"-Wl,-rpath,{tmp_path}",
    )
    assert asked(start, program)


def asked(start: Start, program: Path) -> bool:
    target = start(program)
    assert target.line() == "up"
    return may_switch_stacks(target.pid, read_maps(target.pid))
