"""Numbers of the System V gABI and the x86-64 psABI, under their own ugly names."""

from __future__ import annotations

from enum import IntEnum, IntFlag

from suture.error import Unsupported
from suture.refusal import RESTART

ELFMAG = b"\x7fELF"
ELFCLASS64 = 2
ELFDATA2LSB = 1
EM_X86_64 = 62
ET_REL = 1
ET_EXEC = 2
ET_DYN = 3

SHN_UNDEF = 0
SHN_LORESERVE = 0xFF00
SHN_ABS = 0xFFF1
SHN_COMMON = 0xFFF2
SHN_XINDEX = 0xFFFF


class SectionType(IntEnum):
    """`sh_type`, gABI figure 4-9; the rest is kept as a plain number."""

    NULL = 0
    PROGBITS = 1
    SYMTAB = 2
    STRTAB = 3
    RELA = 4
    HASH = 5
    DYNAMIC = 6
    NOTE = 7
    NOBITS = 8
    DYNSYM = 11
    INIT_ARRAY = 14
    FINI_ARRAY = 15
    GROUP = 17
    SYMTAB_SHNDX = 18
    RELR = 19
    X86_64_UNWIND = 0x70000001
    GNU_VERDEF = 0x6FFFFFFD
    GNU_VERNEED = 0x6FFFFFFE
    GNU_VERSYM = 0x6FFFFFFF


class SectionFlag(IntFlag):
    """`sh_flags`, gABI figure 4-11."""

    WRITE = 0x1
    ALLOC = 0x2
    EXECINSTR = 0x4
    MERGE = 0x10
    STRINGS = 0x20
    INFO_LINK = 0x40
    GROUP = 0x200
    TLS = 0x400


class SymbolType(IntEnum):
    """`ELF64_ST_TYPE(st_info)`."""

    NOTYPE = 0
    OBJECT = 1
    FUNC = 2
    SECTION = 3
    FILE = 4
    COMMON = 5
    TLS = 6
    GNU_IFUNC = 10


class SymbolBind(IntEnum):
    """`ELF64_ST_BIND(st_info)`."""

    LOCAL = 0
    GLOBAL = 1
    WEAK = 2
    GNU_UNIQUE = 10


class Visibility(IntEnum):
    """`ELF64_ST_VISIBILITY(st_other)`."""

    DEFAULT = 0
    INTERNAL = 1
    HIDDEN = 2
    PROTECTED = 3


class R(IntEnum):
    """Relocation types, psABI table 4.9, without the `R_X86_64_` prefix; `R_` stands before those that begin with a
    digit."""

    NONE = 0
    R_64 = 1
    PC32 = 2
    GOT32 = 3
    PLT32 = 4
    COPY = 5
    GLOB_DAT = 6
    JUMP_SLOT = 7
    RELATIVE = 8
    GOTPCREL = 9
    R_32 = 10
    R_32S = 11
    R_16 = 12
    PC16 = 13
    R_8 = 14
    PC8 = 15
    DTPMOD64 = 16
    DTPOFF64 = 17
    TPOFF64 = 18
    TLSGD = 19
    TLSLD = 20
    DTPOFF32 = 21
    GOTTPOFF = 22
    TPOFF32 = 23
    PC64 = 24
    GOTOFF64 = 25
    GOTPC32 = 26
    SIZE32 = 32
    SIZE64 = 33
    GOTPC32_TLSDESC = 34
    TLSDESC_CALL = 35
    TLSDESC = 36
    IRELATIVE = 37
    GOTPCRELX = 41
    REX_GOTPCRELX = 42


GOT_LOADS = frozenset({R.GOTPCREL, R.GOTPCRELX, R.REX_GOTPCRELX})


def field_width(r_type: int) -> int:
    """Bytes that a static relocation fills in; raises `Unsupported` for a type that fills no field known here."""
    width = _WIDTH.get(r_type)
    if width is None:
        raise Unsupported(
            f"code with relocations of type {r_type}, which only the large and medium code models have (psABI 3.5)",
            f"build it without -mcmodel=large and -mcmodel=medium, or {RESTART}",
        )
    return width


_WIDTH: dict[int, int] = {
    R.NONE: 0,
    R.R_64: 8,
    R.PC32: 4,
    R.GOT32: 4,
    R.PLT32: 4,
    R.GOTPCREL: 4,
    R.R_32: 4,
    R.R_32S: 4,
    R.R_16: 2,
    R.PC16: 2,
    R.R_8: 1,
    R.PC8: 1,
    R.DTPMOD64: 8,
    R.DTPOFF64: 8,
    R.TPOFF64: 8,
    R.TLSGD: 4,
    R.TLSLD: 4,
    R.DTPOFF32: 4,
    R.GOTTPOFF: 4,
    R.TPOFF32: 4,
    R.PC64: 8,
    R.GOTOFF64: 8,
    R.GOTPC32: 4,
    R.SIZE32: 4,
    R.SIZE64: 8,
    R.GOTPC32_TLSDESC: 4,
    R.TLSDESC_CALL: 0,
    R.GOTPCRELX: 4,
    R.REX_GOTPCRELX: 4,
}

PT_LOAD = 1
PT_DYNAMIC = 2
PT_INTERP = 3
PT_NOTE = 4
PT_PHDR = 6
PT_GNU_EH_FRAME = 0x6474E550
PT_TLS = 7
PF_X = 1
PF_W = 2
PF_R = 4
NT_GNU_BUILD_ID = 3
