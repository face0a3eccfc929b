"""Which functions hold code of which source lines: the line tables of a relocatable object (DWARF 4 and 5, section
6.2)."""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterator, Mapping
from functools import cached_property

from suture.delta.die import At, Tag
from suture.delta.dwarf import Dwarf
from suture.delta.leb128 import sleb, uleb
from suture.delta.line_header import line_headers
from suture.elf.abi import R
from suture.elf.file import BadElf, ElfFile

_ADVANCE_PC, _ADVANCE_LINE, _SET_FILE, _CONST_ADD_PC, _FIXED_ADVANCE_PC = 2, 3, 4, 8, 9
_END_SEQUENCE, _SET_ADDRESS = 1, 2


class LineTable:
    """Lines by file of an object that is compiled with -ffunction-sections, so that a section tells the function."""

    def __init__(self, elf: ElfFile) -> None:
        self._elf = elf
        self._known: dict[tuple[str, int], tuple[int, frozenset[int]]] = {}

    @cached_property
    def sections(self) -> Mapping[str, Mapping[int, frozenset[int]]]:
        """By file as the object names it, and by line: the indexes of sections with code of that line, inlined code
        too."""
        found: dict[str, dict[int, set[int]]] = {}
        try:
            for section, file, line in self._rows():
                found.setdefault(file, {}).setdefault(line, set()).add(section)
        except (IndexError, KeyError, ValueError, ZeroDivisionError, struct.error) as problem:
            raise BadElf(self._elf.name, f".debug_line is malformed ({problem!r})") from problem
        return {f: {n: frozenset(s) for n, s in lines.items()} for f, lines in found.items()}

    @cached_property
    def _starts(self) -> Mapping[str, list[int]]:
        """By file: the lines where functions are defined, sorted."""
        dwarf, found = Dwarf.of(self._elf), dict[str, set[int]]()
        for die in dwarf.walk():
            if die.tag == Tag.SUBPROGRAM and At.DECLARATION not in die.attributes:
                file, line = dwarf.place(die)
                if line:
                    found.setdefault(file, set()).add(line)
        return {f: sorted(lines) for f, lines in found.items()}

    def around(self, file: str, line: int) -> frozenset[int]:
        """Sections with code of the function that a line stands in: from where it is defined to its last line with
        code.

        Empty for a line between functions, and where no code of the function is left.
        """
        n = bisect.bisect_right(self._starts.get(file, []), line)
        last, sections = self._function(file, n) if n else (0, frozenset[int]())
        return sections if line <= last else frozenset()

    def _function(self, file: str, n: int) -> tuple[int, frozenset[int]]:
        """The last line with code of the n-th function of a file, and the sections that its lines have code in."""
        if (file, n) not in self._known:
            starts, lines = self._starts[file], self.sections.get(file, {})
            end = starts[n] if n < len(starts) else max(lines, default=0) + 1
            inside = [x for x in lines if starts[n - 1] <= x < end]
            self._known[file, n] = max(inside, default=0), frozenset(s for x in inside for s in lines[x])
        return self._known[file, n]

    def _rows(self) -> Iterator[tuple[int, str, int]]:
        """(section, file, line) of each row."""
        table = self._elf.section(".debug_line")
        if table is None:
            return
        data = self._elf.bytes_of(table)
        at_offset = {r.r_offset: r for r in self._elf.relocations_by_section.get(table.index, ())}
        for start, version, program, end in line_headers(data):
            files = Dwarf.of(self._elf).file_names(start)
            for place, number, line in _run(data, start, version, program, end):
                row = at_offset.get(place)
                if row is None or row.r_type != R.R_64 or number >= len(files):
                    continue
                symbol = self._elf.symbols[row.symbol]
                if symbol.has_section:
                    yield symbol.st_shndx, files[number], line


def _run(data: bytes, start: int, version: int, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(offset of the address that the sequence begins with, file number, line) of each row; addresses themselves are
    not needed."""
    fixed = start + (12 if version >= 5 else 10)  # minimum_instruction_length
    fixed += 3 if version >= 4 else 2  # before version 4 there is no maximum_operations_per_instruction
    line_base, line_range, opcode_base = struct.unpack_from("<bBB", data, fixed)
    lengths = data[fixed + 3 : fixed + 2 + opcode_base]
    place, file, line = -1, 1, 1
    while at < end:
        opcode = data[at]
        at += 1
        if opcode >= opcode_base:
            line += line_base + (opcode - opcode_base) % line_range
            yield place, file, line
        elif opcode == 0:
            size, at = uleb(data, at)
            if data[at] == _SET_ADDRESS:
                place = at + 1
            elif data[at] == _END_SEQUENCE:
                place, file, line = -1, 1, 1
            at += size
        elif opcode == 1:
            yield place, file, line
        elif opcode == _ADVANCE_LINE:
            step, at = sleb(data, at)
            line += step
        elif opcode == _SET_FILE:
            file, at = uleb(data, at)
        elif opcode == _FIXED_ADVANCE_PC:
            at += 2
        else:
            for _ in range(lengths[opcode - 1]):
                _, at = uleb(data, at)
