"""An ELF64 little-endian x86-64 file, read from bytes.

Every offset and count is checked against the length of the data, so a hostile file costs an error and no more.
Source of the layouts: gABI chapters 4 and 5, LSB for symbol versions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from suture.elf import abi
from suture.elf.abi import SectionType
from suture.elf.fact import Relocation, Section, Segment, Symbol
from suture.error import ExitCode, SutureError, Unsupported
from suture.number import BuildId, FileOffset, Vaddr

EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_SHDR = struct.Struct("<IIQQQQIIQQ")
PHDR = struct.Struct("<IIQQQQQQ")
_SYM = struct.Struct("<IBBHQQ")
_RELA = struct.Struct("<QQq")
_MAX_SECTIONS = 1 << 20
_MOST_NAME = 1 << 16
_SHARED = 8  # a linker lets names share their ends; together they are not many times as long as their table
_LEAST_VERSION_ENTRY = 8


class BadElf(SutureError):
    """The bytes are no well-formed ELF64 file."""

    exit_code = ExitCode.BAD_PATCH

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}", "check that the file is complete; fetch or make it again")


def segments_in(table: bytes) -> tuple[Segment, ...]:
    """The rows of a table of program headers, which is a whole number of them."""
    return tuple(Segment(t, f, off, va, fs, ms, al) for t, f, off, va, _pa, fs, ms, al in PHDR.iter_unpack(table))


class ElfFile:
    """Tables of one ELF file; everything is parsed on first use and kept.

    Raises `BadElf` for malformed bytes and `Unsupported` for another class, byte order or machine.
    """

    def __init__(self, data: bytes, name: str = "<bytes>") -> None:
        self.data = data
        self.name = name
        if len(data) < EHDR.size or data[:4] != abi.ELFMAG:
            raise BadElf(name, "not an ELF file")
        if data[4] != abi.ELFCLASS64 or data[5] != abi.ELFDATA2LSB:
            raise Unsupported(f"{name}: not a 64-bit little-endian ELF file", "only x86-64 programs are handled")
        header = EHDR.unpack_from(data)
        self.e_type: int = header[1]
        self.e_machine: int = header[2]
        self.e_entry: Vaddr = header[4]
        self._phoff, self._shoff = header[5], header[6]
        self._phnum, self._shnum, self._shstrndx = header[10], header[12], header[13]
        if self.e_machine != abi.EM_X86_64:
            raise Unsupported(f"{name}: machine {self.e_machine} is not x86-64", "only x86-64 programs are handled")

    @classmethod
    def read(cls, path: Path) -> ElfFile:
        """Read a whole file. Raises OSError as `open` does."""
        return cls(path.read_bytes(), str(path))

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        if self._shoff == 0:
            return ()
        self._check(self._shoff, _SHDR.size, "its section headers end")
        first = _SHDR.unpack_from(self.data, self._shoff)
        count = self._shnum or first[5]
        strndx = self._shstrndx if self._shstrndx != abi.SHN_XINDEX else first[6]
        if count > _MAX_SECTIONS:
            raise BadElf(self.name, f"{count} sections")
        self._check(self._shoff, count * _SHDR.size, "its section headers end")
        rows = list(_SHDR.iter_unpack(self.data[self._shoff : self._shoff + count * _SHDR.size]))
        if strndx >= count:
            raise BadElf(self.name, "section name table out of range")
        names = _Names(self._slice(rows[strndx][4], rows[strndx][5]), self.name)
        return tuple(Section(i, names.at(r[0]), r[1], *r[2:]) for i, r in enumerate(rows))

    @cached_property
    def _by_name(self) -> dict[str, Section]:
        found: dict[str, Section] = {}
        for section in self.sections:
            found.setdefault(section.name, section)
        return found

    def section(self, name: str) -> Section | None:
        """The first section of that name."""
        return self._by_name.get(name)

    def bytes_of(self, section: Section) -> bytes:
        """A section's contents; empty for NOBITS."""
        if not section.has_bits:
            return b""
        return self._slice(section.sh_offset, section.sh_size)

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        self._check(self._phoff, self._phnum * PHDR.size, "its program headers end")
        raw = self.data[self._phoff : self._phoff + self._phnum * PHDR.size]
        return segments_in(raw)

    @cached_property
    def symbols(self) -> tuple[Symbol, ...]:
        """`.symtab`, empty when stripped."""
        table = next((s for s in self.sections if s.sh_type == SectionType.SYMTAB), None)
        return tuple(self._symbols(table)) if table else ()

    @cached_property
    def dynamic_symbols(self) -> tuple[Symbol, ...]:
        """`.dynsym`, with versions."""
        table = next((s for s in self.sections if s.sh_type == SectionType.DYNSYM), None)
        return tuple(self._symbols(table, self._versions())) if table else ()

    def relocations(self, section: Section) -> tuple[Relocation, ...]:
        """Entries of one RELA section, in file order."""
        raw = self.bytes_of(section)
        if len(raw) % _RELA.size:
            raise BadElf(self.name, f"{section.name} has a broken size")
        return tuple(Relocation(o, i & 0xFFFFFFFF, i >> 32, a) for o, i, a in _RELA.iter_unpack(raw))

    @cached_property
    def relocations_by_section(self) -> dict[int, tuple[Relocation, ...]]:
        """For a relocatable object: entries that apply to each section index, sorted by offset."""
        found: dict[int, list[Relocation]] = {}
        for section in self.sections:
            if section.sh_type == SectionType.RELA:
                found.setdefault(section.sh_info, []).extend(self.relocations(section))
        return {index: tuple(sorted(rows, key=lambda r: r.r_offset)) for index, rows in found.items()}

    @cached_property
    def build_id(self) -> BuildId | None:
        """GNU build-id in hex, from the note sections or segments."""
        for section in self.sections:
            if section.sh_type == SectionType.NOTE:
                found = build_id_in(self.bytes_of(section))
                if found:
                    return found
        for segment in self.segments:
            if segment.p_type == abi.PT_NOTE:
                found = build_id_in(self._slice(segment.p_offset, segment.p_filesz))
                if found:
                    return found
        return None

    def read_at(self, address: Vaddr, size: int) -> bytes:
        """Bytes at a link-time virtual address, zeros beyond a segment's file size. Raises BadElf when not mapped."""
        for segment in self._loaded:
            if segment.p_vaddr <= address and address + size <= segment.p_vaddr + segment.p_memsz:
                start = address - segment.p_vaddr
                end = max(start, min(start + size, segment.p_filesz))
                inside = self._slice(segment.p_offset + start, end - start) if start < segment.p_filesz else b""
                return inside + bytes(size - len(inside))
        raise BadElf(self.name, f"address {address:#x} is not in a loaded segment")

    def offset_of(self, address: Vaddr) -> FileOffset | None:
        """Where in the file the byte at a link-time virtual address lies; None where the file has none."""
        for segment in self._loaded:
            if segment.p_vaddr <= address < segment.p_vaddr + segment.p_filesz:
                return FileOffset(segment.p_offset + address - segment.p_vaddr)
        return None

    @cached_property
    def _loaded(self) -> list[Segment]:
        return [s for s in self.segments if s.p_type == abi.PT_LOAD]

    def _versions(self) -> dict[int, tuple[str, bool]]:
        """Version name and hidden bit of each dynamic symbol index (LSB, symbol versioning)."""
        versym = next((s for s in self.sections if s.sh_type == SectionType.GNU_VERSYM), None)
        if versym is None:
            return {}
        names: dict[int, str] = {}
        for section in self.sections:
            if section.sh_type == SectionType.GNU_VERDEF:
                names.update(self._verdef(section))
            elif section.sh_type == SectionType.GNU_VERNEED:
                names.update(self._verneed(section))
        raw = self.bytes_of(versym)
        indices = struct.unpack(f"<{len(raw) // 2}H", raw[: len(raw) // 2 * 2])
        return {n: (names.get(v & 0x7FFF, ""), bool(v & 0x8000)) for n, v in enumerate(indices)}

    def _verdef(self, section: Section) -> Iterator[tuple[int, str]]:
        raw, strings = self.bytes_of(section), self._linked_strings(section)
        at = 0
        for _ in range(min(section.sh_info, len(raw) // _LEAST_VERSION_ENTRY)):
            if at + 20 > len(raw):
                return
            _ver, flags, ndx, _cnt, _hash, aux, step = struct.unpack_from("<HHHHIII", raw, at)
            if at + aux + 8 <= len(raw) and not flags & 1:  # VER_FLG_BASE names the file itself
                yield ndx & 0x7FFF, strings.at(struct.unpack_from("<I", raw, at + aux)[0])
            if step == 0:
                return
            at += step

    def _verneed(self, section: Section) -> Iterator[tuple[int, str]]:
        raw, strings = self.bytes_of(section), self._linked_strings(section)
        at, left = 0, len(raw) // _LEAST_VERSION_ENTRY
        for _ in range(min(section.sh_info, left)):
            if at + 16 > len(raw):
                return
            _ver, count, _file, aux, step = struct.unpack_from("<HHIII", raw, at)
            entry = at + aux
            for _ in range(min(count, left)):
                if entry + 16 > len(raw):
                    break
                _hash, _flags, other, name, following = struct.unpack_from("<IHHII", raw, entry)
                yield other & 0x7FFF, strings.at(name)
                left -= 1
                if following == 0:
                    break
                entry += following
            if step == 0:
                return
            at += step

    def _symbols(self, table: Section, versions: dict[int, tuple[str, bool]] | None = None) -> Iterator[Symbol]:
        raw = self.bytes_of(table)
        if len(raw) % _SYM.size:
            raise BadElf(self.name, f"{table.name} is malformed")
        strings = self._linked_strings(table)
        known = versions or {}
        for index, (name, info, other, shndx, value, size) in enumerate(_SYM.iter_unpack(raw)):
            version, hidden = known.get(index, ("", False))
            yield Symbol(index, strings.at(name), value, size, info & 15, info >> 4, other & 3, shndx, version, hidden)

    def _linked_strings(self, section: Section) -> _Names:
        if section.sh_link >= len(self.sections):
            raise BadElf(self.name, f"{section.name} names no string table")
        return _Names(self.bytes_of(self.sections[section.sh_link]), self.name)

    def _slice(self, offset: int, size: int) -> bytes:
        self._check(offset, size)
        return self.data[offset : offset + size]

    def _check(self, offset: int, size: int, what: str = "a part ends") -> None:
        if offset + size > len(self.data):
            raise BadElf(self.name, f"truncated: {what} at byte {offset + size}, the file at {len(self.data)}")


def build_id_in(notes: bytes) -> BuildId | None:
    """GNU build-id (hex) among the notes of a section or segment (gABI, note sections), None without one."""
    at = 0
    while at + 12 <= len(notes):
        namesz, descsz, kind = struct.unpack_from("<III", notes, at)
        name = at + 12
        desc = name + (namesz + 3) // 4 * 4
        if desc + descsz > len(notes):
            return None
        if kind == abi.NT_GNU_BUILD_ID and notes[name : name + namesz] == b"GNU\0" and descsz:
            return BuildId(notes[desc : desc + descsz].hex())
        at = desc + (descsz + 3) // 4 * 4
    return None


class _Names:
    """The names of one string table, each decoded once, and together bounded: many symbols may point into one endless
    name."""

    def __init__(self, data: bytes, file: str) -> None:
        self._data, self._file = data, file
        self._known: dict[int, str] = {}
        self._left = _SHARED * len(data) + _MOST_NAME

    def at(self, offset: int) -> str:
        """The name at an offset, empty behind the end. Raises `BadElf`."""
        known = self._known.get(offset)
        if known is not None:
            return known
        end = self._data.find(b"\0", offset, offset + _MOST_NAME)
        if end < 0:
            end = len(self._data)
        self._left -= end - offset
        if end - offset > _MOST_NAME or self._left < 0:
            raise BadElf(self._file, "names that are longer than any are")
        name = self._known[offset] = self._data[offset:end].decode(errors="replace")
        return name
