"""The code and table through which a C++ runtime finds the unwind information of a live patch.

libgcc's unwinder asks one exported function, `_Unwind_Find_FDE(pc, bases)`, for every frame. Its first instructions are
diverted to a *finder* in a patch's memory: for a program counter of the patch it answers from the patch's own table,
for all others it goes on to the next finder, and at last to the *continuation*, which holds the displaced instructions
and leads back behind them. No lock is taken and no memory allocated. Sources: gcc libgcc/unwind-dw2-fde.h (`struct
dwarf_eh_bases`, GCC_3.0 ABI); psABI 3.2.3 (registers); Intel SDM volume 2. The assembly is in
tests/patch/test_finder.py.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from suture.elf.call_frame import BadCallFrame, entries

HOOK_SIZE = 14
FINDER_SIZE = 128
CONTINUATION_SIZE = 64
ROW = struct.Struct("<IIII")
_MOST_DISPLACED = CONTINUATION_SIZE - 4 - HOOK_SIZE
_ENDBR64 = b"\xf3\x0f\x1e\xfa"
_CODE = bytes.fromhex(
    "f30f1efa488d050000000048"
    "89f94829c14881f911111111735f4c8d050000000031d241b9222222224439ca731f468d140a41d1ea"
    "4d89d349c1e30443390c187706418d5201ebe1"
    "4589d1ebdc85d27428ffca48c1e2044c01c23b4a04731a448b0a4901c131c948890e48894e084c894e108b52084801d0c3ff2500000000"
)
_BASE_AT, _LIMIT_AT, _ROWS_AT, _COUNT_AT, _NEXT_AT = 7, 20, 29, 37, 123


class Unmovable(ValueError):
    """The runtime's function begins with an instruction that is not known to work at another address."""


@dataclass(frozen=True)
class Described:
    """Code `start`..`end` of a patch and the place of its entry, all as distances from the load address."""

    start: int
    end: int
    entry: int


def described(section: bytes, at: int) -> list[Described]:
    """What a relocated .eh_frame at distance `at` describes, by rising start. Raises `BadCallFrame`."""
    found = []
    for entry in entries(section):
        start = entry.start.target(at)
        if not 0 < start < 1 << 31 or entry.size <= 0:
            raise BadCallFrame("an entry for no code of the patch")
        found.append(Described(start, start + entry.size, at + entry.offset))
    return sorted(found, key=lambda d: d.start)


def count(section: bytes) -> int:
    """How many entries a .eh_frame has, relocated or not. Raises `BadCallFrame`."""
    return sum(1 for _ in entries(section))


def encode_rows(rows: Sequence[Described]) -> bytes:
    """The table that the finder searches."""
    return b"".join(ROW.pack(r.start, r.end, r.entry, 0) for r in rows)


def decode_rows(data: bytes) -> list[Described]:
    """The inverse of `encode_rows`."""
    return [Described(a, b, c) for a, b, c, _ in ROW.iter_unpack(data[: len(data) // ROW.size * ROW.size])]


def encode_finder(at: int, limit: int, rows: int, number: int, following: int) -> bytes:
    """The finder at distance `at` from the load address; `limit` is the size of the text, `rows` the distance of the
    table with `number` rows, `following` that of the word with the next finder's address."""
    code = bytearray(_CODE)
    struct.pack_into("<i", code, _BASE_AT, -(at + _BASE_AT + 4))
    struct.pack_into("<i", code, _LIMIT_AT, limit)
    struct.pack_into("<i", code, _ROWS_AT, rows - (at + _ROWS_AT + 4))
    struct.pack_into("<I", code, _COUNT_AT, number)
    struct.pack_into("<i", code, _NEXT_AT, following - (at + _NEXT_AT + 4))
    return bytes(code).ljust(FINDER_SIZE, b"\xcc")


def encode_hook(target: int) -> bytes:
    """`jmp *0(%rip)` with the address behind it: it reaches everywhere."""
    return b"\xff\x25\0\0\0\0" + struct.pack("<Q", target)


def hook_target(code: bytes) -> int | None:
    """Where a hook leads, None when the bytes are none."""
    if len(code) < HOOK_SIZE or code[:6] != b"\xff\x25\0\0\0\0":
        return None
    return int(struct.unpack_from("<Q", code, 6)[0])


def encode_continuation(displaced: bytes, following: int) -> bytes:
    """The displaced instructions and the way on to `following`, the address behind them."""
    return (_ENDBR64 + displaced + encode_hook(following)).ljust(CONTINUATION_SIZE, b"\xcc")


def displaced_by(continuation: bytes, start: int) -> bytes | None:
    """The instructions in a continuation that leads back behind `start`, None when it leads elsewhere."""
    for size in range(HOOK_SIZE, _MOST_DISPLACED + 1):
        if hook_target(continuation[4 + size :]) == start + size:
            return continuation[4 : 4 + size]
    return None


def entry_of(code: bytes) -> tuple[int, int]:
    """(offset, size) of the whole instructions that make room for a hook at the start of a function. Raises
    `Unmovable`.

    Known are the instructions that gcc begins this function with, none of which depends on its address.
    """
    first = at = len(_ENDBR64) if code.startswith(_ENDBR64) else 0
    while at - first < HOOK_SIZE:
        at += _length(code[at : at + 16])
    if at - first > _MOST_DISPLACED:
        raise Unmovable("instructions too long")
    return first, at - first


def _length(code: bytes) -> int:
    """Length of one instruction: push, mov or lea between registers or with the stack, sub from the stack pointer."""
    rex = len(code) > 1 and code[0] & 0xF0 == 0x40
    body = code[1:] if rex else code
    wide = rex and bool(code[0] & 8)
    if len(body) < 8:
        raise Unmovable("truncated")
    opcode, modrm, sib = body[0], body[1], body[2]
    if 0x50 <= opcode <= 0x57:
        return rex + 1
    if opcode in (0x89, 0x8B, 0x31, 0x33) and modrm >> 6 == 3:
        return rex + 2
    if (
        opcode in (0x89, 0x8B, 0x8D)
        and modrm >> 6 in (1, 2)
        and modrm & 7 == 4
        and sib == 0x24
        and not (rex and code[0] & 3)
    ):
        return rex + (4 if modrm >> 6 == 1 else 7)
    if wide and modrm == 0xEC and opcode in (0x81, 0x83):
        return rex + (6 if opcode == 0x81 else 3)
    raise Unmovable(f"unknown instruction {code[:8].hex()}")
