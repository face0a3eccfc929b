"""The numbers are those of pyelftools, and the widths those that the assembler and the linker fill in."""

from __future__ import annotations

import pytest
from elftools.elf import constants, enums

from suture.elf import abi
from suture.elf.abi import GOT_LOADS, R, SectionFlag, SectionType, SymbolBind, SymbolType, Visibility, field_width
from suture.error import Unsupported


def test_section_types_are_those_of_others() -> None:
    known = {**enums.ENUM_SH_TYPE_BASE, **enums.ENUM_SH_TYPE_AMD64}
    names = {t: "SHT_" + t.name for t in SectionType}
    names[SectionType.X86_64_UNWIND] = "SHT_AMD64_UNWIND"
    names |= {SectionType[n]: "SHT_GNU_ver" + n[7:].lower() for n in ("GNU_VERSYM", "GNU_VERNEED", "GNU_VERDEF")}
    assert {t: known[n] for t, n in names.items() if n in known} == {t: int(t) for t, n in names.items() if n in known}
    assert [n for n in names.values() if n not in known] in ([], ["SHT_RELR"])
    assert int(SectionType.RELR) == 19


def test_flags_are_those_of_others() -> None:
    for name in ["WRITE", "ALLOC", "EXECINSTR", "MERGE", "STRINGS", "INFO_LINK", "GROUP", "TLS"]:
        assert getattr(constants.SH_FLAGS, f"SHF_{name}") == SectionFlag[name]
    assert (abi.PF_X, abi.PF_W, abi.PF_R) == (constants.P_FLAGS.PF_X, constants.P_FLAGS.PF_W, constants.P_FLAGS.PF_R)


def test_symbols_are_those_of_others() -> None:
    known = {**enums.ENUM_ST_INFO_TYPE, "STT_GNU_IFUNC": enums.ENUM_ST_INFO_TYPE["STT_LOOS"]}
    assert {t: known[f"STT_{t.name}"] for t in SymbolType} == {t: int(t) for t in SymbolType}
    binds = {**enums.ENUM_ST_INFO_BIND, "STB_GNU_UNIQUE": enums.ENUM_ST_INFO_BIND["STB_LOOS"]}
    assert {b: binds[f"STB_{b.name}"] for b in SymbolBind} == {b: int(b) for b in SymbolBind}
    assert {v: enums.ENUM_ST_VISIBILITY[f"STV_{v.name}"] for v in Visibility} == {v: int(v) for v in Visibility}
    assert tuple(enums.ENUM_ST_SHNDX[n] for n in ("SHN_UNDEF", "SHN_ABS", "SHN_COMMON")) == (
        abi.SHN_UNDEF,
        abi.SHN_ABS,
        abi.SHN_COMMON,
    )
    assert (abi.SHN_LORESERVE, abi.SHN_XINDEX) == (0xFF00, 0xFFFF)


def test_relocations_are_those_of_others() -> None:
    known = enums.ENUM_RELOC_TYPE_x64
    names = {r: "R_X86_64_" + r.name.removeprefix("R_") for r in R}
    assert {r: known[n] for r, n in names.items() if n in known} == {r: int(r) for r, n in names.items() if n in known}
    assert {r.name for r, n in names.items() if n not in known} <= {"GOTPCRELX", "REX_GOTPCRELX", "SIZE32", "SIZE64"}
    assert (R.GOTPCRELX, R.REX_GOTPCRELX, R.SIZE32, R.SIZE64) == (41, 42, 32, 33)
    assert {9, 41, 42} == GOT_LOADS


def test_the_file_header_is_that_of_others() -> None:
    assert (abi.ELFMAG, abi.ELFCLASS64, abi.ELFDATA2LSB) == (b"\x7fELF", 2, 1)
    assert enums.ENUM_E_MACHINE["EM_X86_64"] == abi.EM_X86_64
    assert tuple(enums.ENUM_E_TYPE[n] for n in ("ET_REL", "ET_EXEC", "ET_DYN")) == (abi.ET_REL, abi.ET_EXEC, abi.ET_DYN)
    for name in ("PT_LOAD", "PT_DYNAMIC", "PT_INTERP", "PT_NOTE", "PT_PHDR", "PT_TLS", "PT_GNU_EH_FRAME"):
        assert getattr(abi, name) == enums.ENUM_P_TYPE_BASE[name]
    assert enums.ENUM_NOTE_N_TYPE["NT_GNU_BUILD_ID"] == abi.NT_GNU_BUILD_ID


def test_fields_are_as_wide_as_their_types_say() -> None:
    """psABI table 4.9: word8, word16, word32, word64, and none."""
    by_width = {
        0: "NONE TLSDESC_CALL",
        1: "R_8 PC8",
        2: "R_16 PC16",
        4: "PC32 GOT32 PLT32 GOTPCREL R_32 R_32S TLSGD TLSLD DTPOFF32 GOTTPOFF TPOFF32 GOTPC32 SIZE32 GOTPC32_TLSDESC "
        "GOTPCRELX REX_GOTPCRELX",
        8: "R_64 DTPMOD64 DTPOFF64 TPOFF64 PC64 GOTOFF64 SIZE64",
    }
    named = {R[name]: width for width, names in by_width.items() for name in names.split()}
    assert {r: field_width(r) for r in named} == named
    for unknown in {*R} - named.keys() | {27, 31, 99}:
        with pytest.raises(Unsupported, match=f"relocations of type {int(unknown)},"):
            field_width(unknown)
