"""Writing an ELF64 relocatable object, the same bytes for the same contents."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from suture.elf import abi
from suture.elf.abi import SectionFlag, SectionType, SymbolBind
from suture.number import SectionOffset

_START = SectionOffset(0)


@dataclass(frozen=True)
class NewSymbol:
    """A symbol to write; `section` None means undefined. `st_value` is an offset in its section."""

    name: str
    section: str | None
    st_value: SectionOffset = _START
    st_size: int = 0
    type: int = abi.SymbolType.NOTYPE
    bind: int = SymbolBind.GLOBAL


@dataclass(frozen=True)
class NewRelocation:
    """A RELA entry against a symbol of the same object, by name."""

    r_offset: SectionOffset
    r_type: int
    symbol: str
    r_addend: int


@dataclass(frozen=True)
class NewSection:
    """A section to write. `size` counts for NOBITS, else the length of `data`."""

    name: str
    sh_flags: int
    data: bytes
    sh_addralign: int = 1
    sh_type: int = SectionType.PROGBITS
    size: int = 0
    relocations: Sequence[NewRelocation] = ()


class _Strings:
    def __init__(self) -> None:
        self.data = bytearray(b"\0")
        self._at: dict[str, int] = {"": 0}

    def add(self, text: str) -> int:
        if text not in self._at:
            self._at[text] = len(self.data)
            self.data += text.encode() + b"\0"
        return self._at[text]


def write_object(sections: Sequence[NewSection], symbols: Sequence[NewSymbol]) -> bytes:
    """The bytes of an `ET_REL` file. Order is kept as given, local symbols first as the gABI demands.

    Symbol names are unique. Raises KeyError when a relocation or symbol names something that is not there.
    """
    ordered = [s for s in symbols if s.bind == SymbolBind.LOCAL] + [s for s in symbols if s.bind != SymbolBind.LOCAL]
    index_of = {s.name: n for n, s in enumerate(ordered, start=1)}
    section_of = {s.name: n for n, s in enumerate(sections, start=1)}
    strings, names = _Strings(), _Strings()
    table = bytearray(24)
    for symbol in ordered:
        shndx = section_of[symbol.section] if symbol.section is not None else abi.SHN_UNDEF
        table += struct.pack(
            "<IBBHQQ",
            strings.add(symbol.name),
            symbol.bind << 4 | symbol.type,
            0,
            shndx,
            symbol.st_value,
            symbol.st_size,
        )

    rows: list[tuple[str, int, int, bytes, int, int, int, int, int]] = []
    for section in sections:
        size = section.size if section.sh_type == SectionType.NOBITS else len(section.data)
        rows.append(
            (section.name, section.sh_type, section.sh_flags, section.data, size, 0, 0, section.sh_addralign, 0)
        )
    symtab = len(sections) + 1 + sum(1 for s in sections if s.relocations)
    for section in sections:
        if section.relocations:
            raw = b"".join(
                struct.pack("<QQq", r.r_offset, index_of[r.symbol] << 32 | r.r_type, r.r_addend)
                for r in section.relocations
            )
            rows.append(
                (
                    ".rela" + section.name,
                    SectionType.RELA,
                    SectionFlag.INFO_LINK,
                    raw,
                    len(raw),
                    symtab,
                    section_of[section.name],
                    8,
                    24,
                )
            )
    first_global = 1 + sum(1 for s in ordered if s.bind == SymbolBind.LOCAL)
    rows.append((".symtab", SectionType.SYMTAB, 0, bytes(table), len(table), symtab + 1, first_global, 8, 24))
    rows.append((".strtab", SectionType.STRTAB, 0, bytes(strings.data), len(strings.data), 0, 0, 1, 0))
    offsets = [names.add(row[0]) for row in rows] + [names.add(".shstrtab")]
    rows.append((".shstrtab", SectionType.STRTAB, 0, bytes(names.data), len(names.data), 0, 0, 1, 0))
    return _lay_out(rows, offsets)


def _lay_out(rows: Sequence[tuple[str, int, int, bytes, int, int, int, int, int]], offsets: Sequence[int]) -> bytes:
    out = bytearray(64)
    headers = bytearray(64)
    for (_, sh_type, flags, data, size, link, info, align, entsize), name in zip(rows, offsets, strict=True):
        out += bytes(-len(out) % max(align, 1))
        headers += struct.pack("<IIQQQQIIQQ", name, sh_type, flags, 0, len(out), size, link, info, align, entsize)
        if sh_type != SectionType.NOBITS:
            out += data
    out += bytes(-len(out) % 8)
    ident = abi.ELFMAG + bytes([abi.ELFCLASS64, abi.ELFDATA2LSB, 1]) + bytes(9)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        ident,
        abi.ET_REL,
        abi.EM_X86_64,
        1,
        0,
        0,
        len(out),
        0,
        64,
        0,
        0,
        64,
        len(rows) + 1,
        len(rows),
    )
    out[:64] = header
    return bytes(out + headers)
