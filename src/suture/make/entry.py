"""The entry of an old function: where its jump goes, and what the displaced instructions become elsewhere.

The *original thunk* does what the overwritten bytes did, at another address, and goes on behind them. Only the
function's own bytes are looked at here; that no thread stands inside them is the applier's business. Instruction
formats: Intel SDM volume 2, chapter 2 and the pages of Jcc, JMP, CALL, LOOP.

The jump stands at the function's start (behind an endbr64) where its five bytes may be written in one go and nothing
leads into them. Else it stands behind the first instructions that a new function can undo (`make/lead.py`). That keeps
every rule of the switch:
- A function that begins at the end of a page: the whole jump lies in the next one, so that it is one write, which is
  done or not done when the applier dies.
- A loop whose head lies in the first five bytes: the jump stands at the loop's head. Until the switch, and where a
  group stays busy, the old code runs by way of the thunk; its branch back meets the jump and goes through stub and
  thunk again, which do what stood there. At the switch no frame is in the old code, by the strict rule, and afterwards
  nothing begins it; a revert puts the bytes back when nobody is in the new code. In relaxed mode an old frame would
  come to the new function in the middle of its work: refused.

It never stands where the old code behind it may ask for flags that the code before it has set: a stub on the way to the
old code, which an applier that died leaves there, compares too.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import capstone
from capstone import x86

from suture.elf.abi import R
from suture.elf.object_writer import NewRelocation
from suture.make.flag import asks_for_flags
from suture.make.lead import Lead
from suture.number import SectionOffset, Vaddr
from suture.patch.x86_64 import JUMP_SIZE, MOST_ENTRY
from suture.refusal import RESTART, Refusal

ENDBR64 = b"\xf3\x0f\x1e\xfa"
_PAGE = 4096
_LITERAL = re.compile(r"-?(?:0x)?[0-9a-f]+\Z")
_RIP_RELATIVE = re.compile(r"\[[re]ip(?: ([+-]) (0x[0-9a-f]+|[0-9]+))?\]")
_BRANCH_PREFIXES = frozenset(b"\x26\x2e\x36\x3e\x64\x65\x66\x67\xf2\xf3") | frozenset(range(0x40, 0x50))
_SHORT_ONLY = frozenset({"loop", "loope", "loopne", "jrcxz", "jecxz", "jcxz"})
_FAR = frozenset(
    {"ljmp", "lcall", "retf", "retfq", "iret", "iretd", "iretq", "sysret", "sysretq", "sysexit", "sysexitq"}
)
_NO_RETURN = frozenset({"ud2", "ud1", "ud0", "hlt"})

_LEAVE = f"leave this function out, or {RESTART}"


@dataclass(frozen=True)
class Entry:
    """How to divert one function.

    `entry` is the jump's offset in the function, `displaced` the bytes of whole instructions there (at least 5).
    `thunk` is position-independent code; `relocations` have offsets into it and name symbols that are defined by
    `symbols` (link-time addresses in the image). `undo` takes back what the instructions before the jump have done; the
    new function begins with it.
    """

    entry: int
    displaced: int
    thunk: bytes
    relocations: tuple[NewRelocation, ...]
    symbols: Mapping[str, Vaddr] = field(default_factory=dict)
    undo: bytes = b""


def plan_entry(code: bytes, address: Vaddr, targets: Iterable[int] = (), relaxed: bool = False) -> Entry | Refusal:
    """Decide where the 5-byte jump goes in a function and make its original thunk.

    `code` are all bytes of the function as linked, `address` its link-time address. `targets` are offsets of branch
    targets that the code does not show: entries of switch tables, landing pads, and returns from its cold part.
    `relaxed`: old frames may go on in the old code.
    """
    start = len(ENDBR64) if code.startswith(ENDBR64) else 0
    shown = _references(code, address)
    first = _divert(code, address, start, shown, frozenset(targets))
    if isinstance(first, Entry) or isinstance(shown, Refusal):
        return first
    branches = {*targets, *(t - address for t in shown.branches)}
    lead = Lead()
    for insn in _detailed().disasm(code[start:MOST_ENTRY], address + start):
        if not lead.take(insn):
            break
        at = insn.address + insn.size - address
        if relaxed and any(t <= at for t in branches):
            break
        if lead.sets_flags and asks_for_flags(_detailed(), code, at):
            continue
        found = _divert(code, address, at, shown, frozenset(targets))
        if isinstance(found, Entry):
            return replace(found, undo=lead.undo)
    return first


def _divert(
    code: bytes, address: Vaddr, entry: int, shown: _References | Refusal, targets: frozenset[int]
) -> Entry | Refusal:
    """With the jump at offset `entry`, an instruction's start."""
    end = entry + JUMP_SIZE
    if len(code) < end:
        return Refusal(
            f"function is too short: {len(code)} bytes, a jump needs {end}",
            f"replace its callers instead, or {RESTART}",
        )
    if (address + entry) // _PAGE != (address + end - 1) // _PAGE:
        return Refusal(
            f"the entry at {address + entry:#x} straddles a page, its bytes cannot change at once, and what stands "
            "before the next place for it cannot be undone",
            _LEAVE,
        )
    if isinstance(shown, Refusal):
        return shown
    for target in sorted({*targets, *(t - address for t in shown.branches | shown.addresses)}):
        if entry < target < end:
            return Refusal(f"a branch or reference goes to offset {target}, inside the bytes to be overwritten", _LEAVE)
    thunk = _Thunk(address)
    displaced = entry
    for insn in _detailed().disasm(code[entry : entry + JUMP_SIZE + 15], address + entry):
        if displaced >= end:
            break
        displaced += insn.size
        refusal = thunk.move(insn)
        if refusal is not None:
            return refusal
        if thunk.calls and displaced < end:
            return Refusal(f"a call at {insn.address:#x} returns into the bytes to be overwritten", _LEAVE)
    thunk.close(Vaddr(address + displaced))
    return Entry(entry, displaced - entry, bytes(thunk.code), tuple(thunk.relocations), thunk.symbols)


@dataclass(frozen=True)
class _References:
    """Link-time addresses that a function's code names: `branches` by jumps, `addresses` by calls and RIP-relative
    operands."""

    branches: frozenset[Vaddr]
    addresses: frozenset[Vaddr]


def _references(code: bytes, address: Vaddr) -> _References | Refusal:
    """All that a linear sweep shows. The whole function must decode: what is not understood may branch anywhere."""
    branches: set[Vaddr] = set()
    addresses: set[Vaddr] = set()
    at = address
    for start, size, mnemonic, operands in _plain().disasm_lite(code, address):
        at = start + size
        if _LITERAL.match(operands) and (
            mnemonic.split()[-1][0] == "j" or mnemonic in _SHORT_ONLY or mnemonic == "xbegin"
        ):
            branches.add(Vaddr(int(operands, 0)))
        elif _LITERAL.match(operands) and mnemonic.split()[-1] == "call":
            addresses.add(Vaddr(int(operands, 0)))
        elif (found := _RIP_RELATIVE.search(operands)) is not None:
            distance = int(found[2] or "0", 0)
            addresses.add(Vaddr(at + (-distance if found[1] == "-" else distance)))
    if at != address + len(code):
        return Refusal(
            f"the bytes at {at:#x} (offset {at - address}) do not decode, so its branches are not all known", _LEAVE
        )
    return _References(frozenset(branches), frozenset(addresses))


class _Thunk:
    """Code that grows one moved instruction at a time."""

    def __init__(self, address: Vaddr) -> None:
        self.address = address
        self.code = bytearray()
        self.relocations: list[NewRelocation] = []
        self.symbols: dict[str, Vaddr] = {}
        self.calls = False
        self._ended = False

    def move(self, insn: capstone.CsInsn) -> Refusal | None:
        """Append one displaced instruction. Behind an instruction that never goes on nothing is reached, so nothing is
        kept."""
        if self._ended:
            return None
        name = insn.mnemonic.split()[-1]
        refusal = _immovable(insn, name)
        if refusal is not None:
            return refusal
        direct = bool(insn.operands) and insn.operands[0].type == x86.X86_OP_IMM
        if name == "call":
            self._call(insn, direct)
        elif insn.group(capstone.CS_GRP_JUMP) and direct:
            condition = _condition(bytes(insn.bytes))
            self._branch(b"\xe9" if condition is None else bytes([0x0F, 0x80 | condition]), insn.operands[0].imm)
            self._ended = condition is None
        else:
            self._copy(insn, bytes(insn.bytes))
            self._ended = name in _NO_RETURN or insn.group(capstone.CS_GRP_JUMP) or insn.group(capstone.CS_GRP_RET)
        return None

    def close(self, following: Vaddr) -> None:
        """Go on in the old function at link-time address `following`."""
        if not self._ended:
            self._branch(b"\xe9", following)

    def _call(self, insn: capstone.CsInsn, direct: bool) -> None:
        """Push the return address that the old code would have pushed and jump, so that no frame ever returns into the
        thunk: unwinding and the stack check see the old function, whose call frame information is there."""
        self.calls = self._ended = True
        literal = len(self.code) + 2
        self.code += b"\xff\x35" + bytes(4)
        if direct:
            self._branch(b"\xe9", insn.operands[0].imm)
        else:
            raw = bytearray(insn.bytes)
            raw[insn.modrm_offset] += 0x10  # FF /2 (call) to FF /4 (jmp)
            self._copy(insn, bytes(raw))
        struct.pack_into("<i", self.code, literal, len(self.code) - (literal + 4))
        self._relocate(len(self.code), R.R_64, Vaddr(insn.address + insn.size), 0)
        self.code += bytes(8)

    def _branch(self, opcode: bytes, target: Vaddr) -> None:
        self.code += opcode
        self._relocate(len(self.code), R.PLT32, target, -4)
        self.code += bytes(4)

    def _copy(self, insn: capstone.CsInsn, raw: bytes) -> None:
        start = len(self.code)
        self.code += raw
        if any(o.type == x86.X86_OP_MEM and o.mem.base == x86.X86_REG_RIP for o in insn.operands):
            at = start + insn.disp_offset
            # what follows the field in the instruction (an immediate) is part of the distance
            self._relocate(at, R.PC32, Vaddr(insn.address + insn.size + insn.disp), insn.disp_offset - insn.size)
            self.code[at : at + 4] = bytes(4)

    def _relocate(self, at: int, r_type: int, target: Vaddr, addend: int) -> None:
        symbol = f".run+{target:#x}"
        self.symbols[symbol] = target
        self.relocations.append(NewRelocation(SectionOffset(at), r_type, symbol, addend))


def _immovable(insn: capstone.CsInsn, name: str) -> Refusal | None:
    what = f"`{insn.mnemonic} {insn.op_str}` at {insn.address:#x}".replace(" `", "`")
    if name in _SHORT_ONLY or name == "xbegin":
        return Refusal(f"{what} cannot be moved: it has no form that reaches back", _LEAVE)
    if name in _FAR:
        return Refusal(f"{what} cannot be moved: it is a far transfer", _LEAVE)
    memory = [o.mem for o in insn.operands if o.type == x86.X86_OP_MEM]
    if any(x86.X86_REG_EIP in (m.base, m.index) for m in memory):
        return Refusal(f"{what} cannot be moved: its address is relative to 32 bits of the program counter", _LEAVE)
    if name == "call" and (memory or insn.operands[0].type == x86.X86_OP_REG):
        used = {r for m in memory for r in (m.base, m.index)} | {
            o.reg for o in insn.operands if o.type == x86.X86_OP_REG
        }
        if used & {x86.X86_REG_RSP, x86.X86_REG_ESP}:
            return Refusal(f"{what} cannot be moved: it calls through the stack pointer", _LEAVE)
    return None


def _condition(raw: bytes) -> int | None:
    """The condition code of a Jcc (low nibble of its opcode), None for JMP."""
    at = 0
    while raw[at] in _BRANCH_PREFIXES:
        at += 1
    if raw[at] == 0x0F:
        return raw[at + 1] & 15
    return raw[at] & 15 if raw[at] & 0xF0 == 0x70 else None


def _plain() -> capstone.Cs:
    return capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)


def _detailed() -> capstone.Cs:
    decoder = _plain()
    decoder.detail = True
    return decoder
