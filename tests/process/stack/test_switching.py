"""Which code can leave a stack suspended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suture.process.memory.maps import read_maps
from suture.process.stack.switching import may_switch_stacks

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
    "copies of odd sizes": "static char x[99], y[99]; static void use(int n) { memcpy(x, y, n & 15); memmove(x + n, y, 7 + (n & 1)); }",  # noqa: E501
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
