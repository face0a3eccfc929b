"""The .eh_frame of a live patch: one entry for each stretch of new code, in one form whatever form the compiler gave
it.

All pointers count from their own place (DW_EH_PE_pcrel | sdata4), that to the personality routine through a slot, so
that the tables need no relocation beyond those a patch may have. Sources: LSB core, exception frames; DWARF 5 section
6.4.1.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from suture.delta.frame import Frame
from suture.elf.abi import R
from suture.elf.object_writer import NewRelocation
from suture.number import SectionOffset

SECTION = ".eh_frame"
_POINTER, _THROUGH_SLOT = 0x1B, 0x9B
_ALIGN = 8


@dataclass
class EhFrame:
    """Bytes and relocations of a section under construction. The same calls give the same bytes."""

    data: bytearray
    relocations: list[NewRelocation]
    _common: dict[tuple[object, ...], int] = field(default_factory=dict)

    def add(self, frame: Frame, code: str, table: tuple[str, int] | None, personality: Callable[[str], str]) -> None:
        """Describe code at `frame.start` of the symbol `code`; `table` is symbol and offset of its handlers.

        `personality` gives the patch's symbol for a routine's name.
        """
        common = self._common_of(frame, personality)
        start = len(self.data)
        body = bytearray(struct.pack("<I", start + 4 - common))
        self.relocations.append(NewRelocation(SectionOffset(start + 4 + len(body)), R.PC32, code, frame.start))
        body += bytes(4) + struct.pack("<I", frame.size)
        if frame.personality:
            body += b"\x04"
            if table is not None:
                self.relocations.append(NewRelocation(SectionOffset(start + 4 + len(body)), R.PC32, *table))
            body += bytes(4)
        else:
            body += b"\0"
        self._append(body + frame.instructions)

    def finish(self) -> None:
        """Close the section with the entry of length zero that ends a table."""
        if self.data:
            self.data += bytes(4)

    def _common_of(self, frame: Frame, personality: Callable[[str], str]) -> int:
        common = frame.common
        key = (
            common.code_align,
            common.data_align,
            common.return_register,
            common.is_signal,
            frame.personality,
            common.instructions,
        )
        if key not in self._common:
            self._common[key] = start = len(self.data)
            letters = "z" + ("PL" if frame.personality else "") + "R" + ("S" if common.is_signal else "")
            head = bytes(4) + b"\x01" + letters.encode() + b"\0"
            head += _uleb(common.code_align) + _sleb(common.data_align) + bytes([common.return_register])
            if frame.personality:
                head += bytes([7, _THROUGH_SLOT])
                symbol = personality(frame.personality)
                self.relocations.append(NewRelocation(SectionOffset(start + 4 + len(head)), R.GOTPCREL, symbol, 0))
                head += bytes(4) + bytes([_POINTER, _POINTER])
            else:
                head += bytes([1, _POINTER])
            self._append(bytearray(head + common.instructions))
        return self._common[key]

    def _append(self, body: bytearray) -> None:
        body += bytes(-(len(body) + 4) % _ALIGN)  # DW_CFA_nop
        self.data += struct.pack("<I", len(body)) + body


def _uleb(value: int) -> bytes:
    found = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        found.append(low | (0x80 if value else 0))
        if not value:
            return bytes(found)


def _sleb(value: int) -> bytes:
    found = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        done = value == (-1 if low & 0x40 else 0)
        found.append(low | (0 if done else 0x80))
        if done:
            return bytes(found)
