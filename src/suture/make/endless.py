"""Functions that never return: main loops. A thread in one stays in its old code, however long one waits.

Told from the code alone: no instruction returns or leaves the function for another, and one leads back to an earlier
place. A function that only ends the program has no such way back and is none.
"""

from __future__ import annotations

from collections.abc import Sequence

import capstone


def never_returns(bodies: Sequence[tuple[int, bytes]], has_switch: bool) -> bool:
    """Whether a function, given as (address, code) of its parts, loops for ever. `has_switch`: its indirect jumps are
    those of a switch."""
    inside = [range(address, address + len(code)) for address, code in bodies]
    disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    disassembler.detail = True
    loops = False
    for address, code in bodies:
        decoded = 0
        for instruction in disassembler.disasm(code, address):
            decoded += instruction.size
            if instruction.group(capstone.CS_GRP_RET) or instruction.group(capstone.CS_GRP_IRET):
                return False
            if instruction.group(capstone.CS_GRP_JUMP):
                operand = instruction.operands[0]
                if operand.type != capstone.x86.X86_OP_IMM:
                    if has_switch:
                        continue
                    return False  # a call of another function at the end
                if not any(operand.imm in body for body in inside):
                    return False
                loops |= operand.imm <= instruction.address
        if decoded != len(code):
            return False
    return loops
