"""Can the code of a process leave a stack and come back to it later? Told from the code itself, before a stop.

A stack is left by an instruction that loads the stack pointer with something that is not of the present frame. Counted
are `mov`, `lea`, `add` and `xchg` to rsp, but for what compilers make of their own frames: from rbp, from r10 after a
realignment, from a register that is kept over calls and that a `mov %rsp` filled shortly before (arrays of variable
length). Bytes that only look like such an instruction are told from one by going through the function from its
beginning, which the unwind tables tell. Assembly of ciphers keeps its frame in other registers, which nothing but its
unwind table tells: a `mov` from the register at which the frame lies, as the table has it there, is of the present
frame.

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
_NEAR = 8192  # how far before its restoring the stack pointer may have been kept
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


_TO_RSP = [mod | rm for mod in (0x20, 0x60, 0xA0) for rm in range(8) if rm != 5]  # reg = 4; memory at anything but rbp
_FROM_REGISTER = [0xC4, 0xCC, 0xD4, 0xDC, 0xF4, 0xFC]  # rm = 4; neither from rsp nor from rbp
_REX = _table(([0x48], 31), ([0x49], _LOAD | _LEA | _SWAP), ([0x4A, 0x4B], _LOAD), ([0x4C], _MOVE | _ADD))
_OPCODE = _table(([0x8B], _LOAD), ([0x89], _MOVE), ([0x8D], _LEA), ([0x87], _SWAP), ([0x01], _ADD))
_MODRM = _table(
    ([*_TO_RSP, 0xE0, 0xE1, 0xE2, 0xE3, 0xE6, 0xE7], _LOAD),
    (_FROM_REGISTER, _MOVE | _ADD),
    (_TO_RSP, _LEA),
    ([*_TO_RSP, 0xE0, 0xE1, 0xE2, 0xE3, 0xE5, 0xE6, 0xE7, *_FROM_REGISTER, 0xEC], _SWAP),
)
_DWARF = (0, 2, 1, 3, 7, 6, 4, 5)  # of rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi; the others have the processor's numbers
_ANY = re.compile(rb"[^\0]")


def may_switch_stacks(pid: int, maps: Maps) -> bool:
    """Whether there is such code in a process. Each file is looked at once, about 70 MiB a second."""
    rows = [m for m in maps.mappings if m.readable and not _RUNTIME.search(m.name)]
    seen: set[str] = set()
    pauses = crypto = False
    for m in (m for m in rows if m.offset == 0 and m.inode):
        names = _names(pid, m)
        if _CRYPTO.search(m.name):
            crypto |= "contexts" in names
        elif {"longjmp", "alternate stack"} <= names or "contexts" in names:
            return True
        elif not _SSL.search(m.name):
            pauses |= "pauses" in names
        seen |= names
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
            name for _, piece in data for name, pattern in _NAMES.items() if pattern.search(piece)
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
            for low, code in _pieces(pid, m)
            for at in stack_pointer_loads(code)
        )
    return _switching[file]


def _pieces(pid: int, m: Mapping) -> Iterator[tuple[int, bytes]]:
    for start in range(m.start, m.end, _PIECE):
        low = max(m.start, start - _NEAR)
        yield low, memory.try_read(pid, Address(low), min(m.end, start + _PIECE) - low)


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
    prefix, modrm, base = code[at], code[at + 2], code[at + 3 : at + 4]
    if bits & (_LOAD | _LEA) and modrm < 0xC0 and prefix == 0x48 and modrm & 7 == 4 and base and base[0] & 7 in (4, 5):
        return False  # with an address byte that names rsp or rbp
    if bits & _LEA:
        return not (prefix == 0x49 and modrm & 7 == 2)
    if bits & _SWAP and prefix == 0x49:
        return modrm & 0x38 == 0x20
    if bits & _MOVE:
        register = modrm >> 3 & 7 | (8 if prefix == 0x4C else 0)
        if register in (3, 12, 13, 14, 15):
            return bytes([0x48 | register >> 3, 0x89, 0xE0 | register & 7]) not in code[max(0, at - _NEAR) : at]
    return True
