"""Entries of .debug_info in a relocatable object, read fast: what types and prototypes need, and nothing else.

DWARF 4 and 5, 32-bit format, little-endian (DWARF 5 standard, chapter 7). Only the attributes in `_WANTED` are kept;
the rest is stepped over. Relocations are applied as the linker would, with every section at 0.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from functools import cached_property
from weakref import WeakKeyDictionary

from suture.delta.abbreviation import Abbreviation, abbreviations
from suture.delta.die import At, Die, Tag, Value
from suture.delta.form import BLOCKS, EXPRLOC, LEB, LINE_STRP, SDATA, STRING, STRP, UNIT_REFERENCES
from suture.delta.leb128 import sleb, uleb
from suture.delta.line_header import header_files
from suture.elf.abi import R, SectionType
from suture.elf.file import BadElf, ElfFile


class Dwarf:
    """All entries of an object. With `bodies` false, what is nested in a function below its direct children is left
    out."""

    def __init__(self, elf: ElfFile, *, bodies: bool = False) -> None:
        self._name = elf.name
        self._info = _relocated(elf, ".debug_info")
        self._lines = _relocated(elf, ".debug_line")
        self._strings = {STRP: _raw(elf, ".debug_str"), LINE_STRP: _raw(elf, ".debug_line_str")}
        self._abbrev = _raw(elf, ".debug_abbrev")
        self._bodies = bodies
        self._known: dict[int, dict[int, Abbreviation]] = {}
        self._texts: dict[tuple[int, int], str] = {}
        self._files: dict[int, list[str]] = {}
        self.by_offset: dict[int, Die] = {}
        self.units: list[Die] = []
        at = 0
        while at < len(self._info):
            at = self._unit(at)

    @staticmethod
    def of(elf: ElfFile) -> Dwarf:
        """That of an object without function bodies, read once while the object is in use."""
        if elf not in _READ:
            _READ[elf] = Dwarf(elf)
        return _READ[elf]

    @cached_property
    def users(self) -> Mapping[int, list[Die]]:
        """Entries whose type is the one at an offset."""
        found: dict[int, list[Die]] = {}
        for die in self.by_offset.values():
            target = die.number(At.TYPE)
            if target is not None:
                found.setdefault(target, []).append(die)
        return found

    def reference(self, die: Die, attribute: At = At.TYPE) -> Die | None:
        """The entry that an attribute refers to."""
        value = die.number(attribute)
        return None if value is None else self.by_offset.get(value)

    def walk(self) -> Iterator[Die]:
        """Every entry that was read."""
        yield from self.by_offset.values()

    def place(self, die: Die) -> tuple[str, int]:
        """Declaring file and line; ("", 0) when not told."""
        source = die
        while At.DECL_LINE not in source.attributes:
            origin = self.reference(source, At.SPECIFICATION) or self.reference(source, At.ABSTRACT_ORIGIN)
            if origin is None:
                return "", 0
            source = origin
        table = source.unit.number(At.STMT_LIST)
        number = source.number(At.DECL_FILE)
        files = self.file_names(table) if table is not None else []
        file = files[number] if number is not None and number < len(files) else ""
        return file, source.number(At.DECL_LINE) or 0

    def _unit(self, start: int) -> int:
        length, version = struct.unpack_from("<IH", self._info, start)
        if length >= 0xFFFFFFF0 or version not in (4, 5):
            raise BadElf(self._name, f"DWARF version {version}, or its 64-bit format, is not handled")
        if version == 5:
            kind, _size, abbrev = struct.unpack_from("<BBI", self._info, start + 6)
            header = 12 + {1: 0, 3: 0, 4: 8, 5: 8, 2: 12, 6: 12}.get(kind, 0)
        else:
            abbrev = struct.unpack_from("<I", self._info, start + 6)[0]
            header = 11
        end: int = start + 4 + length
        if end > len(self._info):
            raise BadElf(self._name, ".debug_info is truncated")
        self._entries(start, start + header, end, self._abbreviations(abbrev))
        return end

    def _entries(self, unit: int, at: int, end: int, known: Mapping[int, Abbreviation]) -> None:
        info, by_offset, bodies = self._info, self.by_offset, self._bodies
        stack: list[Die] = []
        parent: Die | None = None
        inside = 0  # depth at which a function was entered
        while at < end:
            offset = at
            code = info[at]
            at += 1
            if code == 0:
                if not stack:
                    continue
                stack.pop()
                parent = stack[-1] if stack else None
                if len(stack) < inside:
                    inside = 0
                continue
            if code >= 0x80:
                code, at = uleb(info, offset)
            abbreviation = known[code]
            attributes: dict[int, Value] = dict(abbreviation.constants)
            for fixed, names in abbreviation.pieces:
                if fixed is None:
                    at = self._variable(names[0], at, unit, attributes)
                    continue
                for (name, form), value in zip(names, fixed.unpack_from(info, at), strict=True):
                    if form in UNIT_REFERENCES:
                        attributes[name] = value + unit
                    elif form in (STRP, LINE_STRP):
                        attributes[name] = self._text(form, value)
                    else:
                        attributes[name] = value
                at += fixed.size
            if inside and not bodies and abbreviation.has_children and At.SIBLING in attributes:
                tag = abbreviation.tag
                if tag in (Tag.LEXICAL_BLOCK, Tag.INLINED) or tag > 0x40:
                    sibling = attributes[At.SIBLING]
                    assert isinstance(sibling, int)
                    at = max(sibling, at)
                    continue
            die = Die(offset, abbreviation.tag, attributes, parent)
            by_offset[offset] = die
            if parent is None:
                self.units.append(die)
            else:
                parent.children.append(die)
            if abbreviation.has_children:
                stack.append(die)
                parent = die
                if die.tag == Tag.SUBPROGRAM and not inside:
                    inside = len(stack)

    def _variable(self, wanted: tuple[int, int], at: int, unit: int, attributes: dict[int, Value]) -> int:
        name, form = wanted
        info = self._info
        value: Value
        if form in LEB:
            value, at = uleb(info, at)
            if form in UNIT_REFERENCES:
                value += unit
        elif form == SDATA:
            value, at = sleb(info, at)
        elif form == STRING:
            stop = info.index(0, at)
            value, at = info[at:stop].decode(errors="replace"), stop + 1
        elif form == EXPRLOC:
            size, at = uleb(info, at)
            value, at = info[at : at + size], at + size
        elif form in BLOCKS:
            (size,) = struct.unpack_from("<" + BLOCKS[form], info, at)
            at += struct.calcsize("<" + BLOCKS[form])
            value, at = info[at : at + size], at + size
        else:
            raise BadElf(self._name, f"DWARF form {form:#x} is not handled")
        if name:
            attributes[name] = value
        return at

    def _text(self, form: int, offset: int) -> str:
        key = form, offset
        if key not in self._texts:
            strings = self._strings[form]
            stop = strings.find(b"\0", offset)
            self._texts[key] = strings[offset:stop].decode(errors="replace")
        return self._texts[key]

    def _abbreviations(self, at: int) -> dict[int, Abbreviation]:
        if at not in self._known:
            self._known[at] = abbreviations(self._abbrev, at)
        return self._known[at]

    def file_names(self, table: int) -> list[str]:
        """File names of a line table's header, by the number that `decl_file` uses."""
        if table not in self._files:
            self._files[table] = header_files(self._lines, table, self._text)
        return self._files[table]


_READ: WeakKeyDictionary[ElfFile, Dwarf] = WeakKeyDictionary()


def _raw(elf: ElfFile, name: str) -> bytes:
    section = elf.section(name)
    return elf.bytes_of(section) if section else b""


def _relocated(elf: ElfFile, name: str) -> bytes:
    """A section's bytes with 32-bit absolute relocations applied; no other kind is in a field that is kept."""
    section = elf.section(name)
    if section is None:
        return b""
    data = bytearray(elf.bytes_of(section))
    pack = struct.Struct("<I").pack_into
    values = [s.st_value for s in elf.symbols]
    for rela in elf.sections:
        if rela.sh_type == SectionType.RELA and rela.sh_info == section.index:
            for offset, info, addend in struct.iter_unpack("<QQq", elf.bytes_of(rela)):
                if info & 0xFFFFFFFF == R.R_32:
                    pack(data, offset, values[info >> 32] + addend & 0xFFFFFFFF)
    return bytes(data)
