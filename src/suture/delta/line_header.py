"""Headers of the tables in .debug_line: where their programs are, and the names of their files."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from suture.delta.form import FIXED, LEB, LINE_STRP, STRING, STRP
from suture.delta.leb128 import uleb
from suture.elf.file import BadElf


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


def header_files(data: bytes, at: int, text: Callable[[int, int], str]) -> list[str]:
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
            if form in (STRP, LINE_STRP):
                value, at = text(form, struct.unpack_from("<I", data, at)[0]), at + 4
            elif form == STRING:
                stop = data.index(0, at)
                value, at = data[at:stop].decode(errors="replace"), stop + 1
            elif form in LEB:
                value, at = uleb(data, at)
            else:
                size = "<" + FIXED[form]
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
