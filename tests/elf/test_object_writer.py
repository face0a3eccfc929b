"""Objects as readelf, nm, pyelftools and the linker read them."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from suture.elf.abi import R, SectionFlag, SectionType, SymbolBind, SymbolType
from suture.elf.file import ElfFile
from suture.elf.object_writer import NewRelocation, NewSection, NewSymbol, write_object
from suture.number import SectionOffset

CODE = SectionFlag.ALLOC | SectionFlag.EXECINSTR
SECTIONS = [
    NewSection(
        ".text", CODE, b"\xe8\0\0\0\0\xc3", 16, relocations=[NewRelocation(SectionOffset(1), R.PLT32, "outside", -4)]
    ),
    NewSection(".bss", SectionFlag.ALLOC | SectionFlag.WRITE, b"", 32, SectionType.NOBITS, 100),
    NewSection(
        ".data",
        SectionFlag.ALLOC | SectionFlag.WRITE,
        b"12345678abc",
        8,
        relocations=[
            NewRelocation(SectionOffset(0), R.R_64, "f", 7),
            NewRelocation(SectionOffset(3), R.R_32, "here", 0),
        ],
    ),
    NewSection(".rodata", SectionFlag.ALLOC, b"z", 0),
]
SYMBOLS = [
    NewSymbol("f", ".text", SectionOffset(0), 6, SymbolType.FUNC),
    NewSymbol("outside", None),
    NewSymbol("here", ".data", SectionOffset(8), 3, SymbolType.OBJECT, SymbolBind.LOCAL),
    NewSymbol("weak", ".bss", SectionOffset(4), 8, SymbolType.OBJECT, SymbolBind.WEAK),
    NewSymbol("there", ".rodata", SectionOffset(0), 1, SymbolType.OBJECT, SymbolBind.LOCAL),
]


@pytest.fixture(scope="module")
def raw() -> bytes:
    return write_object(SECTIONS, SYMBOLS)


def test_another_reader_reads_what_was_written(raw: bytes) -> None:
    elf = ELFFile(io.BytesIO(raw))
    header = elf.header
    assert (header.e_type, header.e_machine, header.e_version, header.e_ident.EI_VERSION) == (
        "ET_REL",
        "EM_X86_64",
        "EV_CURRENT",
        "EV_CURRENT",
    )
    assert (header.e_entry, header.e_phoff, header.e_flags, header.e_ehsize, header.e_phentsize, header.e_phnum) == (
        0,
        0,
        0,
        64,
        0,
        0,
    )
    assert (header.e_shentsize, header.e_shnum, header.e_shstrndx) == (64, 10, 9)
    assert header.e_shoff % 8 == 0 and header.e_shoff + 64 * 10 == len(raw)
    assert header.e_ident.EI_OSABI == "ELFOSABI_SYSV"
    names = [s.name for s in elf.iter_sections()]
    assert names == [
        "",
        ".text",
        ".bss",
        ".data",
        ".rodata",
        ".rela.text",
        ".rela.data",
        ".symtab",
        ".strtab",
        ".shstrtab",
    ]
    for new in SECTIONS:
        s = elf.get_section_by_name(new.name)
        assert (s["sh_flags"], s["sh_addralign"], s["sh_addr"], s["sh_entsize"]) == (
            new.sh_flags,
            new.sh_addralign,
            0,
            0,
        )
        assert (s["sh_link"], s["sh_info"]) == (0, 0)
        assert s["sh_size"] == (100 if new.name == ".bss" else len(new.data))
        assert s["sh_offset"] % max(new.sh_addralign, 1) == 0
        if new.name != ".bss":
            assert s.data() == new.data
    null = elf.get_section(0)
    assert null["sh_type"] == "SHT_NULL" and null["sh_size"] == 0
    symtab = elf.get_section_by_name(".symtab")
    assert symtab["sh_flags"] == 0
    assert (symtab["sh_link"], symtab["sh_info"], symtab["sh_entsize"], symtab["sh_addralign"]) == (8, 3, 24, 8)
    rela = elf.get_section_by_name(".rela.data")
    assert (rela["sh_type"], rela["sh_link"], rela["sh_info"], rela["sh_entsize"], rela["sh_addralign"]) == (
        "SHT_RELA",
        7,
        3,
        24,
        8,
    )
    assert rela["sh_flags"] == SectionFlag.INFO_LINK
    for name in (".strtab", ".shstrtab"):
        s = elf.get_section_by_name(name)
        assert s["sh_entsize"] == 0
        assert (s["sh_type"], s["sh_addralign"], s["sh_flags"], s["sh_link"], s["sh_info"]) == (
            "SHT_STRTAB",
            1,
            0,
            0,
            0,
        )


def test_symbols_are_local_first_and_relocations_name_them(raw: bytes) -> None:
    elf = ELFFile(io.BytesIO(raw))
    symtab = elf.get_section_by_name(".symtab")
    rows = [
        (
            s.name,
            s["st_value"],
            s["st_size"],
            s["st_info"].type,
            s["st_info"].bind,
            s["st_shndx"],
            s["st_other"].visibility,
        )
        for s in symtab.iter_symbols()
    ]
    assert rows == [
        ("", 0, 0, "STT_NOTYPE", "STB_LOCAL", "SHN_UNDEF", "STV_DEFAULT"),
        ("here", 8, 3, "STT_OBJECT", "STB_LOCAL", 3, "STV_DEFAULT"),
        ("there", 0, 1, "STT_OBJECT", "STB_LOCAL", 4, "STV_DEFAULT"),
        ("f", 0, 6, "STT_FUNC", "STB_GLOBAL", 1, "STV_DEFAULT"),
        ("outside", 0, 0, "STT_NOTYPE", "STB_GLOBAL", "SHN_UNDEF", "STV_DEFAULT"),
        ("weak", 4, 8, "STT_OBJECT", "STB_WEAK", 2, "STV_DEFAULT"),
    ]
    found = {
        name: [
            (r["r_offset"], r["r_info_type"], symtab.get_symbol(r["r_info_sym"]).name, r["r_addend"])
            for r in elf.get_section_by_name(".rela" + name).iter_relocations()
        ]
        for name in (".text", ".data")
    }
    assert found == {".text": [(1, R.PLT32, "outside", -4)], ".data": [(0, R.R_64, "f", 7), (3, R.R_32, "here", 0)]}


def test_our_own_reader_agrees(raw: bytes) -> None:
    elf = ElfFile(raw)
    assert [s.name for s in elf.sections[1:5]] == [".text", ".bss", ".data", ".rodata"]
    assert elf.bytes_of(elf.sections[3]) == b"12345678abc"


def test_the_linker_links_it_and_it_runs(tmp_path: Path) -> None:
    (tmp_path / "f.o").write_bytes(write_object(
        [NewSection(".text", CODE, bytes.fromhex("b82a000000c3"), 16), NewSection(".note.GNU-stack", 0, b"")],
        [NewSymbol("answer", ".text", SectionOffset(0), 6, SymbolType.FUNC)],
    ))  # fmt: skip
    (tmp_path / "m.c").write_text("int answer(void); int main(void) { return answer(); }")
    subprocess.run(["gcc", "-o", tmp_path / "m", tmp_path / "m.c", tmp_path / "f.o"], check=True)
    assert subprocess.run([tmp_path / "m"], check=False).returncode == 42


def test_the_same_contents_give_the_same_bytes_and_strings_are_kept_once() -> None:
    assert write_object(SECTIONS, SYMBOLS) == write_object(SECTIONS, SYMBOLS)
    twice = write_object(
        [NewSection(".a", 0, b""), NewSection(".b", 0, b"")], [NewSymbol("x", ".a"), NewSymbol("y", ".b")]
    )
    strings = ELFFile(io.BytesIO(twice)).get_section_by_name(".strtab").data()
    assert strings == b"\0x\0y\0"
    unnamed = ELFFile(io.BytesIO(write_object([], [NewSymbol("", None), NewSymbol("a", None)])))
    assert unnamed.get_section_by_name(".strtab").data() == b"\0a\0"
    assert [s.name for s in unnamed.get_section_by_name(".symtab").iter_symbols()] == ["", "", "a"]


def test_what_names_nothing_is_an_error() -> None:
    with pytest.raises(KeyError):
        write_object([], [NewSymbol("x", ".nowhere")])
    with pytest.raises(KeyError):
        write_object(
            [NewSection(".t", 0, bytes(4), relocations=[NewRelocation(SectionOffset(0), R.R_32, "nobody", 0)])], []
        )
