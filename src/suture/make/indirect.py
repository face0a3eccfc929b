"""An instruction that names a variable of another binary directly, made to reach it through a slot.

Code of a program may be compiled as if the variable lay in the program: the linker makes a copy of it there (COPY
relocation) for code that it links. A running program has no copy of what its old code did not use, and the variable
itself is out of reach. So the instruction becomes a jump to a *detour* that takes the address from a slot, does the
same with it, and jumps back. Flags stay as they are, and a register that has to be borrowed is kept below the red zone
(x86-64 psABI, 3.2.2). Instruction formats: Intel SDM volume 2.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import capstone
from capstone import x86

# those that need no prefix and no SIB byte as a base
_BASES = {
    x86.X86_REG_RAX: 0,
    x86.X86_REG_RCX: 1,
    x86.X86_REG_RDX: 2,
    x86.X86_REG_RBX: 3,
    x86.X86_REG_RSI: 6,
    x86.X86_REG_RDI: 7,
}
_PARTS = (
    "rax eax ax al ah",
    "rcx ecx cx cl ch",
    "rdx edx dx dl dh",
    "rbx ebx bx bl bh",
    "rsi esi si sil",
    "rdi edi di dil",
)
_WHOLE = {part: n for n, parts in zip(_BASES.values(), _PARTS, strict=True) for part in parts.split()}  # fmt: skip
_LOADS = frozenset({"mov", "movzx", "movsx", "movsxd", "lea"})
_AWAY, _BACK = b"\x48\x8d\x64\x24\x80", b"\x48\x8d\xa4\x24\x80\0\0\0"  # lea -128(%rsp), %rsp and lea 128(%rsp), %rsp


@dataclass(frozen=True)
class Detour:
    """`code` up to the jump back, and the offset in it of the 4-byte field that names the slot, PC-relative."""

    code: bytes
    slot: int


def detour(raw: bytes, field: int, offset: int) -> Detour | None:
    """For the instruction `raw`, whose 4 bytes at `field` would hold the distance to the variable's byte `offset`.

    None for one that branches, uses the stack, or has another form.
    """
    insn = _decode(raw)
    if (
        insn is None
        or insn.size != len(raw)
        or any(insn.group(g) for g in (capstone.CS_GRP_JUMP, capstone.CS_GRP_CALL))
    ):
        return None
    memory = [o.mem for o in insn.operands if o.type == x86.X86_OP_MEM]
    if len(memory) != 1 or memory[0].base != x86.X86_REG_RIP or insn.disp_offset != field:
        return None
    names = {str(insn.reg_name(r)) for rows in insn.regs_access() for r in rows} - {"rip"}
    if any(n in ("rsp", "esp", "sp", "spl") for n in names):
        return None
    target = insn.operands[0]
    whole = _WHOLE.get(str(insn.reg_name(target.reg))) if target.type == x86.X86_OP_REG and target.size >= 4 else None
    borrowed = whole is None or insn.mnemonic not in _LOADS
    used = {_WHOLE[n] for n in names if n in _WHOLE}
    base = next((b for b in _BASES.values() if b not in used), None) if borrowed else whole
    if base is None:
        return None
    changed = bytearray(raw)
    changed[insn.modrm_offset] = raw[insn.modrm_offset] & 0x38 | 0x80 | base
    struct.pack_into("<i", changed, field, offset)
    again = _decode(bytes(changed))
    if again is None or again.size != len(raw) or again.mnemonic != insn.mnemonic:
        return None
    found = [o.mem for o in again.operands if o.type == x86.X86_OP_MEM]
    if len(found) != 1 or _BASES.get(found[0].base) != base or found[0].index or found[0].disp != offset:
        return None
    before = _AWAY + bytes([0x50 | base]) if borrowed else b""
    after = bytes([0x58 | base]) + _BACK if borrowed else b""
    load = bytes([0x48, 0x8B, base << 3 | 5])  # mov slot(%rip), base
    return Detour(before + load + bytes(4) + bytes(changed) + after, len(before) + len(load))


def _decode(raw: bytes) -> capstone.CsInsn | None:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    return next(decoder.disasm(raw, 0, 1), None)
