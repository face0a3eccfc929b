"""The rows of an ELF file's tables: section, segment, symbol, relocation. Field names are those of elf.h."""

from __future__ import annotations

from dataclasses import dataclass

from suture.elf.abi import SHN_LORESERVE, SHN_UNDEF, SectionFlag, SectionType, SymbolType
from suture.number import FileOffset, Vaddr


@dataclass(frozen=True, slots=True)
class Section:
    """One section header; `index` is its place in the table."""

    index: int
    name: str
    sh_type: int
    sh_flags: int
    sh_addr: Vaddr
    sh_offset: FileOffset
    sh_size: int
    sh_link: int
    sh_info: int
    sh_addralign: int
    sh_entsize: int

    @property
    def is_alloc(self) -> bool:
        return bool(self.sh_flags & SectionFlag.ALLOC)

    @property
    def is_code(self) -> bool:
        return bool(self.sh_flags & SectionFlag.EXECINSTR)

    @property
    def is_writable(self) -> bool:
        return bool(self.sh_flags & SectionFlag.WRITE)

    @property
    def is_strings(self) -> bool:
        return bool(self.sh_flags & SectionFlag.MERGE and self.sh_flags & SectionFlag.STRINGS)

    @property
    def is_merge(self) -> bool:
        return bool(self.sh_flags & SectionFlag.MERGE)

    @property
    def in_group(self) -> bool:
        return bool(self.sh_flags & SectionFlag.GROUP)

    @property
    def has_bits(self) -> bool:
        return self.sh_type != SectionType.NOBITS


@dataclass(frozen=True, slots=True)
class Segment:
    """One program header."""

    p_type: int
    p_flags: int
    p_offset: FileOffset
    p_vaddr: Vaddr
    p_filesz: int
    p_memsz: int
    p_align: int


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol table entry. `version` is set for dynamic symbols that carry one; `hidden_version` for `name@version`
    (not `@@`)."""

    index: int
    name: str
    st_value: int
    st_size: int
    type: int
    bind: int
    visibility: int
    st_shndx: int
    version: str = ""
    hidden_version: bool = False

    @property
    def is_defined(self) -> bool:
        return self.st_shndx != SHN_UNDEF

    @property
    def is_function(self) -> bool:
        return self.type in (SymbolType.FUNC, SymbolType.GNU_IFUNC)

    @property
    def has_section(self) -> bool:
        return SHN_UNDEF < self.st_shndx < SHN_LORESERVE


@dataclass(frozen=True, slots=True)
class Relocation:
    """One RELA entry; `symbol` is an index into the symbol table that the section's `sh_link` names."""

    r_offset: int
    r_type: int
    symbol: int
    r_addend: int
