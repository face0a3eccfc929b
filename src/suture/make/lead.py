"""Instructions at a function's start that are done before the jump to its new code, and the code that takes them back.

What counts is the state that a caller may rely on at a call (x86-64 psABI, 3.2.1 and 3.5.7): the stack, the registers
that a callee preserves, and those that hold arguments. Flags mean nothing to a caller; `al` bounds the number of
vector registers that a variadic call uses, so 8 is right for any call.
"""

from __future__ import annotations

import struct

import capstone
from capstone import x86

_HARMLESS = frozenset({"nop", "endbr64", "test", "cmp", "mov", "movabs", "xor", "lea"})
_PARTS = ("rax eax ax al ah", "rbx ebx bx bl bh", "rbp ebp bp bpl", *(f"r{n} r{n}d r{n}w r{n}b" for n in range(12, 16)))
_WHOLE = {part: parts.split()[0] for parts in _PARTS for part in parts.split()}
_VARIADIC = b"\xb8" + struct.pack("<I", 8)  # mov $8, %eax


class Lead:
    """Grows by one instruction at a time, as long as each can be undone."""

    def __init__(self) -> None:
        self._pushed: set[str] = set()
        self._back = b""
        self._sets_rax = False
        self.sets_flags = False
        """Whether old code behind the jump could ask for flags that these instructions have set."""

    @property
    def undo(self) -> bytes:
        return self._back + (_VARIADIC if self._sets_rax else b"")

    def take(self, insn: capstone.CsInsn) -> bool:
        """Add an instruction; False, and nothing is added, for one that cannot be undone."""
        if not self._add(insn):
            return False
        self.sets_flags |= "rflags" in {str(insn.reg_name(r)) for r in insn.regs_access()[1]}
        return True

    def _add(self, insn: capstone.CsInsn) -> bool:
        raw, name = bytes(insn.bytes), str(insn.mnemonic)
        # a REX prefix at most: with 66 it pushes two bytes, which keep no register
        if name == "push" and raw[-1] & 0xF8 == 0x50 and raw != b"\x54" and (len(raw) == 1 or raw[0] & 0xF0 == 0x40):
            self._pushed.add(_whole(insn, insn.operands[0].reg))
            self._back = raw[:-1] + bytes([raw[-1] + 8]) + self._back  # pop
            return True
        if name == "sub" and [o.type for o in insn.operands] == [x86.X86_OP_REG, x86.X86_OP_IMM]:
            if insn.operands[0].reg != x86.X86_REG_RSP:
                return False
            self._back = (
                b"\x48\x8d\xa4\x24" + struct.pack("<i", insn.operands[1].imm) + self._back
            )  # lea imm(%rsp), %rsp
            return True
        if name not in _HARMLESS or (name != "lea" and any(o.type == x86.X86_OP_MEM for o in insn.operands)):
            return name == "nop"
        written = {_whole(insn, r) for r in insn.regs_access()[1]} - {"rflags"}
        if not written <= self._pushed | {"rax"}:
            return False
        self._sets_rax |= "rax" in written
        return True


def _whole(insn: capstone.CsInsn, register: int) -> str:
    name = str(insn.reg_name(register))
    return _WHOLE.get(name, name)
