"""Can the code of a process leave a stack and come back to it later? Told from the code itself, before a stop.

A stack is left by an instruction that loads the stack pointer with something that is not of the present frame. Counted
are `mov`, `lea`, `add` and `xchg` to rsp, but for what compilers make of their own frames: from rbp, from r10 or r13
after a realignment, from a register that is kept over calls and that a `mov %rsp` or `lea N(%rsp)` near it fills
(arrays of variable length, arguments on the stack). Bytes that only look like such an instruction are told from one by
going through the function from its beginning, which the unwind tables tell. Assembly of ciphers keeps its frame in
other registers, which nothing but its unwind table tells: a `mov` from the register at which the frame lies, as the
table has it there, is of the present frame.

The C library, the loader and the unwinder change the stack pointer for whoever calls them, and are not counted
themselves. Who may call them so is told by names in an image's dynamic strings: makecontext(3), swapcontext(3),
setcontext(3), and sigaltstack(2) beside longjmp(3), from which stacks can be made too. libcrypto leaves a stack only
for an engine that calls ASYNC_pause_job(3). Code that is in no file counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from suture.elf.abi import ELFMAG
from suture.number import Address
from suture.process.memory import memory
from suture.process.memory.image import frame_headers
from suture.process.memory.maps import Mapping, Maps
from suture.process.stack.frame import FrameTable, NoFrame
from suture.process.stack.instruction import begins_at

_PIECE = 1 << 20
_NEAR = 8192  # how far from its restoring the stack pointer may have been kept; compilers move code behind others
_MOST_FILES = 4096
_LONGEST = 15
_RUNTIME = re.compile(
    rb"/(?:ld-linux-x86-64\.so\.2|ld-musl-x86_64\.so\.1|libc\.so\.6|libc-2\.[0-9]+\.so|ld-2\.[0-9]+\.so|"
    rb"libgcc_s\.so\.1)(?: \(deleted\))?\Z"
)
_CRYPTO = re.compile(rb"/libcrypto\.so\.[0-9.]+(?: \(deleted\))?\Z")
_SSL = re.compile(rb"/libssl\.so\.[0-9.]+(?: \(deleted\))?\Z")
_PATCH = b"/memfd:suture:"
_NAMES = {
    "contexts": re.compile(rb"\0(?:make|swap|set)context\0"),
    "longjmp": re.compile(rb"\0_?(?:sig)?longjmp\0"),
    "alternate stack": re.compile(rb"\0sigaltstack\0"),
    "pauses": re.compile(rb"\0ASYNC_pause_job\0"),
}

# Intel SDM volume 2. Three tables, of which the bits of three bytes in a row are combined: REX prefix, opcode, ModRM.
_LOAD, _MOVE, _LEA, _SWAP, _ADD = 1, 2, 4, 8, 16


def _table(*rows: tuple[Iterable[int], int]) -> bytes:
    table = bytearray(256)
    for values, bits in rows:
        for value in values:
            table[value] |= bits
    return bytes(table)


_MEMORY = [mod | rm for mod in (0x20, 0x60, 0xA0) for rm in range(8)]  # the register is rsp, or r12
_TO_RSP, _FROM_RM = [0xC4 | reg << 3 for reg in range(8)], [0xE0 | rm for rm in range(8)]
_REX = _table(
    ([0x48, 0x4A], _LOAD | _MOVE | _LEA | _SWAP | _ADD),
    ([0x49, 0x4B], _LOAD | _LEA | _SWAP),
    ([0x4C, 0x4E], _MOVE | _SWAP | _ADD),
)
_OPCODE = _table(([0x8B, 0x03], _LOAD), ([0x89], _MOVE), ([0x8D], _LEA), ([0x87], _SWAP), ([0x01], _ADD))
_MODRM = _table(
    ([*_MEMORY, *_FROM_RM], _LOAD), (_TO_RSP, _MOVE | _ADD), (_MEMORY, _LEA), ([*_MEMORY, *_FROM_RM, *_TO_RSP], _SWAP)
)
_RSP, _RBP, _R10, _R13 = 4, 5, 10, 13
_KEPT = (3, 12, 13, 14, 15)  # over calls; rbp is the frame's own
_SAVES = {
    n: (
        bytes([0x48 | n >> 3, 0x89, 0xE0 | n & 7]),  # mov %rsp to it
        *(bytes([0x48 | n >> 3 << 2, 0x8D, mod | (n & 7) << 3, 0x24]) for mod in (0x44, 0x84)),  # lea N(%rsp) to it
    )
    for n in _KEPT
}
_DWARF = (0, 2, 1, 3, 7, 6, 4, 5)  # of rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi; the others have the processor's numbers
_ANY = re.compile(rb"[^\0]")


def may_switch_stacks(pid: int, maps: Maps) -> bool:
    """Whether there is such code in a process. Each file is looked at once, about 70 MiB a second."""
    rows = [m for m in maps.mappings if m.readable and not _RUNTIME.search(m.name)]
    pauses = crypto = False
    for m in (m for m in rows if m.offset == 0 and m.inode):
        names = _names(pid, m)
        if _CRYPTO.search(m.name):
            crypto |= "contexts" in names
        elif {"longjmp", "alternate stack"} <= names or "contexts" in names:
            return True
        elif not _SSL.search(m.name):
            pauses |= "pauses" in names
    if crypto and pauses:
        return True
    images = _Images(pid, maps)
    return any(_switches(pid, m, images) for m in rows if m.executable and not _is_left_out(m))


def _is_left_out(m: Mapping) -> bool:
    return m.name == b"[vdso]" or m.name.startswith(_PATCH) or _CRYPTO.search(m.name) is not None


@dataclass(frozen=True, slots=True)
class _File:
    device: bytes
    inode: int
    offset: int
    size: int
    name: bytes


_names_in: dict[_File, frozenset[str]] = {}
_switching: dict[_File, bool] = {}


def _file(m: Mapping) -> _File:
    return _File(m.device, m.inode, m.offset, m.end - m.start, m.name)


def _names(pid: int, m: Mapping) -> frozenset[str]:
    file = _file(m)
    if file not in _names_in:
        if len(_names_in) >= _MOST_FILES:
            _names_in.clear()
        data = _pieces(pid, m) if memory.try_read(pid, m.start, 4) == ELFMAG else ()
        _names_in[file] = frozenset(
            name for _, piece, _ in data for name, pattern in _NAMES.items() if pattern.search(piece)
        )
    return _names_in[file]


def _switches(pid: int, m: Mapping, images: _Images) -> bool:
    if not m.inode:
        return True
    file = _file(m)
    if file not in _switching:
        if len(_switching) >= _MOST_FILES:
            _switching.clear()
        _switching[file] = any(
            images.is_instruction(low + at) and not images.is_frame_at(low + at, _moved_from(code[at : at + 3]))
            for low, code, own in _pieces(pid, m)
            for at in stack_pointer_loads(code)
            if at in own
        )
    return _switching[file]


def _pieces(pid: int, m: Mapping) -> Iterator[tuple[int, bytes, range]]:
    """Address and bytes of each piece with what is near it, and the offsets that are its own."""
    for start in range(m.start, m.end, _PIECE):
        low = max(m.start, start - _NEAR)
        code = memory.try_read(pid, Address(low), min(m.end, start + _PIECE + _NEAR) - low)
        yield low, code, range(start - low, start - low + _PIECE)


class _Images:
    """The functions of all images, as their unwind tables tell; read when something is asked."""

    def __init__(self, pid: int, maps: Maps) -> None:
        self._pid, self._maps = pid, maps
        self._tables: dict[int, FrameTable | None] = {}

    @cached_property
    def _spans(self) -> list[tuple[Address, Address, Address]]:
        return frame_headers(self._pid, self._maps)

    def _table(self, address: int) -> FrameTable | None:
        """The unwind table of the image that an address is in."""
        header = next((h for start, end, h in self._spans if start <= address < end), None)
        if header is None:
            return None
        if header not in self._tables:
            try:
                self._tables[header] = FrameTable(self._pid, header)
            except NoFrame:
                self._tables[header] = None
        return self._tables[header]

    def is_frame_at(self, address: int, register: int | None) -> bool:
        """Whether the unwind table says that the frame lies at a register (DWARF number) when the instruction at an
        address is reached."""
        table = self._table(address)
        if register is None or table is None:
            return False
        try:
            row = table.row(address)
        except NoFrame:
            return False
        return row.cfa_register == register and not row.cfa_expression

    def is_instruction(self, address: int) -> bool:
        """Whether an instruction begins at an address. True when that cannot be told."""
        table = self._table(address)
        start = table.start_below(address) if table else None
        if start is None or address - start > _PIECE:
            return True
        return begins_at(memory.try_read(self._pid, Address(start), address - start + _LONGEST), 0, address - start)


def stack_pointer_loads(code: bytes) -> Iterator[int]:
    """Offsets of what looks like an instruction that loads rsp with something that is not of its own frame."""
    # numbers of the length of the code: the fastest way to combine the bits of neighbouring bytes without a loop
    rex, opcode, modrm = (int.from_bytes(code.translate(table), "big") for table in (_REX, _OPCODE, _MODRM))
    found = (rex >> 16 & opcode >> 8 & modrm).to_bytes(len(code), "big")
    for m in _ANY.finditer(found):
        at = m.start() - 2
        if at >= 0 and _leaves_frame(code, at, found[m.start()]):
            yield at


def _moved_from(code: bytes) -> int | None:
    """The register (DWARF number: psABI figure 3.36) that a `mov` between registers fills rsp from; None for any other
    instruction."""
    prefix, opcode, modrm = code
    if opcode == 0x89 and prefix & 0xFB == 0x48 and modrm & 0xC7 == 0xC4:
        high, low = prefix & 4, modrm >> 3 & 7
    elif opcode == 0x8B and prefix & 0xFE == 0x48 and modrm & 0xF8 == 0xE0:
        high, low = prefix & 1, modrm & 7
    else:
        return None
    return low | 8 if high else _DWARF[low]


def _leaves_frame(code: bytes, at: int, bits: int) -> bool:
    prefix, modrm = code[at], code[at + 2]
    reg, rm = modrm >> 3 & 7 | (prefix & 4) << 1, modrm & 7 | (prefix & 1) << 3
    if bits & _SWAP:
        return (reg == _RSP) != (rm == _RSP and modrm >= 0xC0)
    if bits & (_MOVE | _ADD):
        if bits & _MOVE and reg in _KEPT:
            near = code[max(0, at - _NEAR) : at + _NEAR]
            return not any(saved in near for saved in _SAVES[reg])
        return reg not in (_RSP, _RBP)
    if modrm >= 0xC0:
        return rm not in (_RSP, _RBP)
    base = _base(prefix, modrm, code[at + 3 : at + 4])
    return base not in (_RSP, _RBP) and not (bits & _LEA and base in (_R10, _R13))


def _base(prefix: int, modrm: int, sib: bytes) -> int | None:
    """The register that an address in memory counts from; None for one that counts from the instruction, or from
    nothing, and where it is cut off."""
    base = modrm & 7
    if base == 4:  # a SIB byte follows
        if not sib:
            return None
        base = sib[0] & 7
    return None if base == 5 and modrm < 0x40 else base | (prefix & 1) << 3
