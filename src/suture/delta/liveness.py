"""Which call-clobbered registers machine code reads, sets and holds live. Source of the register sets: x86-64 psABI,
section 3.2.

A set of registers is an int with one bit for each *unit*: nine general registers, the low 128 bits and the rest of each
vector register, the mask registers, and x87/MMX as one. Flags, and registers that a callee preserves, are left out.
What an instruction leaves partly as it was is neither read nor set: the unit stays as live as it is behind it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import capstone
from capstone import x86

GENERAL = ("rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11")
_BIT = {name: 1 << n for n, name in enumerate(GENERAL)}
_VECTOR, _UPPER, _MASK, _X87 = 16, 48, 80, 1 << 88
_PARTS = {"rax": "al ah ax", "rcx": "cl ch cx", "rdx": "dl dh dx", "rsi": "sil si", "rdi": "dil di"}
_WHOLE_MOVES = frozenset(
    {
        "movaps",
        "movups",
        "movapd",
        "movupd",
        "movdqa",
        "movdqu",
        "lddqu",
        "movq",
        "movd",
        "movntdqa",
        "pshufd",
        "movddup",
        "movshdup",
        "movsldup",
        "cvtdq2ps",
        "cvtdq2pd",
        "cvtps2pd",
        "cvtps2dq",
        "cvttps2dq",
        "cvtpd2ps",
        "cvtpd2dq",
        "cvttpd2dq",
    }
)  # legacy SSE; every other one may keep a part of its target
_KEEPS_TARGET = frozenset({"bsf", "bsr", "cmpxchg"})
_ZEROING = re.compile(r"v?(xor|sub|sbb|pxor[dq]?|xorp[sd]|psub[bwdq]|pcmp(eq|gt)[bwdq])\Z")

ALL = sum(_BIT.values()) | ((1 << 64) - 1) << _VECTOR | 255 << _MASK | _X87
INTEGER_ARGUMENTS = tuple(_BIT[r] for r in ("rdi", "rsi", "rdx", "rcx", "r8", "r9"))
VECTOR_ARGUMENTS = tuple((1 << _VECTOR + n) | (1 << _UPPER + n) for n in range(8))
RETURN_REGISTERS = _BIT["rax"] | _BIT["rdx"] | VECTOR_ARGUMENTS[0] | VECTOR_ARGUMENTS[1] | _X87
RAX = _BIT["rax"]
ANY_ARGUMENT = sum(INTEGER_ARGUMENTS) | sum(VECTOR_ARGUMENTS) | _BIT["r10"]  # r10: the static chain
_SYSCALL_READS = sum(_BIT[r] for r in ("rax", "rdi", "rsi", "rdx", "r10", "r8", "r9"))
_SYSCALL_SETS = _BIT["rax"] | _BIT["rcx"] | _BIT["r11"]


def register_names(units: int) -> tuple[str, ...]:
    """Names of a set, in a fixed order; `ymm3` stands for the part of vector register 3 above 128 bits."""
    named = [r for r in GENERAL if units & _BIT[r]]
    named += [f"xmm{n}" for n in range(32) if units >> _VECTOR + n & 1]
    named += [f"ymm{n}" for n in range(32) if units >> _UPPER + n & 1]
    named += [f"k{n}" for n in range(8) if units >> _MASK + n & 1]
    return (*named, "st") if units & _X87 else tuple(named)


class Flow(Enum):
    """How control leaves an instruction. STOP: it never goes on."""

    NEXT = "next"
    CALL = "call"
    JUMP = "jump"
    BRANCH = "branch"
    RETURN = "return"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Effect:
    """What one instruction reads, sets whole and may change; `target` is its direct branch target, None for an indirect
    one."""

    read: int
    set: int
    changed: int
    flow: Flow
    relative: int | None


@dataclass(frozen=True, slots=True)
class FlowStep:
    """An instruction at `offset` (`size` bytes) in section number `section`."""

    section: int
    offset: int
    size: int
    effect: Effect


def decode(code: bytes, section: int, start: int) -> Iterator[FlowStep]:
    """Linear sweep over bytes that stand at `start` of a section. Undecodable bytes end it with a STOP that changes
    everything."""
    at = 0
    for insn in _decoder().disasm(code, 0):
        at = insn.address + insn.size
        yield FlowStep(section, start + insn.address, insn.size, _effect_of(bytes(insn.bytes)))
    if at < len(code):
        yield FlowStep(section, start + at, len(code) - at, Effect(ALL, 0, ALL, Flow.STOP, None))


@lru_cache(maxsize=1)
def _decoder() -> capstone.Cs:
    return capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)


@lru_cache(maxsize=1)
def _detailed() -> capstone.Cs:
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    return decoder


@lru_cache(maxsize=1)
def _units() -> Mapping[int, tuple[int, bool]]:
    """For each capstone register: its units, and whether writing it sets them whole (a 32-bit write clears the upper
    half)."""
    decoder = _decoder()
    found: dict[int, tuple[int, bool]] = {}
    for register in range(1, x86.X86_REG_ENDING):
        name: str = decoder.reg_name(register) or ""
        if vector := re.fullmatch(r"([xyz])mm(\d+)", name):
            number = int(vector[2])
            low, upper = 1 << _VECTOR + number, 1 << _UPPER + number
            found[register] = (low if vector[1] == "x" else low | upper, True)
        elif mask := re.fullmatch(r"k([0-7])", name):
            found[register] = (1 << _MASK + int(mask[1]), True)
        elif re.fullmatch(r"mm\d|st(\(\d\))?|fpsw", name):
            found[register] = (_X87, False)
        elif high := re.fullmatch(r"(r(?:8|9|10|11))([dwb]?)", name):
            found[register] = (_BIT[high[1]], high[2] in ("", "d"))
        for whole, parts in _PARTS.items():
            if name in parts.split():
                found[register] = (_BIT[whole], False)
            elif name in (whole, "e" + whole[1:]):
                found[register] = (_BIT[whole], True)
    return found


@lru_cache(maxsize=1 << 16)
def _effect_of(raw: bytes) -> Effect:
    insn = next(iter(_detailed().disasm(raw, 0)))
    name = insn.mnemonic.split()[-1]
    flow, relative = _flow(insn, name)
    if name in ("syscall", "sysenter"):
        return Effect(_SYSCALL_READS, _SYSCALL_SETS, _SYSCALL_SETS, flow, relative)
    units = _units()
    readers, writers = insn.regs_access()
    read, changed, whole = 0, 0, 0
    for register in readers:
        read |= units.get(register, (0, False))[0]
    for register in writers:
        mask, full = units.get(register, (0, False))
        changed |= mask
        whole |= mask if full else 0
    if name == "cmpxchg":
        changed |= RAX
        read |= units.get(insn.operands[0].reg, (0, False))[0] if insn.operands[0].type == x86.X86_OP_REG else 0
    if name[0] == "f" or changed & _X87 or read & _X87:
        read, changed = read | _X87, changed | _X87
    if name == "vzeroupper":
        uppers = 0xFFFF << _UPPER
        return Effect(0, uppers, uppers, flow, relative)
    if name == "vzeroall":
        vectors = 0xFFFF << _UPPER | 0xFFFF << _VECTOR
        return Effect(0, vectors, vectors, flow, relative)
    vectors = changed >> _VECTOR & (1 << 32) - 1
    if vectors and name[0] == "v":  # a VEX or EVEX write clears what lies above it
        changed |= vectors << _UPPER
        whole |= vectors << _UPPER
    zeroing = _is_zeroing(insn, name)
    if zeroing:
        read = 0
    elif name.startswith("cmov") or name in _KEEPS_TARGET or "gather" in name:
        whole = 0
    elif vectors and name[0] != "v" and not _sets_whole_vector(insn, name):
        whole &= ~(vectors << _VECTOR)
    return Effect(read, whole, changed, flow, relative)


def _flow(insn: capstone.CsInsn, name: str) -> tuple[Flow, int | None]:
    """`relative` is the target's distance from the instruction's first byte."""
    if insn.group(capstone.CS_GRP_RET) or insn.group(capstone.CS_GRP_IRET):
        return Flow.RETURN, None
    if name in ("ud2", "ud1", "ud0", "hlt"):
        return Flow.STOP, None
    direct = insn.operands[0].imm if insn.operands and insn.operands[0].type == x86.X86_OP_IMM else None
    if insn.group(capstone.CS_GRP_CALL):
        return Flow.CALL, direct
    if insn.group(capstone.CS_GRP_JUMP) or name.startswith("loop"):
        return (Flow.JUMP if name in ("jmp", "ljmp") else Flow.BRANCH), direct
    return Flow.NEXT, None


def _is_zeroing(insn: capstone.CsInsn, name: str) -> bool:
    """The result does not depend on the register that is read: xor r,r and its like, or r,-1, and r,0."""
    operands = insn.operands
    if _ZEROING.match(name):
        sources = operands[-2:]
        return len(sources) == 2 and all(o.type == x86.X86_OP_REG for o in sources) and sources[0].reg == sources[1].reg
    if name in ("or", "and") and operands[0].type == x86.X86_OP_REG and operands[1].type == x86.X86_OP_IMM:
        ones = (1 << 8 * operands[0].size) - 1
        return bool((operands[1].imm & ones) == (ones if name == "or" else 0))
    return False


def _sets_whole_vector(insn: capstone.CsInsn, name: str) -> bool:
    if name in ("movss", "movsd"):
        return bool(insn.operands[1].type == x86.X86_OP_MEM)
    return name in _WHOLE_MOVES


Place = tuple[int, int]
"""A section's number and an offset in it."""


@dataclass(frozen=True)
class Leaving:
    """What control leaving the function at a step means: registers that it reads, and registers that hold nothing
    behind it."""

    read: int
    lost: int


def live_registers(
    steps: Sequence[FlowStep],
    successors: Callable[[FlowStep], Sequence[Place]],
    leaves: Callable[[FlowStep], Leaving | None],
    at_return: int,
) -> tuple[dict[Place, int], dict[Place, int]]:
    """Registers live before and behind each step: the least solution of the usual backward equations.

    `successors` gives where control goes other than to the next step, of which places outside of `steps` are passed
    over; `leaves` is asked for calls and jumps and answers None when control stays inside; `at_return` is live at a
    return.
    """
    place_of = {(s.section, s.offset): n for n, s in enumerate(steps)}
    count = len(steps)
    follow: list[list[int]] = []
    read: list[int] = []
    keep: list[int] = []
    for step in steps:
        effect, left = step.effect, None
        goes_on = effect.flow in (Flow.NEXT, Flow.CALL, Flow.BRANCH)
        inside: list[int] = []
        if effect.flow in (Flow.CALL, Flow.JUMP, Flow.BRANCH):
            left = leaves(step)
            inside = [place_of[p] for p in successors(step) if p in place_of]
        following = place_of.get((step.section, step.offset + step.size))
        if goes_on and following is not None:
            inside.append(following)
        follow.append(inside)
        uses = effect.read | (left.read if left else 0) | (at_return if effect.flow is Flow.RETURN else 0)
        read.append(uses)
        # a branch that may leave does not lose what the other way needs
        keep.append(ALL & ~effect.set & ~(left.lost if left and effect.flow is Flow.CALL else 0))
    before = [0] * count
    behind = [0] * count
    changed = True
    while changed:
        changed = False
        for number in range(count - 1, -1, -1):
            live = 0
            for other in follow[number]:
                live |= before[other]
            behind[number] = live
            entering = live & keep[number] | read[number]
            if entering != before[number]:
                before[number] = entering
                changed = True
    return {p: before[n] for p, n in place_of.items()}, {p: behind[n] for p, n in place_of.items()}
