"""Thread-local references of new code, rewritten to what the running binary uses (psABI chapter 4.11: GD, LD, IE, LE).

New code never gets a slot of its own: it uses the slot that the unit's running code uses, or the constant offset that
the linker put there.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from suture.delta.atom import Reference
from suture.elf.abi import R
from suture.match.linker_edit import Kind
from suture.number import Vaddr

TYPES = frozenset({R.TLSGD, R.TLSLD, R.GOTTPOFF, R.TPOFF32, R.DTPOFF32})
KINDS = (Kind.THREAD_OFFSET, Kind.THREAD_SLOT, Kind.MODULE_SLOT, Kind.LOCAL_MODULE_SLOT, Kind.MODULE_OFFSET)

_LOAD_FS0 = bytes.fromhex("64488b042500000000")  # mov %fs:0, %rax


@dataclass(frozen=True)
class Edit:
    """`writes` are (offset in the atom, bytes). References before `skip_until` belong to the rewritten sequence. `slot`
    is the link-time address of the slot that the field now refers to by PC32, under the patch's `symbol`."""

    writes: tuple[tuple[int, bytes], ...]
    skip_until: int = -1
    slot: Vaddr | None = None
    symbol: str = ""


def edit(data: bytes, ref: Reference, facts: Mapping[Kind, int | None]) -> Edit | None:
    """The edit for one reference, None when the running code shows neither slot nor offset."""
    at = ref.offset
    offset = facts[Kind.THREAD_OFFSET]
    if ref.r_type == R.TPOFF32:
        return _constant(at, offset, ref.addend)
    if ref.r_type == R.DTPOFF32:
        return _constant(at, facts[Kind.MODULE_OFFSET], ref.addend)
    if ref.r_type == R.GOTTPOFF:
        known = facts[Kind.THREAD_SLOT]
        if known is not None:
            return Edit(((at, bytes(4)),), slot=Vaddr(known))
        return _initial_to_local(data, at, offset) if offset is not None else None
    if ref.r_type == R.TLSGD:
        return _general(at, facts)
    slot = facts[Kind.LOCAL_MODULE_SLOT]
    if slot is None:
        return None
    if slot:
        return Edit(((at, bytes(4)),), slot=Vaddr(slot))
    indirect = data[at + 4] == 0xFF
    sequence = b"\x66" * (4 if indirect else 3) + _LOAD_FS0
    return Edit(((at - 3, sequence),), skip_until=at + (10 if indirect else 9))


def _constant(at: int, value: int | None, addend: int) -> Edit | None:
    return None if value is None else Edit(((at, struct.pack("<i", value + addend)),))


def _general(at: int, facts: Mapping[Kind, int | None]) -> Edit | None:
    known = facts[Kind.MODULE_SLOT]
    if known is not None:
        return Edit(((at, bytes(4)),), slot=Vaddr(known))
    offset = facts[Kind.THREAD_OFFSET]
    if offset is None:
        return None
    return Edit(((at - 4, _LOAD_FS0 + b"\x48\x8d\x80" + struct.pack("<i", offset)),), skip_until=at + 12)


def _initial_to_local(data: bytes, at: int, offset: int) -> Edit | None:
    """`mov x@gottpoff(%rip), %reg` to `mov $x, %reg`, `add` to `add $x`, as the linker does."""
    rex, opcode, modrm = data[at - 3], data[at - 2], data[at - 1]
    register = modrm >> 3 & 7
    if rex & 0xFB != 0x48:
        return None
    new_rex = 0x48 | (rex >> 2 & 1)
    if opcode == 0x8B:
        return Edit(((at - 3, bytes([new_rex, 0xC7, 0xC0 | register]) + struct.pack("<i", offset)),))
    if opcode == 0x03:
        return Edit(((at - 3, bytes([new_rex, 0x81, 0xC0 | register]) + struct.pack("<i", offset)),))
    return None
