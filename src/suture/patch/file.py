"""Reading a live patch file and checking that it keeps to the format, before anything looks at a process."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from suture.elf import abi
from suture.elf.abi import GOT_LOADS, R, SectionType
from suture.elf.fact import Section, Symbol
from suture.elf.file import BadElf, ElfFile
from suture.error import Unsupported
from suture.patch.admission import read_bytes
from suture.patch.manifest import BadPatch, Manifest, SymbolKind, parse_manifest
from suture.patch.record import MOST_FUNCTIONS
from suture.patch.seal import check_seal
from suture.patch.tripwire import COUNTER_SIZE, MOST_TRIPWIRES
from suture.patch.tripwire import SECTION as COUNTERS
from suture.patch.x86_64 import MOST_ENTRY
from suture.report.reason import Reason

MANIFEST_SECTION = ".suture.manifest"
SUFFIX = ".suture.o"
ALLOWED_RELOCATIONS = frozenset({R.R_64, R.PC32, R.PLT32, R.PC64, R.R_32, R.R_32S}) | GOT_LOADS
_MAX_SIZE = 64 << 20
_MOST_ROWS = 1 << 20
_PAGE = 4096


@dataclass(frozen=True, eq=False)
class PatchFile:
    """A checked live patch. `id` is the first 16 hex digits of the file's SHA-256. Two are equal when they are the same
    one."""

    id: str
    manifest: Manifest
    object: ElfFile

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """The sections that are placed in a process, in file order."""
        return tuple(s for s in self.object.sections if s.is_alloc and s.sh_size)

    def symbol(self, name: str) -> Symbol:
        """A defined symbol of the object; raises KeyError."""
        return self._symbols[name]

    @cached_property
    def _symbols(self) -> dict[str, Symbol]:
        return {s.name: s for s in self.object.symbols if s.is_defined and s.name}


def read_patch(path: Path, *, owned: bool = False) -> PatchFile:
    """Read and check a patch file; with `owned` only one that nobody but root or the caller could have written.

    Raises `NotFound`, `BadPatch`, `NotOwned`, `Unreadable`.
    """
    return parse_patch(read_bytes(path, _MAX_SIZE, owned=owned), str(path))


def parse_patch(data: bytes, name: str) -> PatchFile:
    """Check the bytes of a patch file. Raises `BadPatch`."""
    try:
        elf = ElfFile(data, name)
        section = elf.section(MANIFEST_SECTION)
        if elf.e_type != abi.ET_REL or section is None:
            raise BadPatch(name, "an ELF file, but no live patch", reason=Reason.PATCH_FOREIGN)
        check_seal(data, name)
        manifest = parse_manifest(elf.bytes_of(section), name)
        _check_object(elf, manifest, name)
    except (BadElf, Unsupported) as problem:
        raise BadPatch(name, f"no live patch: {problem.what}", reason=Reason.PATCH_FOREIGN) from problem
    return PatchFile(hashlib.sha256(data).hexdigest()[:16], manifest, elf)


def _check_object(elf: ElfFile, manifest: Manifest, name: str) -> None:
    _check_sizes(elf, name)
    defined = {s.name: s for s in elf.symbols if s.is_defined and s.name}
    for function in manifest.functions:
        for code in (function.new, function.orig):
            if code not in defined or not _is_code(elf, defined[code]):
                raise BadPatch(name, f"no code for {function.name}")
        if function.entry > MOST_ENTRY or function.displaced < 5 or function.entry + function.displaced > function.size:
            raise BadPatch(name, f"impossible entry of {function.name}")
    _check_groups(manifest, name)
    _check_tripwires(elf, manifest, name)
    _check_sections(elf, manifest, name)


def _check_sizes(elf: ElfFile, name: str) -> None:
    """Before anything is built from the tables."""
    if sum(s.sh_size for s in elf.sections if s.is_alloc) > _MAX_SIZE:
        raise BadPatch(name, "it would take more memory than any patch does")
    if sum(s.sh_size for s in elf.sections if s.has_bits) > len(elf.data):
        raise BadPatch(name, "its sections overlap")
    if sum(s.sh_size for s in elf.sections if s.sh_type in (SectionType.RELA, SectionType.SYMTAB)) > _MOST_ROWS * 24:
        raise BadPatch(name, "it has more symbols and relocations than any patch")


def _check_groups(manifest: Manifest, name: str) -> None:
    addresses = [f.address for f in manifest.functions]
    if not addresses:
        raise BadPatch(name, "replaces no function")
    if len(addresses) > MOST_FUNCTIONS:
        raise BadPatch(name, f"replaces {len(addresses)} functions, more than {MOST_FUNCTIONS}")
    if not all(g.functions for g in manifest.groups):
        raise BadPatch(name, "a group replaces no function")
    if len(set(addresses)) != len(addresses):
        raise BadPatch(name, "replaces a function twice")


def _check_tripwires(elf: ElfFile, manifest: Manifest, name: str) -> None:
    """Each counter has its own eight bytes of the section, which holds nothing else."""
    found = [s for s in elf.sections if s.name == COUNTERS]
    offsets = sorted(t.offset for t in manifest.tripwires)
    if len(offsets) > MOST_TRIPWIRES:
        raise BadPatch(name, f"has {len(offsets)} tripwires, more than {MOST_TRIPWIRES}")
    if offsets != [n * COUNTER_SIZE for n in range(len(offsets))] or len(found) != bool(offsets):
        raise BadPatch(name, "its tripwires have no counters of their own")
    for section in found:
        plain = section.is_alloc and section.is_writable and not section.is_code and not section.has_bits
        if not plain or section.sh_size != len(offsets) * COUNTER_SIZE or section.sh_addralign != COUNTER_SIZE:
            raise BadPatch(name, f"{COUNTERS} is not what its tripwires count in")


def _is_code(elf: ElfFile, symbol: Symbol) -> bool:
    if not symbol.has_section or symbol.st_shndx >= len(elf.sections):
        return False
    section = elf.sections[symbol.st_shndx]
    return section.is_alloc and section.is_code and symbol.st_value + max(symbol.st_size, 1) <= section.sh_size


def _check_sections(elf: ElfFile, manifest: Manifest, name: str) -> None:
    for section in elf.sections:
        if section.is_alloc and section.has_bits:
            elf.bytes_of(section)
        if section.is_alloc and (section.sh_addralign > _PAGE or section.sh_addralign & (section.sh_addralign - 1)):
            raise BadPatch(name, f"{section.name} has an impossible alignment")
        if section.is_alloc and section.is_code and (section.is_writable or not section.has_bits):
            raise BadPatch(name, f"{section.name} is both code and variable")
        if section.sh_type != SectionType.RELA:
            continue
        if section.sh_info >= len(elf.sections):
            raise BadPatch(name, f"{section.name} applies to no section")
        size = elf.sections[section.sh_info].sh_size
        for row in elf.relocations(section):
            if row.r_type not in ALLOWED_RELOCATIONS:
                raise BadPatch(name, f"relocation type {row.r_type} in {section.name}")
            if row.symbol >= len(elf.symbols) or row.r_offset + abi.field_width(row.r_type) > size:
                raise BadPatch(name, f"relocation out of range in {section.name}")
            symbol = elf.symbols[row.symbol]
            if not symbol.is_defined and symbol.name not in manifest.symbols:
                raise BadPatch(name, f"symbol {symbol.name} has no resolution")
            if symbol.has_section and (
                symbol.st_shndx >= len(elf.sections) or not elf.sections[symbol.st_shndx].is_alloc
            ):
                raise BadPatch(name, f"symbol {symbol.name} is in no section that is placed")
    for symbol_name, symbol_row in manifest.symbols.items():
        if symbol_row.kind is SymbolKind.IMPORT and not symbol_row.name:
            raise BadPatch(name, f"import {symbol_name} has no name")
