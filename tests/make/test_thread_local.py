"""Thread-local references rewritten: GNU ld, which relaxes the same code for a program, is the judge."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from suture.delta.atom import Reference
from suture.elf.abi import R
from suture.elf.file import ElfFile
from suture.make import thread_local
from suture.make.thread_local import KINDS, Edit, edit
from suture.match.linker_edit import Kind
from suture.number import SectionOffset, Vaddr

# each sequence is followed at once by a reference of its own, which the edit must leave alone
NEXT = "movl other(%rip), %eax\n"
LOCAL_ADDRESS = "leaq x@dtpoff(%rax), %rax\n"
SEQUENCES = {
    "general": ".byte 0x66\nleaq x@tlsgd(%rip), %rdi\n.value 0x6666\nrex64\ncall __tls_get_addr@PLT\n",
    "general without PLT": (
        ".byte 0x66\nleaq x@tlsgd(%rip), %rdi\n.byte 0x66\nrex64\ncall *__tls_get_addr@GOTPCREL(%rip)\n"
    ),
    "local": "leaq x@tlsld(%rip), %rdi\ncall __tls_get_addr@PLT\n" + LOCAL_ADDRESS,
    "local without PLT": "leaq x@tlsld(%rip), %rdi\ncall *__tls_get_addr@GOTPCREL(%rip)\n" + LOCAL_ADDRESS,
    "initial": "movq x@gottpoff(%rip), %rax\n",
    "initial, high register": "movq x@gottpoff(%rip), %r13\n",
    "constant": "movl %fs:x@tpoff+4, %eax\n",
}
SOURCE = """
.globl f, __tls_get_addr
.section .tdata,"awT"
.zero 24
x: .quad 1, 2
.data
other: .quad 0
.section .text.reference,"ax"
movq $x@tpoff, %%rax
.section .text.get,"ax"
__tls_get_addr: ret
.section .text.f,"ax"
f:
%s
"""


def compiled(folder: Path, sequence: str) -> ElfFile:
    """The object."""
    source, made = folder / "f.s", folder / "f.o"
    source.write_text(SOURCE % (sequence + NEXT))
    subprocess.run(["as", "-o", made, source], check=True)
    return ElfFile.read(made)


def linked(folder: Path) -> ElfFile:
    """The program that ld makes of the object."""
    script, program = folder / "script", folder / "f"
    script.write_text(
        "PHDRS { text PT_LOAD; data PT_LOAD; tls PT_TLS; }\n"
        "SECTIONS { .text.f 0x400000 : { *(.text.f) } :text .text.reference : { *(.text.reference) } :text"
        " .text.get : { *(.text.get) } :text .tdata 0x500000 : { *(.tdata) } :data :tls .data : { *(.data) } :data"
        " .got : { *(.got*) } :data }\n"
    )
    subprocess.run(["ld", "-static", "-T", script, "-e", "f", "-o", program, folder / "f.o"], check=True)
    return ElfFile.read(program)


def part(elf: ElfFile, name: str) -> bytes:
    section = elf.section(name)
    assert section is not None
    return elf.bytes_of(section)


def references(elf: ElfFile) -> list[Reference]:
    section = elf.section(".text.f")
    assert section is not None
    rows = elf.relocations_by_section[section.index]
    return [
        Reference(
            SectionOffset(r.r_offset), r.r_type, None, elf.symbols[r.symbol].name or "x", SectionOffset(0), r.r_addend
        )
        for r in rows
    ]


def rewritten(data: bytes, refs: list[Reference], facts: dict[Kind, int]) -> tuple[bytes, list[Reference]]:
    """All edits made, as placing makes them, and the references that are left over."""
    out, left, skip_until = bytearray(data), [], -1
    for ref in refs:
        if ref.offset < skip_until:
            continue
        if ref.r_type not in thread_local.TYPES:
            left.append(ref)
            continue
        change = edit(data, ref, {k: facts.get(k) for k in KINDS})
        assert change is not None
        for at, new in change.writes:
            out[at : at + len(new)] = new
        skip_until = change.skip_until
        if change.slot is not None:
            left.append(ref)
    return bytes(out), left


@pytest.mark.parametrize("name", SEQUENCES)
def test_with_a_constant_offset_the_code_is_what_ld_makes_of_it(name: str, tmp_path: Path) -> None:
    made = compiled(tmp_path, SEQUENCES[name])
    program = linked(tmp_path)
    offset = struct.unpack("<i", part(program, ".text.reference")[-4:])[0]
    assert offset < 0
    facts = {Kind.THREAD_OFFSET: offset, Kind.LOCAL_MODULE_SLOT: 0, Kind.MODULE_OFFSET: offset}
    data, left = rewritten(part(made, ".text.f"), references(made), facts)
    (other,) = left
    expected = part(program, ".text.f")
    assert data[: other.offset] == expected[: other.offset]
    assert (data[other.offset :], len(data)) == (bytes(4), len(expected))
    assert other.r_type == R.PC32 and other.offset == len(data) - 4


@pytest.mark.parametrize("register", ["rax", "rbx", "rsp", "r8", "r12", "r13"])
def test_an_added_offset_becomes_an_immediate_and_sets_the_same_flags(register: str, tmp_path: Path) -> None:
    """ld prefers lea, which leaves the flags alone; gcc reads none there, but code by hand may."""
    made = compiled(tmp_path, f"addq x@gottpoff(%rip), %{register}\n")
    data, _ = rewritten(part(made, ".text.f"), references(made), {Kind.THREAD_OFFSET: -40})
    code = tmp_path / "code"
    code.write_bytes(data[:7])
    shown = subprocess.run(
        ["objdump", "-D", "-b", "binary", "-m", "i386:x86-64", code], check=True, capture_output=True, text=True
    ).stdout
    assert f"add    $0xffffffffffffffd8,%{register}" in shown and shown.count("\t") == 2


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("general", Kind.MODULE_SLOT),
        ("general without PLT", Kind.MODULE_SLOT),
        ("local", Kind.LOCAL_MODULE_SLOT),
        ("local without PLT", Kind.LOCAL_MODULE_SLOT),
        ("initial", Kind.THREAD_SLOT),
    ],
)
def test_with_a_slot_of_the_running_code_only_the_field_changes(name: str, kind: Kind, tmp_path: Path) -> None:
    made = compiled(tmp_path, SEQUENCES[name])
    data, refs = part(made, ".text.f"), references(made)
    first = refs[0]
    facts = {k: None for k in KINDS} | {kind: 0x5008}
    assert edit(data, first, facts) == Edit(((first.offset, bytes(4)),), slot=Vaddr(0x5008))
    # the call of __tls_get_addr stays a call
    _, left = rewritten(data, refs, {kind: 0x5008, Kind.MODULE_OFFSET: 24})
    assert [r.symbol for r in left if r.r_type not in thread_local.TYPES] == [
        r.symbol for r in refs if r.r_type not in thread_local.TYPES
    ]


def test_an_offset_in_the_module_is_not_taken_for_one_from_the_thread_pointer(tmp_path: Path) -> None:
    made = compiled(tmp_path, SEQUENCES["local"])
    facts = {Kind.LOCAL_MODULE_SLOT: 0x5008, Kind.MODULE_OFFSET: 24, Kind.THREAD_OFFSET: -40}
    data, left = rewritten(part(made, ".text.f"), references(made), facts)
    assert [r.r_type for r in left] == [R.TLSLD, R.PLT32, R.PC32]
    last = left[2].offset - 2
    assert data[last - 4 : last] == struct.pack("<i", 24)


@pytest.mark.parametrize("name", SEQUENCES)
def test_what_the_running_code_does_not_show_gives_no_edit(name: str, tmp_path: Path) -> None:
    made = compiled(tmp_path, SEQUENCES[name])
    first = next(r for r in references(made) if r.r_type in thread_local.TYPES)
    assert edit(part(made, ".text.f"), first, dict.fromkeys(KINDS)) is None


def test_an_initial_reference_of_another_instruction_gives_no_edit(tmp_path: Path) -> None:
    made = compiled(tmp_path, "subq x@gottpoff(%rip), %rax\n")
    facts = dict.fromkeys(KINDS) | {Kind.THREAD_OFFSET: -40}
    assert edit(part(made, ".text.f"), references(made)[0], facts) is None
