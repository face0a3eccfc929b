"""Error codes that a function may return, as its machine code has them: small negative constants that go into the
result register, or into one that is kept over calls and gathers the result (x86-64 psABI, section 3.2.3).

What a called function returns is not seen, so this is a help for whoever looks at a patch and no proof.
"""

from __future__ import annotations

import capstone
from capstone import x86

from suture.delta.atom import AtomFunction

_LARGEST = 4095  # MAX_ERRNO of include/linux/err.h; -1 and errno numbers of user space are among them
_RESULTS = frozenset({
    x86.X86_REG_EAX, x86.X86_REG_RAX, x86.X86_REG_EBX, x86.X86_REG_RBX, x86.X86_REG_EBP, x86.X86_REG_RBP,
    x86.X86_REG_R12D, x86.X86_REG_R12, x86.X86_REG_R13D, x86.X86_REG_R13, x86.X86_REG_R14D, x86.X86_REG_R14,
    x86.X86_REG_R15D, x86.X86_REG_R15,
})  # fmt: skip
_SETS = frozenset({x86.X86_INS_MOV, x86.X86_INS_MOVABS, x86.X86_INS_OR})


def error_codes(function: AtomFunction) -> frozenset[int]:
    """The negative numbers that it may return by itself."""
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    found = set()
    for atom in function.atoms:
        filled = {r.offset for r in atom.references}
        for insn in decoder.disasm(atom.data, 0):
            if insn.id not in _SETS or len(insn.operands) != 2:
                continue
            to, value = insn.operands
            if to.type != x86.X86_OP_REG or to.reg not in _RESULTS or value.type != x86.X86_OP_IMM:
                continue
            number = _signed(value.imm, to.size)
            is_field = any(insn.address <= at < insn.address + insn.size for at in filled)
            if -_LARGEST <= number < 0 and not is_field and (insn.id != x86.X86_INS_OR or number == -1):
                found.add(number)
    return frozenset(found)


def _signed(number: int, size: int) -> int:
    bits = 8 * size
    number &= (1 << bits) - 1
    return number - (1 << bits) if number >> (bits - 1) else number
