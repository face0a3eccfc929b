"""Atoms of kernel objects: where fields point to, and sections with explicit names cut at their symbols."""

from __future__ import annotations

import subprocess
from pathlib import Path

from suture.delta.atom import AtomKind
from suture.elf.file import ElfFile
from suture.make_kernel.object import KernelObject

_FLAGS = ("-O2", "-mcmodel=kernel", "-fno-pic", "-fno-asynchronous-unwind-tables", "-fcf-protection=none")


def compiled(tmp_path: Path, text: str, name: str = "unit") -> KernelObject:
    source, obj = tmp_path / f"{name}.c", tmp_path / f"{name}.o"
    source.write_text(text)
    flags = [*_FLAGS, "-ffunction-sections", "-fdata-sections"]
    subprocess.run(["gcc", *flags, "-c", "-o", str(obj), str(source)], check=True)
    return KernelObject(ElfFile.read(obj))


def targets(obj: KernelObject, function: str) -> set[tuple[str, int]]:
    return {
        (obj.atoms[r.section].label, r.value)
        for r in obj.functions[function].hot.references
        if r.section is not None and r.section in obj.atoms
    }


def test_an_immediate_behind_a_pc_relative_field_does_not_move_its_target(tmp_path: Path) -> None:
    obj = compiled(tmp_path, "static int first, second; void f(void) { first = 0x11223344; second = 5; } int *p(int n)"
                   "{ return n ? &first : &second; }")  # fmt: skip
    assert targets(obj, "f") == {("first", 0), ("second", 0)}
    fields = [r for r in obj.functions["f"].hot.references if r.r_type == 2]
    assert any(getattr(r, "bias", 0) == 8 for r in fields), "the compiler stored the constant another way"


def test_a_section_with_an_explicit_name_is_cut_at_its_symbols(tmp_path: Path) -> None:
    obj = compiled(
        tmp_path,
        '#define ONCE __attribute__((section(".data.once")))\n'
        "int f(void) { static ONCE char done = 1; return done++; }\n"
        "int g(void) { static ONCE char done = 1; return done++; }\n",
    )
    cut = [a for a in obj.atoms.values() if a.section.name == ".data.once"]
    assert len(cut) == 2 and all(a.kind is AtomKind.DATA and a.size == 1 for a in cut)
    (own,), (other,) = ({t for t in targets(obj, n)} for n in ("f", "g"))
    assert own != other


def test_numbers_of_the_counter_do_not_tell_names_apart(tmp_path: Path) -> None:
    obj = compiled(tmp_path, "static int __UNIQUE_ID_ddebug512 = 1; int f(void) { return __UNIQUE_ID_ddebug512++; }")
    assert targets(obj, "f") == {("__UNIQUE_ID_ddebug.512", 0)}
