"""What a unit compiled to, as matching sees it: code sections, patterns, and the names that references are noted by."""

from __future__ import annotations

from functools import cached_property

from suture.elf.abi import SectionType, SymbolBind, SymbolType
from suture.elf.fact import Relocation, Section, Symbol
from suture.elf.file import ElfFile
from suture.match.linker_edit import open_range
from suture.match.pattern import Pattern


class TaggedObject:
    """One object file of the unit under a tag, since section numbers differ between its compiles."""

    def __init__(self, elf: ElfFile, tag: str) -> None:
        self.elf = elf
        self.tag = tag

    @cached_property
    def code(self) -> tuple[Section, ...]:
        return tuple(
            s for s in self.elf.sections if s.is_code and s.is_alloc and s.sh_size and s.sh_type == SectionType.PROGBITS
        )

    @cached_property
    def functions(self) -> dict[int, tuple[Symbol, ...]]:
        """Function symbols by section index, in address order."""
        found: dict[int, list[Symbol]] = {}
        for symbol in self.elf.symbols:
            if symbol.has_section and symbol.st_size and symbol.type in (SymbolType.FUNC, SymbolType.GNU_IFUNC):
                found.setdefault(symbol.st_shndx, []).append(symbol)
        return {i: tuple(sorted(rows, key=lambda s: (s.st_value, s.st_size))) for i, rows in found.items()}

    def relocations(self, section: Section) -> tuple[Relocation, ...]:
        return self.elf.relocations_by_section.get(section.index, ())

    def pattern(self, section: Section, low: int = 0, high: int | None = None) -> Pattern:
        data = self.elf.bytes_of(section)
        end = len(data) if high is None else high
        ranges = (open_range(data, r.r_offset, r.r_type) for r in self.relocations(section))
        return Pattern.of(data[low:end], ((a - low, b - low) for a, b in ranges if b > low and a < end))

    def key(self, symbol: Symbol) -> tuple[str, int]:
        """Name under which a reference is noted, and what to subtract from the implied value to get the named thing's.

        Local symbols are noted by their section's base, except in merged sections, whose pieces move independently.
        """
        if not symbol.has_section or symbol.bind != SymbolBind.LOCAL:
            return symbol.name, 0
        section = self.elf.sections[symbol.st_shndx]
        if section.is_merge:
            return f"{self.tag}:{section.name}#{section.index}+{symbol.st_value:#x}", 0
        return self.base_key(section), symbol.st_value

    def base_key(self, section: Section) -> str:
        return f"{self.tag}:{section.name}#{section.index}"


def is_own(symbol: Symbol, section: Section) -> bool:
    """Whether a symbol lies in the section, and no other definition can take its place."""
    strong = symbol.bind in (SymbolBind.LOCAL, SymbolBind.GLOBAL) and symbol.type != SymbolType.GNU_IFUNC
    return symbol.st_shndx == section.index and strong and not section.in_group
