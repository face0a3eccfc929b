"""The code bytes that a placed patch consists of beside compiled code: entry jumps, switch stubs, import thunks.

The one module of this room that depends on the machine. Source: Intel SDM volume 2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from suture.number import Address

PAGE = 4096
JUMP_SIZE = 5
REACH = 1 << 31
STUB_SIZE = 32
UNUSED = b"\2"  # a switch that has never been switched
MOST_ENTRY = 20  # offset of a jump in a function: behind an endbr64 and 16 bytes of instructions that new code undoes


def jump(address: Address, target: Address) -> bytes:
    """`jmp target` placed at `address`. Raises ValueError out of reach."""
    distance = target - (address + JUMP_SIZE)
    if not -REACH <= distance < REACH:
        raise ValueError(f"{target:#x} is out of reach of a jump at {address:#x}")
    return b"\xe9" + struct.pack("<i", distance)


def jump_target(address: Address, code: bytes) -> Address | None:
    """Where the `jmp rel32` at `address` goes, None when the code is something else."""
    if len(code) < JUMP_SIZE or code[0] != 0xE9:
        return None
    return Address((address + JUMP_SIZE + struct.unpack_from("<i", code, 1)[0]) % (1 << 64))


@dataclass(frozen=True)
class Stub:
    """A switch stub: to `to` when the byte at `switch` is not 0, else to `origin`. Until a group is switched for the
    first time the byte is UNUSED, and no entry leads to a stub that asks it."""

    switch: Address
    to: Address
    origin: Address


def encode_stub(address: Address, stub: Stub) -> bytes:
    """The bytes of a stub at `address`. Raises ValueError when something is out of reach."""
    distances = (stub.switch - (address + 7), stub.to - (address + 13), stub.origin - (address + 18))
    if any(not -REACH <= d < REACH for d in distances):
        raise ValueError(f"a switch stub at {address:#x} does not reach what it needs")
    code = b"\x80\x3d" + struct.pack("<iB", distances[0], 0) + b"\x0f\x85" + struct.pack("<i", distances[1])
    return (code + b"\xe9" + struct.pack("<i", distances[2])).ljust(STUB_SIZE, b"\xcc")


def reaches(address: Address, switch: Address) -> bool:
    """Whether a stub at `address` can ask the byte at `switch`."""
    return -REACH <= switch - (address + 7) < REACH


def decode_stub(address: Address, code: bytes) -> Stub | None:
    """What a stub at `address` says, None when the bytes are none."""
    if len(code) < 18 or code[:2] != b"\x80\x3d" or code[6] != 0 or code[7:9] != b"\x0f\x85" or code[13] != 0xE9:
        return None
    switch, to, origin = (struct.unpack_from("<i", code, at)[0] for at in (2, 9, 14))
    return Stub(Address(address + 7 + switch), Address(address + 13 + to), Address(address + 18 + origin))


def import_thunk(address: Address, slot: Address) -> bytes:
    """`jmp *slot(%rip)` (6 bytes, padded to 8)."""
    return (b"\xff\x25" + struct.pack("<i", slot - (address + 6))).ljust(8, b"\xcc")
