"""Unwind information of a compiled unit's code: for each code section its frames, with the handler tables that they
name."""

from __future__ import annotations

from dataclasses import dataclass

from suture.elf.call_frame import BadCallFrame, Common, FrameEntry, Pointer, entries
from suture.elf.fact import Relocation, Section
from suture.elf.file import ElfFile

TABLE = ".gcc_except_table"
INDIRECT = "DW.ref."  # gcc's name for the word that holds a symbol's address, for tables that may not be written to


@dataclass(frozen=True, slots=True)
class Frame:
    """How to unwind the `size` bytes from offset `start` of a code section on.

    `personality` names the routine that reads the table, empty for none; `table` is (section index, offset) of the
    language-specific data.
    """

    start: int
    size: int
    common: Common
    instructions: bytes
    personality: str
    table: tuple[int, int] | None


def frames(elf: ElfFile) -> dict[int, tuple[Frame, ...]]:
    """By index of the code section. Raises `BadCallFrame` for what is no call frame information."""
    found: dict[int, list[Frame]] = {}
    for section in elf.sections:
        if section.name == ".eh_frame":
            rows = {r.r_offset: r for r in elf.relocations_by_section.get(section.index, ())}
            for entry in entries(elf.bytes_of(section)):
                where = _target(elf, rows, entry.start)
                if where is None:
                    raise BadCallFrame(f"an entry of {section.name} for no section")
                found.setdefault(where[0], []).append(_frame(elf, rows, section, entry, where[1]))
    return {index: tuple(sorted(each, key=lambda f: f.start)) for index, each in found.items()}


def _frame(elf: ElfFile, rows: dict[int, Relocation], section: Section, entry: FrameEntry, start: int) -> Frame:
    personality, table = "", None
    pointer = entry.common.personality
    if pointer is not None:
        row = rows.get(pointer.offset)
        if row is None:
            raise BadCallFrame(f"a personality of {section.name} without a name")
        personality = elf.symbols[row.symbol].name.removeprefix(INDIRECT)
    if entry.table is not None and entry.table.offset in rows:
        table = _target(elf, rows, entry.table)
        if table is None:
            raise BadCallFrame(f"an entry of {section.name} whose table is in no section")
    return Frame(start, entry.size, entry.common, entry.instructions, personality, table)


def _target(elf: ElfFile, rows: dict[int, Relocation], pointer: Pointer) -> tuple[int, int] | None:
    row = rows.get(pointer.offset)
    if row is None:
        return None
    symbol = elf.symbols[row.symbol]
    return (symbol.st_shndx, symbol.st_value + row.r_addend) if symbol.has_section else None
