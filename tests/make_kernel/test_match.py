"""Run-pre matching on small images that ld links."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from suture.elf.abi import SymbolType
from suture.elf.file import ElfFile
from suture.make_kernel.image import KernelImage, Region
from suture.make_kernel.match import KernelMatch, match
from suture.make_kernel.object import KernelObject
from suture.match.match import NoMatch
from suture.number import Vaddr

_FLAGS = ("-O2", "-mcmodel=kernel", "-fno-pic", "-fno-asynchronous-unwind-tables", "-fcf-protection=none", "-c")
_BODY = """
static int state = 3;
extern int outside(int);
__attribute__((noinline)) static int helper(int a) { state += a * 7 + (a >> 3); return outside(state) ^ a; }
int entry(int a) { int sum = 0; for (int i = 0; i < a; i++) sum += helper(i) * 13; return sum + state; }
"""


def compile_c(tmp_path: Path, name: str, text: str, *more: str) -> Path:
    (tmp_path / f"{name}.c").write_text(text)
    out = tmp_path / f"{name}{len(more)}.o"
    subprocess.run(["gcc", *_FLAGS, *more, "-o", str(out), str(tmp_path / f"{name}.c")], check=True)
    return out


def link(tmp_path: Path, *objects: Path) -> KernelImage:
    """An image as the kernel is one: linked high, with names in the order of their addresses."""
    out = tmp_path / "image"
    layout = ["-Ttext=0xffffffff81000000", "-Tdata=0xffffffff82000000", "-e", "entry"]
    subprocess.run(["ld", "-static", *layout, "-o", str(out), *map(str, objects)], check=True)
    elf = ElfFile.read(out)
    regions = tuple(
        Region(s.name, s.sh_addr, s.sh_size, elf.bytes_of(s), s.is_code)
        for s in elf.sections
        if s.is_alloc and s.sh_addr
    )
    names: dict[str, tuple[Vaddr, ...]] = {}
    for symbol in sorted(elf.symbols, key=lambda s: s.st_value):
        if symbol.has_section and symbol.name and symbol.type not in (SymbolType.FILE, SymbolType.SECTION):
            names[symbol.name] = (*names.get(symbol.name, ()), Vaddr(symbol.st_value))
    return KernelImage("vmlinux", regions, names, {}, "")


def matched(tmp_path: Path, name: str, text: str, image: KernelImage) -> tuple[KernelMatch, KernelObject]:
    plain = ElfFile.read(compile_c(tmp_path, name, text))
    pre = KernelObject(ElfFile.read(compile_c(tmp_path, name, text, "-ffunction-sections", "-fdata-sections")))
    return match(f"{name}.c", plain, pre, image), pre


def test_functions_are_found_and_their_fields_tell_where_everything_is(tmp_path: Path) -> None:
    other = compile_c(tmp_path, "other", "int outside(int a) { return a + 1; }")
    image = link(tmp_path, other, compile_c(tmp_path, "unit", _BODY))
    found, pre = matched(tmp_path, "unit", _BODY, image)
    assert found.addresses == {n: image.names[n][0] for n in ("helper", "entry")}
    state = next(a for a in pre.atoms.values() if a.label == "state")
    assert found.address_of(state.index) == image.names["state"][0]
    assert found.address_of("outside") == image.names["outside"][0]
    assert found.unit.sections[0].compared > 24


def test_code_that_differs_in_one_byte_does_not_match(tmp_path: Path) -> None:
    other = compile_c(tmp_path, "other", "int outside(int a) { return a + 1; }")
    image = link(tmp_path, other, compile_c(tmp_path, "unit", _BODY))
    with pytest.raises(NoMatch, match="nowhere"):
        matched(tmp_path, "unit", _BODY.replace("* 13", "* 17"), image)


def test_fields_that_contradict_one_another_are_an_error(tmp_path: Path) -> None:
    other = compile_c(tmp_path, "other", "int outside(int a) { return a + 1; }")
    image = link(tmp_path, other, compile_c(tmp_path, "unit", _BODY))
    _, pre = matched(tmp_path, "unit", _BODY, image)
    refs = pre.functions["entry"].hot.references
    ref = next(r for r in refs if r.section is not None and pre.atoms[r.section].label == "state")
    region = next(r for r in image.regions if r.is_code)
    data = bytearray(region.data)
    data[image.names["entry"][0] - region.address + ref.offset] ^= 0x10
    bad = replace(image, regions=tuple(replace(r, data=bytes(data)) if r is region else r for r in image.regions))
    with pytest.raises(NoMatch, match="contradicting addresses of state"):
        matched(tmp_path, "unit", _BODY, bad)


def test_a_weak_function_is_not_who_its_callers_mean(tmp_path: Path) -> None:
    weak = "__attribute__((weak)) int choice(int a) { return a * 3; } int entry(int a) { return choice(a) + 77; }"
    strong = compile_c(tmp_path, "strong", "int choice(int a) { return a * 5; }")
    image = link(tmp_path, compile_c(tmp_path, "unit", weak), strong)
    found, _ = matched(tmp_path, "unit", weak, image)
    assert found.address_of("choice") == image.names["choice"][0] != found.addresses["choice"]


def test_equal_names_of_two_units_are_told_apart_by_position(tmp_path: Path) -> None:
    one = _BODY.replace("entry", "first").replace("* 7", "* 9")
    other = compile_c(tmp_path, "other", "int outside(int a) { return a + 1; }")
    image = link(tmp_path, other, compile_c(tmp_path, "one", one), compile_c(tmp_path, "unit", _BODY))
    found, _ = matched(tmp_path, "unit", _BODY, image)
    assert image.position("helper", found.addresses["helper"]) == 2
    found, _ = matched(tmp_path, "one", one, image)
    assert image.position("helper", found.addresses["helper"]) == 1
    assert image.position("entry", image.names["entry"][0]) == 0


def test_a_function_that_many_units_have_is_the_one_that_the_unit_calls(tmp_path: Path) -> None:
    weight = (
        "extern int outside(int);\n"
        '__attribute__((noinline, section(".text.unlikely"))) static int weight(int a) { return outside(a) + 1; }\n'
    )
    one = weight + "int first(int a) { return weight(a) * 9 + (a >> 3); }\n"
    unit = weight + "int entry(int a) { return weight(a) * 13 + (a >> 5); }\n"
    other = compile_c(tmp_path, "other", "int outside(int a) { return a + 1; }")
    image = link(tmp_path, other, compile_c(tmp_path, "one", one), compile_c(tmp_path, "unit", unit))
    assert len(image.names["weight"]) == 2
    for name, text, position in (("one", one, 1), ("unit", unit, 2)):
        found, _ = matched(tmp_path, name, text, image)
        assert image.position("weight", found.addresses["weight"]) == position
    lonely = weight + "int (*kept)(int) = weight;\n"
    image = link(tmp_path, other, compile_c(tmp_path, "one", one), compile_c(tmp_path, "lonely", lonely))
    with pytest.raises(NoMatch, match="2 times, and other sections do not refer to it"):
        matched(tmp_path, "lonely", lonely, image)
