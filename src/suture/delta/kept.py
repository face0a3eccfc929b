"""Whether running code may have kept the address of a constant: who holds it goes on with the old contents, whatever a
patch brings.

Code that reads a constant in place, or through a register that leads nowhere else, keeps nothing. An address that is
stored, passed, returned, or carried where this analysis does not follow, may be kept. For a table of functions that is
enough: a call through an old one goes past the fix. A constant without code is refused where its address surely
outlives a call, stored outside of the stack; what was only passed to a function or may have been returned is noted.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Protocol

import capstone
from capstone import x86

from suture.delta.atom import Atom, AtomKind, AtomObject, Reference
from suture.delta.compare import Difference
from suture.delta.correlation import Pairs
from suture.elf.abi import R
from suture.refusal import RESTART, Refusal

# System V x86-64 psABI, section 3.2: what a call is given, and what it leaves
_ARGUMENTS = frozenset({"rdi", "rsi", "rdx", "rcx", "r8", "r9", "r10"})
_SCRATCH = _ARGUMENTS | {"rax", "r11"}
_STACK = frozenset({"rsp", "rbp"})
_GOT = frozenset({R.GOTPCREL, R.GOTPCRELX, R.REX_GOTPCRELX})
_JUMPS = frozenset({x86.X86_GRP_JUMP, x86.X86_GRP_BRANCH_RELATIVE})


class Escape(Enum):
    """Where an address may go."""

    NAMED = "data holds it"
    PASSED = "it is passed on, may be returned, or goes where the analysis does not follow"
    STORED = "it is written to memory other than the stack"


class ConstantChange(Protocol):
    """What is asked of a unit's change, whatever it runs in."""

    @property
    def pre(self) -> AtomObject: ...
    @property
    def post(self) -> AtomObject: ...
    @property
    def pairs(self) -> Pairs: ...
    @property
    def difference(self) -> Difference: ...


def kept_constants(change: ConstantChange) -> dict[str, Refusal]:
    """Changed constants with the addresses of functions that running code may have kept, and others that it has kept,
    by label in post."""
    found: dict[str, Refusal] = {}
    for new, old in change.pairs.pre_of.items():
        before, after = change.pre.atoms[old], change.post.atoms[new]
        if after.label not in change.difference.changed_constants or after.kind is AtomKind.CODE:
            continue
        if _is_the_languages(before):
            continue
        ways = escapes(change.pre, before)
        if _holds_code(change.pre, before) or _holds_code(change.post, after):
            if ways:
                found[after.label] = _kept(after.label)
        elif Escape.STORED in ways:
            found[after.label] = Refusal(
                f"the fix changes the constant {after.label}, whose address old code has stored; who reads it there "
                "reads the old contents",
                f"give the new constant in code that runs after the patch, or {RESTART}",
            )
    return found


def _kept(label: str) -> Refusal:
    return Refusal(
        f"the fix changes the constant {label}, which has addresses of functions; who was given its address calls "
        "the old ones",
        f"give the new functions in code that runs after the patch, or {RESTART}",
    )


def _holds_code(obj: AtomObject, atom: Atom) -> bool:
    """Whether a constant has the address of a function, or of something of another unit, which may be one."""
    return any(_is_code(obj, atom, ref) for ref in atom.references)


def _is_the_languages(atom: Atom) -> bool:
    return atom.is_type_information or atom.is_vtable or atom.is_indirection or atom.is_pool


def _is_code(obj: AtomObject, atom: Atom, ref: Reference) -> bool:
    if ref.section is None:
        return True
    target = obj.atoms.get(ref.section)
    return target is not None and target.kind is AtomKind.CODE and not obj.points_inside(atom, ref)


def escapes(obj: AtomObject, constant: Atom) -> frozenset[Escape]:
    """How something in the unit may have the constant's address beyond a reading of its contents; empty where nothing
    has."""
    found: set[Escape] = set()
    for atom in obj.atoms.values():
        for ref in atom.references:
            if ref.section == constant.index and atom.index != constant.index:
                found |= {Escape.NAMED} if atom.kind is not AtomKind.CODE else _escapes(atom, ref)
    return frozenset(found)


def _escapes(code: Atom, ref: Reference) -> set[Escape]:
    """How an address that one instruction of code has leaves the registers in which the code reads through it."""
    rows = {i.address: i for i in _decoder().disasm(code.data, 0)}
    at = next((a for a, i in rows.items() if a < ref.offset < a + i.size), None)
    if at is None:
        return {Escape.PASSED}
    first = rows[at]
    if _reads_in_place(first, ref):
        return set()
    if _writes_memory(first):
        return {Escape.STORED}
    if first.id not in (x86.X86_INS_LEA, x86.X86_INS_MOV, x86.X86_INS_MOVABS) or not _is_register(first):
        return {Escape.PASSED}
    found: set[Escape] = set()
    relocated = {r.offset for r in code.references}
    todo = [(at + first.size, frozenset({_whole(first, first.operands[0].reg)}))]
    seen: set[tuple[int, frozenset[str]]] = set()
    while todo:
        place, held = todo.pop()
        if not held or (place, held) in seen:
            continue
        seen.add((place, held))
        insn = rows.get(place)
        if insn is None:
            return found | {Escape.PASSED}
        after = _after(insn, held)
        if after is None:
            found.add(Escape.STORED if _keeps(insn, held) else Escape.PASSED)
            if insn.group(x86.X86_GRP_CALL):
                todo.append((place + insn.size, held - _SCRATCH))
            continue
        if insn.group(x86.X86_GRP_RET) or insn.id in (x86.X86_INS_UD2, x86.X86_INS_HLT):
            continue
        following = place + insn.size
        if any(insn.group(g) for g in _JUMPS) and not insn.group(x86.X86_GRP_CALL):
            if _calls_through(insn, held) and not held & _ARGUMENTS:
                continue
            if insn.operands[0].type != x86.X86_OP_IMM or any(place < r < following for r in relocated):
                found.add(Escape.PASSED)
                continue
            todo.append((insn.operands[0].imm, after))
            if insn.id == x86.X86_INS_JMP:
                continue
        todo.append((following, after))
    return found


def _keeps(insn: capstone.CsInsn, held: frozenset[str]) -> bool:
    """Whether an instruction that lets an address go writes it to memory other than the stack."""
    sources = {_whole(insn, o.reg) for o in insn.operands[1:] if o.type == x86.X86_OP_REG}
    return _writes_memory(insn) and bool(held & sources)


def _writes_memory(insn: capstone.CsInsn) -> bool:
    """Whether the first operand is memory that is written and not on the stack."""
    one = insn.operands[0] if insn.operands else None
    if one is None or one.type != x86.X86_OP_MEM or not one.access & capstone.CS_AC_WRITE:
        return False
    return not one.mem.base or _whole(insn, one.mem.base) not in _STACK


def _reads_in_place(insn: capstone.CsInsn, ref: Reference) -> bool:
    """Whether the field is the displacement of an operand in memory that is read, not an address that is taken."""
    return (
        insn.id != x86.X86_INS_LEA
        and ref.r_type not in _GOT
        and insn.disp_offset
        and insn.address + insn.disp_offset == ref.offset
        and any(o.type == x86.X86_OP_MEM for o in insn.operands)
    )


def _calls_through(insn: capstone.CsInsn, held: frozenset[str]) -> bool:
    """Whether a jump goes where the constant says: a tail call."""
    one = insn.operands[0]
    return one.type == x86.X86_OP_MEM and bool(one.mem.base) and _whole(insn, one.mem.base) in held


def _is_register(insn: capstone.CsInsn) -> bool:
    return bool(insn.operands) and insn.operands[0].type == x86.X86_OP_REG


def _after(insn: capstone.CsInsn, held: frozenset[str]) -> frozenset[str] | None:
    """Registers with the address behind an instruction; None where it may be kept."""
    if insn.group(x86.X86_GRP_CALL):
        inside = {_whole(insn, r) for o in insn.operands if o.type == x86.X86_OP_REG for r in (o.reg,)}
        return None if held & (_ARGUMENTS | inside) else held - _SCRATCH
    if insn.group(x86.X86_GRP_RET):
        return None if "rax" in held or "rdx" in held else frozenset()
    through, used = set[str](), set[str]()
    for one in insn.operands:
        if one.type == x86.X86_OP_MEM:
            through |= {_whole(insn, r) for r in (one.mem.base, one.mem.index) if r}
        elif one.type == x86.X86_OP_REG and one.access & capstone.CS_AC_READ:
            used.add(_whole(insn, one.reg))
    reads, writes = ({_whole(insn, r) for r in regs} for regs in insn.regs_access())
    compares = insn.id in (x86.X86_INS_CMP, x86.X86_INS_TEST)
    if insn.id == x86.X86_INS_LEA:
        used, through = through, set()
    if compares or not held & (used | (reads - through)) or _is_zeroing(insn):
        return held - writes
    moves = (x86.X86_INS_MOV, x86.X86_INS_LEA, x86.X86_INS_ADD, x86.X86_INS_SUB, x86.X86_INS_INC, x86.X86_INS_DEC)
    if insn.id in moves and _is_register(insn):
        return held | {_whole(insn, insn.operands[0].reg)}
    return None


def _is_zeroing(insn: capstone.CsInsn) -> bool:
    return bool(insn.id == x86.X86_INS_XOR and insn.operands[0].reg == insn.operands[1].reg != 0)


def _whole(insn: capstone.CsInsn, register: int) -> str:
    """The 64-bit register that a general register is part of."""
    name = str(insn.reg_name(register) or "")
    return _WHOLE.get(name, name)


def _parts() -> dict[str, str]:
    found = {}
    for one in "abcd":
        found.update({f"e{one}x": f"r{one}x", f"{one}x": f"r{one}x", f"{one}l": f"r{one}x", f"{one}h": f"r{one}x"})
    for one in ("si", "di", "bp", "sp"):
        found.update({f"e{one}": f"r{one}", one: f"r{one}", f"{one}l": f"r{one}"})
    for n in range(8, 16):
        found.update({f"r{n}d": f"r{n}", f"r{n}w": f"r{n}", f"r{n}b": f"r{n}"})
    return found


_WHOLE = _parts()


@lru_cache(maxsize=1)
def _decoder() -> capstone.Cs:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    return decoder
