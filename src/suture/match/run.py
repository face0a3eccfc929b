"""*run*: the shipped binary as matching sees it: its code, its GOT, its PLT, its dynamic symbols. Stripped is
normal."""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path

from suture.elf import abi
from suture.elf.abi import R, SectionType, SymbolType
from suture.elf.fact import Symbol
from suture.elf.file import BadElf, ElfFile
from suture.error import Unsupported
from suture.number import Vaddr

# jmp *slot(%rip), with or without endbr64 and bnd (psABI, procedure linkage table; binutils elf_x86_64 PLT layouts)
_PLT_JUMP = re.compile(rb"(?:\xf3\x0f\x1e\xfa)?\xf2?\xff\x25(.{4})", re.DOTALL)


# what glibc's start does with `main`, and its call through a slot
_IMMEDIATE, _LEA = b"\x48\xc7\xc7", b"\x48\x8d\x3d"
_START = re.compile(rb"(\x48\xc7\xc7|\x48\x8d\x3d|\x48\x8b\x3d)(.{4})\xff\x15(.{4})", re.DOTALL)
_START_SIZE = 40

_DT_NEEDED, _DT_SONAME, _DT_SYMBOLIC, _DT_FLAGS, _DT_FLAGS_1 = 1, 14, 16, 30, 0x6FFFFFFB
_DF_SYMBOLIC, _DF_1_PIE = 2, 0x08000000


class SlotKind(Enum):
    """What the loader puts into a GOT slot."""

    RELATIVE = "relative"
    SYMBOL = "symbol"
    THREAD_OFFSET = "thread offset"
    MODULE = "module"
    MODULE_OFFSET = "module offset"
    INDIRECT = "indirect"


@dataclass(frozen=True, slots=True)
class Slot:
    """A field that a dynamic relocation fills in. `value` is the addend (for RELATIVE the address) plus a defined
    symbol's value.

    `jump` and `got` tell a PLT's slot and a plain GOT slot from data of the program, which it may change as it likes. A
    slot that an IFUNC's choice goes into has no symbol, and is told by its section.
    """

    address: Vaddr
    kind: SlotKind
    symbol: str
    version: str
    value: int
    jump: bool
    got: bool


@dataclass(frozen=True, slots=True)
class Code:
    """One executable section of the binary: link-time address and bytes."""

    name: str
    address: Vaddr
    data: bytes


_SLOT_KINDS: dict[int, SlotKind] = {
    R.RELATIVE: SlotKind.RELATIVE,
    R.GLOB_DAT: SlotKind.SYMBOL,
    R.JUMP_SLOT: SlotKind.SYMBOL,
    R.R_64: SlotKind.SYMBOL,
    R.TPOFF64: SlotKind.THREAD_OFFSET,
    R.DTPMOD64: SlotKind.MODULE,
    R.DTPOFF64: SlotKind.MODULE_OFFSET,
    R.IRELATIVE: SlotKind.INDIRECT,
}


class Run:
    """The shipped binary. Addresses are link-time."""

    def __init__(self, elf: ElfFile) -> None:
        self.elf = elf

    @classmethod
    def read(cls, path: Path) -> Run:
        """Raises OSError, BadElf or Unsupported: also for a file whose code cannot be told from its data."""
        elf = ElfFile.read(path)
        if not elf.sections:
            raise Unsupported(
                f"{path}: has no section headers, by which code, tables and data are told apart (sstrip, a packer)",
                "give the file as it was linked; what strip(1) takes out may be missing",
            )
        return cls(elf)

    @cached_property
    def code(self) -> tuple[Code, ...]:
        """Executable sections without PLTs, the largest first."""
        rows = [
            s for s in self.elf.sections if s.is_code and s.is_alloc and s.has_bits and not s.name.startswith(".plt")
        ]
        rows.sort(key=lambda s: -s.sh_size)
        return tuple(Code(s.name, s.sh_addr, self.elf.bytes_of(s)) for s in rows)

    def code_at(self, address: Vaddr, size: int) -> bytes | None:
        """Code bytes, None where they are not all in one executable section."""
        for code in self.code:
            start = address - code.address
            if start >= 0 and start + size <= len(code.data):
                return code.data[start : start + size]
        return None

    @cached_property
    def exports(self) -> dict[str, tuple[Symbol, ...]]:
        """Defined dynamic symbols that are not thread-local, by name; several versions may share one."""
        found: dict[str, list[Symbol]] = defaultdict(list)
        for symbol in self.elf.dynamic_symbols:
            if symbol.is_defined and symbol.type != SymbolType.TLS and symbol.name:
                found[symbol.name].append(symbol)
        return {name: tuple(rows) for name, rows in found.items()}

    @property
    def is_dynamic(self) -> bool:
        """Whether a loader binds it to others."""
        return self.elf.section(".dynamic") is not None

    @cached_property
    def imports(self) -> frozenset[str]:
        """Names of the dynamic symbols that others define."""
        return frozenset(s.name for s in self.elf.dynamic_symbols if s.name and not s.is_defined)

    @cached_property
    def symbols(self) -> dict[str, tuple[Symbol, ...]]:
        """`.symtab` by name, where the binary is not stripped: used to check a match, never to make one."""
        found: dict[str, list[Symbol]] = defaultdict(list)
        for symbol in self.elf.symbols:
            if symbol.has_section and symbol.name:
                found[symbol.name].append(symbol)
        return {name: tuple(rows) for name, rows in found.items()}

    @cached_property
    def slots(self) -> dict[Vaddr, Slot]:
        """Every field that a dynamic relocation fills in, by address."""
        found: dict[Vaddr, Slot] = {}
        names = self.elf.dynamic_symbols
        for section in self.elf.sections:
            if section.sh_type == SectionType.RELA and section.is_alloc:
                for row in self.elf.relocations(section):
                    kind = _SLOT_KINDS.get(row.r_type)
                    if kind is None:
                        continue
                    symbol = names[row.symbol] if 0 < row.symbol < len(names) else None
                    base = symbol.st_value if symbol is not None and symbol.is_defined else 0
                    at = Vaddr(row.r_offset)  # in a linked file
                    found[at] = Slot(
                        at,
                        kind,
                        symbol.name if symbol else "",
                        symbol.version if symbol else "",
                        base + row.r_addend,
                        row.r_type == R.JUMP_SLOT,
                        row.r_type == R.GLOB_DAT or (row.r_type == R.IRELATIVE and self._is_got(at)),
                    )
            elif section.sh_type == SectionType.RELR:
                for address in _relr(self.elf.bytes_of(section)):
                    value = struct.unpack("<Q", self.elf.read_at(address, 8))[0]
                    found[address] = Slot(address, SlotKind.RELATIVE, "", "", value, False, False)
        return found

    def _is_got(self, address: Vaddr) -> bool:
        return any(
            s.name.startswith(".got") and s.sh_addr <= address < s.sh_addr + s.sh_size for s in self.elf.sections
        )

    def data_at(self, address: Vaddr, size: int) -> bytes | None:
        """Bytes of the binary as they are before relocation, None where they are not all in one segment."""
        try:
            return self.elf.read_at(address, size)
        except BadElf:
            return None

    def pointer_at(self, address: Vaddr) -> Vaddr | None:
        """Link-time address that a word of data has at the start when it points into this binary; else None."""
        slot = self.slots.get(address)
        if slot is not None:
            return Vaddr(slot.value) if slot.kind is SlotKind.RELATIVE else None
        if self.elf.e_type != abi.ET_EXEC:
            return None
        raw = self.data_at(address, 8)
        return None if raw is None else Vaddr(int.from_bytes(raw, "little"))

    @cached_property
    def slots_of(self) -> dict[str, tuple[Slot, ...]]:
        """GOT slots by symbol name; pointers in the program's own data are none."""
        found: dict[str, list[Slot]] = defaultdict(list)
        for slot in self.slots.values():
            if slot.symbol and (slot.got or slot.jump):
                found[slot.symbol].append(slot)
        return {name: tuple(sorted(rows, key=lambda s: s.address)) for name, rows in found.items()}

    @cached_property
    def main(self) -> Vaddr | None:
        """Where the program's start says that `main` is; None for a library, and for a start that is not glibc's.

        It loads %rdi with the address in the last instruction before it calls __libc_start_main
        (sysdeps/x86_64/start.S); the linker may have made an immediate or a lea of it.
        """
        start = self.code_at(self.elf.e_entry, _START_SIZE) if self.is_program else None
        found = _START.search(start) if start is not None else None
        if found is None:
            return None
        number, called = (int.from_bytes(found[n], "little", signed=True) for n in (2, 3))
        target = self.slots.get(Vaddr(self.elf.e_entry + found.end() + called))
        if target is None or target.symbol != "__libc_start_main":
            return None
        if found[1] == _IMMEDIATE:
            return Vaddr(number)
        at = Vaddr(self.elf.e_entry + found.start() + 7 + number)
        return at if found[1] == _LEA else self.pointer_at(at)

    @cached_property
    def resolvers(self) -> frozenset[Vaddr]:
        """Addresses of the functions whose answer the loader writes into a GOT slot of this binary (IRELATIVE)."""
        return frozenset(self.chosen)

    @cached_property
    def chosen(self) -> dict[Vaddr, tuple[Vaddr, ...]]:
        """For each such function the addresses of these slots, in order."""
        found: dict[Vaddr, list[Vaddr]] = defaultdict(list)
        for slot in self.slots.values():
            if slot.kind is SlotKind.INDIRECT and slot.got:
                found[Vaddr(slot.value)].append(slot.address)
        return {resolver: tuple(sorted(places)) for resolver, places in found.items()}

    @cached_property
    def plt(self) -> dict[Vaddr, Vaddr]:
        """PLT entry address to the address of the slot that it jumps through."""
        found: dict[Vaddr, Vaddr] = {}
        for section in self.elf.sections:
            if not section.name.startswith(".plt") or not section.is_code:
                continue
            data = self.elf.bytes_of(section)
            step = max(section.sh_entsize, 8)
            for at in range(0, len(data), step):
                hit = _PLT_JUMP.match(data, at)
                if hit and hit.end() <= at + step:
                    slot = Vaddr(section.sh_addr + hit.end() + struct.unpack("<i", hit.group(1))[0])
                    if slot in self.slots:
                        found[Vaddr(section.sh_addr + at)] = slot
        return found

    @cached_property
    def needed(self) -> tuple[str, ...]:
        """Names of the libraries that the loader brings along (gABI, DT_NEEDED)."""
        return self._named(_DT_NEEDED)

    @cached_property
    def soname(self) -> str:
        """The name by which others need it, "" for none (gABI, DT_SONAME)."""
        return next(iter(self._named(_DT_SONAME)), "")

    def _named(self, wanted: int) -> tuple[str, ...]:
        """The strings of the dynamic section under one tag."""
        dynamic = self.elf.section(".dynamic")
        strings = self.elf.bytes_of(self.elf.sections[dynamic.sh_link]) if dynamic is not None else b""
        starts = [value for tag, value in self._dynamic if tag == wanted]
        return tuple(strings[at : strings.index(b"\0", at)].decode(errors="surrogateescape") for at in starts)

    @cached_property
    def _dynamic(self) -> tuple[tuple[int, int], ...]:
        """Tag and value of each entry of the dynamic section."""
        dynamic = self.elf.section(".dynamic")
        raw = self.elf.bytes_of(dynamic) if dynamic is not None else b""
        return tuple(struct.iter_unpack("<QQ", raw[: len(raw) // 16 * 16]))

    @cached_property
    def is_program(self) -> bool:
        """Whether it is what a process is started from: not PIE, or with DF_1_PIE (<elf.h>)."""
        return self.elf.e_type == abi.ET_EXEC or bool(dict(self._dynamic).get(_DT_FLAGS_1, 0) & _DF_1_PIE)

    @cached_property
    def is_symbolic(self) -> bool:
        """Whether the loader binds references inside the binary to itself: a program, or DF_SYMBOLIC (gABI, dynamic
        section)."""
        rows = dict(self._dynamic)
        return not rows or self.is_program or _DT_SYMBOLIC in rows or bool(rows.get(_DT_FLAGS, 0) & _DF_SYMBOLIC)


def _relr(raw: bytes) -> list[Vaddr]:
    """Addresses in a RELR table (gABI proposal as implemented by glibc 2.36: an address, then bitmaps of the 63 words
    after it)."""
    found: list[Vaddr] = []
    base = 0
    for (word,) in struct.iter_unpack("<Q", raw[: len(raw) // 8 * 8]):
        if word & 1 == 0:
            found.append(word)
            base = word + 8
            continue
        found.extend(Vaddr(base + 8 * n) for n in range(63) if word >> (n + 1) & 1)
        base += 63 * 8
    return found
