"""What the x86-64 linker may do to a relocated field, and what the result implies.

The one module of this room that depends on the architecture. Sources: psABI chapter 4.11 (TLS relaxation) and appendix
B (GOTPCRELX), and what binutils 2.40 emits for them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from suture.elf.abi import R, field_width

_ARITHMETIC = frozenset(
    {0x03, 0x0B, 0x13, 0x1B, 0x23, 0x2B, 0x33, 0x3B}
)  # add or adc sbb and sub xor cmp, memory to register
_LOAD_FS0 = bytes.fromhex("64488b042500000000")  # mov %fs:0, %rax


class Kind(Enum):
    """What an implied number is."""

    ADDRESS = "address"  # of the symbol itself
    CALL = "call"  # where a call to the symbol goes: itself or its PLT entry
    SLOT = "slot"  # of the GOT slot that holds the symbol's address
    THREAD_OFFSET = "thread offset"  # from the thread pointer
    THREAD_SLOT = "thread slot"  # of the GOT slot that holds the offset from the thread pointer
    MODULE_SLOT = "module slot"  # of the GOT pair that __tls_get_addr is given for the symbol
    LOCAL_MODULE_SLOT = "local module slot"  # of the GOT pair for the module itself
    MODULE_OFFSET = "module offset"  # from the start of the module's thread-local block


@dataclass(frozen=True, slots=True)
class Implied:
    """A number that a filled-in field implies for the relocation's symbol."""

    kind: Kind
    value: int


def open_range(data: bytes, r_offset: int, r_type: int) -> tuple[int, int]:
    """Byte range (start, end) of the object's section that the linker may write for one relocation."""
    end = r_offset + field_width(r_type)
    if r_type == R.REX_GOTPCRELX:
        return r_offset - 3, end
    if r_type in (R.GOTPCRELX, R.GOTPCREL):
        return r_offset - 2, end
    if r_type == R.TLSGD:
        return r_offset - 4, r_offset + 12
    if r_type == R.TLSLD:
        indirect = data[r_offset + 4 : r_offset + 5] == b"\xff"
        return r_offset - 3, r_offset + (10 if indirect else 9)
    if r_type == R.GOTTPOFF:
        return r_offset - 3, end
    return r_offset, end


def implied(data: bytes, run: bytes, r_offset: int, r_type: int, addend: int, place: int) -> Implied | None:
    """Read back a relocation.

    `data` and `run` are the section as compiled and as shipped (same length), `place` the link-time address of the
    field. None: the bytes are no edit that is known for this relocation, so the code does not match.
    """
    pc = place + _s32(run, r_offset) - addend if r_offset + 4 <= len(run) else 0
    if r_type == R.PC32:
        return Implied(Kind.ADDRESS, pc)
    if r_type == R.PLT32:
        return Implied(Kind.CALL, pc)
    if r_type == R.R_64:
        return Implied(Kind.ADDRESS, struct.unpack_from("<q", run, r_offset)[0] - addend)
    if r_type == R.PC64:
        return Implied(Kind.ADDRESS, place + struct.unpack_from("<q", run, r_offset)[0] - addend)
    if r_type in (R.R_32, R.R_32S):
        fmt = "<I" if r_type == R.R_32 else "<i"
        return Implied(Kind.ADDRESS, struct.unpack_from(fmt, run, r_offset)[0] - addend)
    if r_type in (R.GOTPCREL, R.GOTPCRELX, R.REX_GOTPCRELX):
        return _got_load(data, run, r_offset, r_type, place, pc)
    if r_type == R.TLSGD:
        return _general_dynamic(data, run, r_offset, place, pc)
    if r_type == R.TLSLD:
        return _local_dynamic(data, run, r_offset, pc)
    if r_type == R.GOTTPOFF:
        return _initial_exec(data, run, r_offset, pc)
    if r_type == R.TPOFF32:
        return Implied(Kind.THREAD_OFFSET, _s32(run, r_offset) - addend)
    if r_type == R.DTPOFF32:
        return Implied(Kind.MODULE_OFFSET, _s32(run, r_offset) - addend)
    return None


def swallowed_until(data: bytes, run: bytes, r_offset: int, r_type: int) -> int:
    """Offset up to which a relaxed TLSGD or TLSLD took the following call of __tls_get_addr with it; 0 when it did
    not."""
    relaxed = (r_type == R.TLSGD and run[r_offset - 4 : r_offset + 5] == _LOAD_FS0) or (
        r_type == R.TLSLD and run[r_offset - 3 : open_range(data, r_offset, r_type)[1]].endswith(_LOAD_FS0)
    )
    return open_range(data, r_offset, r_type)[1] if relaxed else 0


def _got_load(data: bytes, run: bytes, at: int, r_type: int, place: int, pc: int) -> Implied | None:
    low = open_range(data, at, r_type)[0]
    old, new = data[low:at], run[low:at]
    if new == old:
        return Implied(Kind.SLOT, pc)
    if old == b"\xff\x15":
        if new == b"\x67\xe8":
            return Implied(Kind.CALL, pc)
        if new[0] == 0xE8 and run[at + 3] == 0x90:
            return Implied(Kind.CALL, place + 3 + _s32(run, at - 1))
        return None
    if old == b"\xff\x25":
        return Implied(Kind.CALL, place + 3 + _s32(run, at - 1)) if new[0] == 0xE9 and run[at + 3] == 0x90 else None
    opcode, modrm = old[-2], old[-1]
    if opcode == 0x8B and new == old[:-2] + bytes([0x8D, modrm]):
        return Implied(Kind.ADDRESS, pc)
    immediate = _to_immediate(old[:-2], modrm)
    if opcode == 0x8B:
        edits = {immediate(0xC7, 0)}
    elif opcode == 0x85:
        edits = {immediate(0xF7, 0)}
    else:
        edits = {immediate(0x81, opcode >> 3)} if opcode in _ARITHMETIC else set()
    return Implied(Kind.ADDRESS, _s32(run, at)) if new in edits else None


def _to_immediate(prefix: bytes, modrm: int) -> Callable[[int, int], bytes]:
    """The head of `op $imm32, %reg` for one that had `op mem, %reg`: the register moves from ModRM.reg to ModRM.rm,
    REX.R to REX.B."""
    rex = bytes([prefix[0] & ~0x04 | prefix[0] >> 2 & 1]) if prefix else b""
    return lambda opcode, extension: rex + bytes([opcode, 0xC0 | extension << 3 | modrm >> 3 & 7])


def _general_dynamic(data: bytes, run: bytes, at: int, place: int, pc: int) -> Implied | None:
    window = run[at - 4 : at + 12]
    if window[:9] == _LOAD_FS0:
        if window[9:12] == b"\x48\x8d\x80":
            return Implied(Kind.THREAD_OFFSET, _s32(window, 12))
        if window[9:12] == b"\x48\x03\x05":
            return Implied(Kind.THREAD_SLOT, place + 12 + _s32(window, 12))
        return None
    if window[:4] == data[at - 4 : at] and _same_call(data, run, at + 4, at + 8):
        return Implied(Kind.MODULE_SLOT, pc)
    return None


def _local_dynamic(data: bytes, run: bytes, at: int, pc: int) -> Implied | None:
    if swallowed_until(data, run, at, R.TLSLD):
        return Implied(Kind.LOCAL_MODULE_SLOT, 0)
    end = open_range(data, at, R.TLSLD)[1]
    if run[at - 3 : at] == data[at - 3 : at] and _same_call(data, run, at + 4, end - 4):
        return Implied(Kind.LOCAL_MODULE_SLOT, pc)
    return None


def _same_call(data: bytes, run: bytes, low: int, high: int) -> bool:
    """Whether the head of the call of __tls_get_addr is the compiled one, or `call *slot` made a direct call."""
    old, new = data[low:high], run[low:high]
    return new == old or (old[-2:] == b"\xff\x15" and (new[-2:] == b"\x67\xe8" or new[-2] == 0xE8))


def _initial_exec(data: bytes, run: bytes, at: int, pc: int) -> Implied | None:
    old, new = data[at - 3 : at], run[at - 3 : at]
    if new == old:
        return Implied(Kind.THREAD_SLOT, pc)
    rex, opcode, modrm = old
    immediate = _to_immediate(bytes([rex]), modrm)
    if opcode == 0x8B:
        edits = {immediate(0xC7, 0)}
    else:
        register = modrm >> 3 & 7
        lea = bytes([rex | rex >> 2 & 1, 0x8D, 0x80 | register << 3 | register])
        edits = {immediate(0x81, 0), lea} if opcode == 0x03 else set()
    return Implied(Kind.THREAD_OFFSET, _s32(run, at)) if new in edits else None


def _s32(data: bytes, at: int) -> int:
    value: int = struct.unpack_from("<i", data, at)[0]
    return value
