"""Entries of .debug_info in a relocatable object, read fast: what types and prototypes need, and nothing else.

DWARF 4 and 5, 32-bit format, little-endian (DWARF 5 standard, chapter 7). Only the attributes in `_WANTED` are kept;
the rest is stepped over. Relocations are applied as the linker would, with every section at 0.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from weakref import WeakKeyDictionary

from suture.elf.abi import R, SectionType
from suture.elf.file import BadElf, ElfFile

Value = int | bytes | str


class Tag(IntEnum):
    """`DW_TAG_*`, as far as they are looked at."""

    ARRAY = 0x01
    CLASS = 0x02
    ENUM = 0x04
    PARAMETER = 0x05
    LEXICAL_BLOCK = 0x0B
    MEMBER = 0x0D
    POINTER = 0x0F
    REFERENCE = 0x10
    COMPILE_UNIT = 0x11
    STRUCT = 0x13
    SUBROUTINE_TYPE = 0x15
    TYPEDEF = 0x16
    UNION = 0x17
    UNSPECIFIED_PARAMETERS = 0x18
    INHERITANCE = 0x1C
    INLINED = 0x1D
    PTR_TO_MEMBER = 0x1F
    SUBRANGE = 0x21
    BASE = 0x24
    CONST = 0x26
    ENUMERATOR = 0x28
    SUBPROGRAM = 0x2E
    VARIABLE = 0x34
    VOLATILE = 0x35
    RESTRICT = 0x37
    NAMESPACE = 0x39
    UNSPECIFIED_TYPE = 0x3B
    RVALUE_REFERENCE = 0x42
    ATOMIC = 0x47


class At(IntEnum):
    """`DW_AT_*`, as far as they are looked at."""

    SIBLING = 0x01
    LOCATION = 0x02
    NAME = 0x03
    BYTE_SIZE = 0x0B
    BIT_OFFSET = 0x0C
    BIT_SIZE = 0x0D
    STMT_LIST = 0x10
    CONST_VALUE = 0x1C
    INLINE = 0x20
    PRODUCER = 0x25
    PROTOTYPED = 0x27
    UPPER_BOUND = 0x2F
    ABSTRACT_ORIGIN = 0x31
    COUNT = 0x37
    DATA_MEMBER_LOCATION = 0x38
    DECL_FILE = 0x3A
    DECL_LINE = 0x3B
    DECLARATION = 0x3C
    ENCODING = 0x3E
    EXTERNAL = 0x3F
    SPECIFICATION = 0x47
    TYPE = 0x49
    DATA_BIT_OFFSET = 0x6B
    LINKAGE_NAME = 0x6E
    ALIGNMENT = 0x88
    VIRTUALITY = 0x4C


_WANTED = frozenset(At)
_FIXED: Mapping[int, str] = {
    0x01: "Q", 0x05: "H", 0x06: "I", 0x07: "Q", 0x0B: "B", 0x0C: "B", 0x0E: "I", 0x10: "I", 0x11: "B",
    0x12: "H", 0x13: "I", 0x14: "Q",
    0x17: "I", 0x1C: "I", 0x1D: "I", 0x1E: "16s", 0x1F: "I", 0x20: "Q", 0x25: "B", 0x26: "H", 0x27: "3s", 0x28: "I",
}  # fmt: skip
_UNIT_REFERENCES = frozenset({0x11, 0x12, 0x13, 0x14, 0x15})
_STRP, _LINE_STRP, _STRING, _SDATA, _FLAG_PRESENT, _IMPLICIT_CONST, _EXPRLOC = 0x0E, 0x1F, 0x08, 0x0D, 0x19, 0x21, 0x18
_LEB = frozenset({0x0F, 0x15, 0x1A, 0x1B, 0x22, 0x23})
_BLOCKS: Mapping[int, str] = {0x0A: "B", 0x03: "H", 0x04: "I"}


class Die:
    """One entry. `attributes` holds references as offsets in .debug_info and strings decoded."""

    __slots__ = ("attributes", "children", "offset", "parent", "tag")

    def __init__(self, offset: int, tag: int, attributes: dict[int, Value], parent: Die | None) -> None:
        self.offset = offset
        self.tag = tag
        self.attributes = attributes
        self.parent = parent
        self.children: list[Die] = []

    @property
    def name(self) -> str:
        value = self.attributes.get(At.NAME, "")
        return value if isinstance(value, str) else ""

    def number(self, attribute: At) -> int | None:
        value = self.attributes.get(attribute)
        return value if isinstance(value, int) else None

    @property
    def unit(self) -> Die:
        die = self
        while die.parent is not None:
            die = die.parent
        return die


@dataclass(frozen=True, slots=True)
class _Abbreviation:
    tag: int
    has_children: bool
    constants: tuple[tuple[int, int], ...]
    pieces: tuple[tuple[struct.Struct | None, tuple[tuple[int, int], ...]], ...]


class Dwarf:
    """All entries of an object. With `bodies` false, what is nested in a function below its direct children is left
    out."""

    def __init__(self, elf: ElfFile, *, bodies: bool = False) -> None:
        self._name = elf.name
        self._info = _relocated(elf, ".debug_info")
        self._lines = _relocated(elf, ".debug_line")
        self._strings = {_STRP: _raw(elf, ".debug_str"), _LINE_STRP: _raw(elf, ".debug_line_str")}
        self._abbrev = _raw(elf, ".debug_abbrev")
        self._bodies = bodies
        self._known: dict[int, dict[int, _Abbreviation]] = {}
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

    def _entries(self, unit: int, at: int, end: int, known: Mapping[int, _Abbreviation]) -> None:
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
                    if form in _UNIT_REFERENCES:
                        attributes[name] = value + unit
                    elif form in (_STRP, _LINE_STRP):
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
        if form in _LEB:
            value, at = uleb(info, at)
            if form in _UNIT_REFERENCES:
                value += unit
        elif form == _SDATA:
            value, at = sleb(info, at)
        elif form == _STRING:
            stop = info.index(0, at)
            value, at = info[at:stop].decode(errors="replace"), stop + 1
        elif form == _EXPRLOC:
            size, at = uleb(info, at)
            value, at = info[at : at + size], at + size
        elif form in _BLOCKS:
            (size,) = struct.unpack_from("<" + _BLOCKS[form], info, at)
            at += struct.calcsize("<" + _BLOCKS[form])
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

    def _abbreviations(self, at: int) -> dict[int, _Abbreviation]:
        if at in self._known:
            return self._known[at]
        found: dict[int, _Abbreviation] = {}
        self._known[at] = found
        data = self._abbrev
        while True:
            code, at = uleb(data, at)
            if code == 0:
                return found
            tag, at = uleb(data, at)
            has_children = bool(data[at])
            at += 1
            fields: list[tuple[int, int]] = []
            constants: list[tuple[int, int]] = []
            while True:
                name, at = uleb(data, at)
                form, at = uleb(data, at)
                if form == _IMPLICIT_CONST:
                    value, at = sleb(data, at)
                    constants.append((name, value))
                elif form == _FLAG_PRESENT:
                    constants.append((name, 1))
                elif name == form == 0:
                    break
                else:
                    fields.append((name, form))
            found[code] = _Abbreviation(
                tag,
                has_children,
                tuple((n, v) for n, v in constants if n in _WANTED),
                tuple(_pieces(fields)),
            )

    def file_names(self, table: int) -> list[str]:
        """File names of a line table's header, by the number that `decl_file` uses."""
        if table not in self._files:
            self._files[table] = _header_files(self._lines, table, self._text)
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


def _pieces(fields: list[tuple[int, int]]) -> Iterator[tuple[struct.Struct | None, tuple[tuple[int, int], ...]]]:
    """Runs of fields of fixed size, each as one Struct that skips what is not wanted; a field of variable size stands
    alone."""
    text, names = "<", []
    for name, form in fields:
        size = _FIXED.get(form)
        if size is not None:
            if name in _WANTED:
                text += size
                names.append((name, form))
            else:
                text += f"{struct.calcsize('<' + size)}x"
            continue
        if text != "<":
            yield struct.Struct(text), tuple(names)
        text, names = "<", []
        yield None, ((name if name in _WANTED else 0, form),)
    if text != "<":
        yield struct.Struct(text), tuple(names)


def line_headers(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(start, version, start of the program, end) of each table in .debug_line."""
    start = 0
    while start < len(data):
        length, version = struct.unpack_from("<IH", data, start)
        if length >= 0xFFFFFFF0 or not 2 <= version <= 5:
            raise BadElf(".debug_line", f"version {version}, or the 64-bit format, is not handled")
        at = start + (8 if version >= 5 else 6)
        (size,) = struct.unpack_from("<I", data, at)
        yield start, version, at + 4 + size, start + 4 + length
        start += 4 + length


def _header_files(data: bytes, at: int, text: Callable[[int, int], str]) -> list[str]:
    """DWARF 5 section 6.2.4 and DWARF 4 section 6.2.4; binutils 2.35 writes version 3 beside DWARF 4."""
    _length, version = struct.unpack_from("<IH", data, at)
    at += 6 + (2 if version >= 5 else 0) + 4
    at += 2 if version >= 4 else 1  # minimum_instruction_length, maximum_operations_per_instruction
    at += 3
    at += data[at]  # opcode_base, and the lengths of the standard opcodes
    if version < 5:
        return _header_files_4(data, at)
    directories, at = _entry_table(data, at, text)
    files, at = _entry_table(data, at, text)
    return [_joined(directories[n][0] if n < len(directories) else "", name) for name, n in files]


def _header_files_4(data: bytes, at: int) -> list[str]:
    directories, files = [""], [""]
    while data[at]:
        stop = data.index(0, at)
        directories.append(data[at:stop].decode(errors="replace"))
        at = stop + 1
    at += 1
    while data[at]:
        stop = data.index(0, at)
        name = data[at:stop].decode(errors="replace")
        number, at = uleb(data, stop + 1)
        _, at = uleb(data, at)
        _, at = uleb(data, at)
        files.append(_joined(directories[number] if number < len(directories) else "", name))
    return files


def _entry_table(data: bytes, at: int, text: Callable[[int, int], str]) -> tuple[list[tuple[str, int]], int]:
    """(path, directory number) of each entry."""
    formats = []
    count, at = data[at], at + 1
    for _ in range(count):
        kind, at = uleb(data, at)
        form, at = uleb(data, at)
        formats.append((kind, form))
    total, at = uleb(data, at)
    rows = []
    for _ in range(total):
        path, number = "", 0
        for kind, form in formats:
            value: int | str = 0
            if form in (_STRP, _LINE_STRP):
                value, at = text(form, struct.unpack_from("<I", data, at)[0]), at + 4
            elif form == _STRING:
                stop = data.index(0, at)
                value, at = data[at:stop].decode(errors="replace"), stop + 1
            elif form in _LEB:
                value, at = uleb(data, at)
            else:
                size = "<" + _FIXED[form]
                raw = struct.unpack_from(size, data, at)[0]
                value, at = raw if isinstance(raw, int) else 0, at + struct.calcsize(size)
            if kind == 1 and isinstance(value, str):
                path = value
            elif kind == 2 and isinstance(value, int):
                number = value
        rows.append((path, number))
    return rows, at


def _joined(directory: str, name: str) -> str:
    return name if name.startswith("/") or not directory else f"{directory}/{name}"


def uleb(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and the offset behind it (DWARF 5, 7.6)."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def sleb(data: bytes, at: int) -> tuple[int, int]:
    """A signed one."""
    start = at
    value, at = uleb(data, at)
    bits = 7 * (at - start)
    return value - (1 << bits) if value >> (bits - 1) & 1 else value, at
