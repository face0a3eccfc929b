"""Call frame information (.eh_frame) as typed facts: which code each entry describes, with the places of its pointers.

What a pointer means is left to the caller: in an object a relocation tells, in a linked file its value does. Sources:
LSB core, exception frames; DWARF 5 section 6.4; psABI table 3.36. Entries of DWARF's 64-bit form do not occur and are
refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from suture.elf.cursor import Cursor

OMITTED = 0xFF
_PC_RELATIVE, _INDIRECT = 0x10, 0x80
_SIZES = {0x00: (8, False), 0x02: (2, False), 0x03: (4, False), 0x04: (8, False), 0x0A: (2, True), 0x0B: (4, True),
          0x0C: (8, True)}  # fmt: skip


class BadCallFrame(ValueError):
    """The bytes are no call frame information that this reader knows."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """A pointer field at `offset` of the section, with its DW_EH_PE encoding; `value` are its bytes as a number."""

    offset: int
    encoding: int
    value: int

    def target(self, address: int) -> int:
        """Where it points in a linked file whose section lies at `address`; the slot's place for an indirect one, 0 for
        none."""
        if not self.value:
            return 0
        return self.value + (address + self.offset if self.encoding & 0x70 == _PC_RELATIVE else 0)


@dataclass(frozen=True, slots=True)
class Common:
    """A common information entry. `augmented`: entries tell how long their augmentation is; `is_signal`: a signal's
    frame."""

    code_align: int
    data_align: int
    return_register: int
    augmented: bool
    is_signal: bool
    pointer_encoding: int
    table_encoding: int
    personality: Pointer | None
    instructions: bytes


@dataclass(frozen=True, slots=True)
class FrameEntry:
    """An entry for `size` bytes of code from `start` on; `table` is the pointer to its language-specific data, if it
    may have one."""

    offset: int
    common: Common
    start: Pointer
    size: int
    table: Pointer | None
    instructions: bytes


class _Reader(Cursor):
    error = BadCallFrame

    def pointer(self, encoding: int) -> Pointer:
        if encoding & 0x0F not in _SIZES or encoding & 0x70 not in (0, _PC_RELATIVE):
            raise BadCallFrame(f"pointer encoding {encoding:#x}")
        size, signed = _SIZES[encoding & 0x0F]
        at = self.at
        return Pointer(at, encoding, int.from_bytes(self.take(size), "little", signed=signed))


def entries(data: bytes) -> Iterator[FrameEntry]:
    """All entries of a section, in its order. Raises `BadCallFrame`."""
    common: dict[int, Common] = {}
    at = 0
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        if length == 0:  # the terminator; more may follow in an object
            at += 4
            continue
        if length < 4 or at + 4 + length > len(data):
            raise BadCallFrame(f"impossible length {length:#x} at {at:#x}")
        reader = _Reader(data, at + 4, at + 4 + length)
        distance = reader.u(4)
        if distance == 0:
            common[at] = _common(reader)
        else:
            owner = common.get(at + 4 - distance)
            if owner is None:
                raise BadCallFrame(f"no common entry for the one at {at:#x}")
            yield _entry(reader, at, owner)
        at += 4 + length


def _common(reader: _Reader) -> Common:
    version = reader.u(1)
    augmentation = reader.text().decode("latin-1")
    code_align, data_align = reader.uleb(), reader.sleb()
    register = reader.u(1) if version == 1 else reader.uleb()
    if version not in (1, 3) or (augmentation and augmentation[0] != "z"):
        raise BadCallFrame(f"version {version}, augmentation {augmentation!r}")
    pointers, tables, personality = 0, OMITTED, None
    if augmentation:
        end = reader.uleb() + reader.at
        for letter in augmentation[1:]:
            if letter == "R":
                pointers = reader.u(1)
            elif letter == "P":
                personality = reader.pointer(reader.u(1))
            elif letter == "L":
                tables = reader.u(1)
            elif letter != "S":
                raise BadCallFrame(f"augmentation {augmentation!r}")
        reader.at = end
    return Common(
        code_align,
        data_align,
        register,
        bool(augmentation),
        "S" in augmentation,
        pointers,
        tables,
        personality,
        reader.data[reader.at : reader.end],
    )


def _entry(reader: _Reader, at: int, common: Common) -> FrameEntry:
    start = reader.pointer(common.pointer_encoding)
    size = reader.pointer(common.pointer_encoding & 0x0F).value
    table, end = None, reader.at
    if common.augmented:
        end = reader.uleb() + reader.at
        if common.table_encoding != OMITTED:
            table = reader.pointer(common.table_encoding)
    if end > reader.end:
        raise BadCallFrame("truncated entry")
    return FrameEntry(at, common, start, size, table, reader.data[end : reader.end])
