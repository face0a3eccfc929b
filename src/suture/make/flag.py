"""Whether code may ask for flags (EFLAGS) that were set before it. Source: Intel SDM volume 1, 3.4.3 and appendix A, as
capstone tells it."""

from __future__ import annotations

import capstone
from capstone import x86

_ALL = frozenset({"CF", "PF", "AF", "ZF", "SF", "OF"})
_UNTOLD = ("rcl", "rcr", "fcmov", "cmc", "adcx", "adox", "loope", "loopne")
"""Instructions that read flags and of which capstone does not tell it, or may not: what their names begin with."""
_LONGEST = 15  # bytes of an instruction


def _bits(*kinds: str) -> dict[str, int]:
    return {f: sum(getattr(x86, f"X86_EFLAGS_{kind}_{f}", 0) for kind in kinds) for f in sorted(_ALL)}


_ASKS = _bits("TEST")
_WRITES = _bits("MODIFY", "RESET", "SET", "UNDEFINED")


def asks_for_flags(decoder: capstone.Cs, code: bytes, at: int) -> bool:
    """Whether some way through a function's `code` from offset `at` on reads a flag before it is written anew. What is
    not understood reads all; a callee, a caller and other functions read none. `decoder` gives details."""
    ways = [(at, _ALL)]
    seen: set[tuple[int, frozenset[str]]] = set()
    while ways:
        offset, live = ways.pop()
        if (offset, live) in seen or not live or not 0 <= offset < len(code):
            continue
        seen.add((offset, live))
        insn = next(iter(decoder.disasm(code[offset : offset + _LONGEST], offset, 1)), None)
        if insn is None or live & _asked(insn):
            return True
        if insn.group(capstone.CS_GRP_CALL) or insn.group(capstone.CS_GRP_RET):
            continue
        live -= _written(insn)
        if insn.group(capstone.CS_GRP_JUMP):
            if insn.operands[0].type != x86.X86_OP_IMM:
                return bool(live)
            ways.append((insn.operands[0].imm, live))
            if insn.mnemonic == "jmp":
                continue
        ways.append((offset + insn.size, live))
    return False


def _asked(insn: capstone.CsInsn) -> frozenset[str]:
    if insn.mnemonic.startswith(_UNTOLD):
        return _ALL
    if "rflags" not in {str(insn.reg_name(r)) for r in insn.regs_access()[0]}:
        return frozenset()
    named = frozenset(f for f, bit in _ASKS.items() if insn.eflags & bit)
    return _ALL if insn.group(x86.X86_GRP_FPU) or not named else named


def _written(insn: capstone.CsInsn) -> frozenset[str]:
    if insn.group(x86.X86_GRP_FPU):  # the same field means others for these
        return frozenset()
    return frozenset(f for f, bit in _WRITES.items() if insn.eflags & bit)
