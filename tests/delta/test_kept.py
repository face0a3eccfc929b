"""Which code keeps the address of a constant: pieces of assembly, each told by hand."""

from __future__ import annotations

import pytest

from suture.delta.kept import kept_constants
from tests.delta.compiled import changed

TABLE = """
.section .data.rel.ro.local.table,"aw"
.type table, @object
table: .quad {0}, 0
.size table, 16
.section .text.one,"ax"
.type one, @function
one: ret
.size one, 1
.section .text.two,"ax"
.type two, @function
two: nop; ret
.size two, 2
.section .data.place,"aw"
.type place, @object
place: .quad 0
.size place, 8
"""
FUNCTION = """
.section .text.f,"ax"
.globl f
.type f, @function
f: {0}
.size f, .-f
"""


def kept(code: str, before: str = "one", after: str = "two", more: str = "") -> bool:
    function = FUNCTION.format(code) + more
    change = changed(TABLE.format(before) + function, TABLE.format(after) + function, suffix=".s")
    assert change.difference.changed_constants == {"table"}
    found = kept_constants(change)
    assert found.keys() <= {"table"}
    assert all("the fix changes the constant table" in r.reason and r.remedy for r in found.values())
    return bool(found)


TAKEN = "lea table(%rip), %rax; "
READS = [
    "ret",
    "call *table(%rip); ret",
    "jmp *table+8(%rip)",
    "mov table(%rip), %rax; ret",  # what is in it, not where it is
    "cmp table(%rip), %rdi; ret",
    TAKEN + "mov (%rax), %rax; call *%rax; ret",
    TAKEN + "mov (%rax,%rdi,8), %rdx; xor %eax, %eax; jmp 1f; 1: ret",
    TAKEN + "call *8(%rax); ret",
    TAKEN + "mov 8(%rax), %rdi; xor %eax, %eax; ret",
    TAKEN + "cmp %rdi, %rax; mov $0, %eax; ret",
    TAKEN + "test %rax, %rax; mov $0, %eax; ret",
    TAKEN + "mov %rax, %rbx; mov (%rbx), %rcx; mov $1, %ebx; xor %eax, %eax; ret",
    TAKEN + "add $8, %rax; mov (%rax), %rax; ret",
    TAKEN + "inc %rax; mov (%rax), %rax; ret",
    TAKEN + "lea 8(%rax), %rcx; mov (%rcx), %rax; ret",
    TAKEN + "mov $5, %eax; mov %rax, place(%rip); ret",
    TAKEN + "test %edi, %edi; je 1f; mov (%rax), %rax; ret; 1: xor %eax, %eax; ret",
    TAKEN + "1: add $8, %rax; cmp %rdi, %rax; jne 1b; mov $0, %eax; ret",
    TAKEN + "ud2",
    TAKEN + "hlt",
    TAKEN + "jmp *(%rax)",
    TAKEN + "jmp *8(%rax,%rsi,8)",
    "lea table(%rip), %rbx; call place_of; mov (%rbx), %rax; ret",  # a callee keeps it and does not look
    "lea table(%rip), %r11; call place_of; mov %r11, place(%rip); ret",  # no callee keeps this one
    "lea table(%rip), %rsi; xor %esi, %esi; call place_of; ret",
    "lea table(%rip), %rcx; mov (%rcx), %ecx; ret",
    "lea table(%rip), %r9; mov (%r9), %r9d; ret",
]
KEEPS = [
    TAKEN + "ret",  # returned
    "lea table(%rip), %rdx; ret",
    TAKEN + "mov %rax, place(%rip); ret",
    TAKEN + "mov %rax, (%rdi); mov $0, %eax; ret",
    TAKEN + "push %rax; pop %rcx; ret",
    "lea table(%rip), %rdi; call place_of; ret",
    "lea table(%rip), %rsi; jmp place_of",
    "lea table(%rip), %r10; call place_of; ret",
    "lea table(%rip), %r9; call place_of; ret",
    "lea table(%rip), %r8; call place_of; ret",
    "lea table(%rip), %rcx; call place_of; ret",
    "lea table(%rip), %rbx; call *%rbx; mov $0, %eax; ret",
    TAKEN + "mov %rax, %rcx; mov %rcx, (%rdi); mov $0, %eax; ret",
    TAKEN + "movq %rax, %xmm0; mov $0, %eax; ret",
    TAKEN + "lea 8(%rax), %rcx; mov %rcx, (%rdi); mov $0, %eax; ret",
    TAKEN + "xor %rdi, %rax; mov $0, %eax; ret",
    TAKEN + "or %rax, %rdi; mov $0, %eax; ret",
    TAKEN + "jmp *%rdi",
    TAKEN + "test %edi, %edi; je 1f; mov $0, %eax; ret; 1: ret",
    TAKEN + "test %edi, %edi; je outside; mov $0, %eax; ret",
    TAKEN + "nop",  # runs on into what is not known
    TAKEN + ".byte 6",
    "lea table(%rip), %rdi; jmp *(%rdi)",  # given to what it calls
    "mov table@GOTPCREL(%rip), %rax; ret",
    "push table@GOTPCREL(%rip); pop %rax; ret",
    "add table@GOTPCREL(%rip), %rax; mov $0, %eax; ret",
    "movq $table, place(%rip); ret",
    TAKEN + "jmp *(%rdi)",
    "movabs $table, %rax; ret",
    "cmpq $0, table@GOTPCREL(%rip); ret",
    ".byte 6; lea table(%rip), %rbx; ret",
    "lea table(%rip), %eax; ret",
]


@pytest.mark.parametrize("code", READS)
def test_code_that_only_reads_keeps_nothing(code: str) -> None:
    assert not kept(code)


@pytest.mark.parametrize("code", KEEPS)
def test_an_address_that_is_stored_passed_or_returned_may_be_kept(code: str) -> None:
    assert kept(code)


POINTER = '\n.section .data.rel.local.pointer,"aw"\n.type pointer, @object\npointer: .quad table\n.size pointer, 8\n'


def test_data_that_has_the_address_keeps_it() -> None:
    assert kept("ret", more=POINTER)
    assert not kept("ret", more=POINTER.replace(".quad table", ".quad one"))


STORES = ["mov %rax, place(%rip); xor %eax, %eax; ret", "mov %rax, 8(%rdi); xor %eax, %eax; ret"]
PASSES = [
    "ret",
    "mov %rax, %rdi; call *8(%rsi); ret",
    "mov %rax, -8(%rsp); xor %eax, %eax; ret",
    "mov (%rax), %rax; ret",
]


@pytest.mark.parametrize("code", STORES)
def test_a_constant_without_code_in_it_is_kept_where_its_address_is_stored(code: str) -> None:
    assert kept(TAKEN + code, "5", "6")
    assert kept("movq $table, place(%rip); ret", "5", "6")


@pytest.mark.parametrize("code", PASSES)
def test_a_constant_without_code_in_it_that_is_only_read_passed_or_returned_goes_in(code: str) -> None:
    assert not kept(TAKEN + code, "5", "6")
    assert not kept("mov table(%rip), %rax; ret", "5", "6")


def test_an_address_of_code_in_either_version_makes_it_a_table_of_functions() -> None:
    passed = "lea table(%rip), %rdi; call *8(%rsi); xor %eax, %eax; ret"
    assert not kept(passed, "place", "place+4") and not kept(passed, "5", "6")
    assert kept(passed, "place", "two")
    assert kept(passed, "two", "place")


def test_a_constant_that_the_fix_leaves_alone_is_not_asked_for() -> None:
    text = TABLE.format("one") + FUNCTION.format(TAKEN + "ret")
    assert kept_constants(changed(text, text, suffix=".s")) == {}


@pytest.mark.parametrize("name", ["_ZTV1a", "_ZTI1a", "_ZTS1a", "_ZTT1a", "DW.ref.x"])
def test_tables_of_the_language_are_its_own_affair(name: str) -> None:
    text = (TABLE + FUNCTION.format(TAKEN + "ret")).replace("table", name)
    change = changed(text.format("one"), text.format("two"), suffix=".s")
    assert change.difference.changed_constants <= {name}
    assert kept_constants(change) == {}


@pytest.mark.parametrize("part", ["eax", "ax", "al", "ah"])
def test_a_part_of_a_register_is_of_it(part: str) -> None:
    assert kept(TAKEN + f"mov %{part}, place(%rip); mov $0, %eax; ret")


@pytest.mark.parametrize(
    ("whole", "parts"),
    [(f"r{c}x", (f"e{c}x", f"{c}x", f"{c}l", f"{c}h")) for c in "bcd"]
    + [(f"r{c}", (f"e{c}", c, f"{c}l")) for c in ("si", "di", "bp")]
    + [(f"r{n}", (f"r{n}d", f"r{n}w", f"r{n}b")) for n in range(8, 16)],
)
def test_each_register_has_its_parts(whole: str, parts: tuple[str, ...]) -> None:
    for part in parts:
        end = "" if whole == "rdx" else "mov $0, %edx; "
        assert kept(f"lea table(%rip), %{whole}; mov %{part}, place(%rip); mov $0, %{whole}; {end}ret"), part
