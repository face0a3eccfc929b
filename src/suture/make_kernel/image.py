"""*run* for the kernel: vmlinux or one module as the archive ships it, as bytes at addresses, with names in the order
of sympos.

A module is laid out at addresses of our own choosing and its relocations are filled in, so that it is matched just as
vmlinux is.
"""

from __future__ import annotations

import bisect
import json
import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from functools import lru_cache as cache_result
from pathlib import Path

from suture.elf.abi import R, SectionType, SymbolBind, SymbolType
from suture.elf.file import ElfFile
from suture.make_kernel import kallsyms, vmlinux
from suture.number import Vaddr
from suture.source import cache

VMLINUX = "vmlinux"
_CORE, _EXTERNAL = 0xFFFFFFFF_C0000000, 0xFFFFFFFF_A0000000
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Region:
    """One section of the image: address and bytes (empty where nothing is in the file)."""

    name: str
    address: Vaddr
    size: int
    data: bytes
    is_code: bool


@dataclass(frozen=True)
class KernelImage:
    """`name` is what livepatch calls the object; `names` the addresses of each name in the order that sympos counts.

    `externals` are symbols that a module takes from elsewhere, by the address that stands for them here; `shared` the
    addresses of names that other units may refer to (not static ones).
    """

    name: str
    regions: tuple[Region, ...]
    names: Mapping[str, tuple[Vaddr, ...]]
    externals: Mapping[str, Vaddr]
    build_id: str
    depends: tuple[str, ...] = ()
    shared: Mapping[str, Vaddr] = field(default_factory=dict)

    @property
    def is_vmlinux(self) -> bool:
        return self.name == VMLINUX

    @cached_property
    def _sorted(self) -> tuple[Region, ...]:
        return tuple(sorted(self.regions, key=lambda r: r.address))

    @cached_property
    def _starts(self) -> tuple[Vaddr, ...]:
        return tuple(r.address for r in self._sorted)

    def bytes_at(self, address: Vaddr, size: int) -> bytes | None:
        """Contents of the file at an address, None where they are not all in one section."""
        number = bisect.bisect_right(self._starts, address) - 1
        if number < 0:
            return None
        region = self._sorted[number]
        start = address - region.address
        return region.data[start : start + size] if start + size <= len(region.data) else None

    @property
    def code(self) -> Sequence[Region]:
        return [r for r in self._sorted if r.is_code and r.data]

    def position(self, name: str, address: Vaddr) -> int | None:
        """sympos of a name at an address: 0 when it is unique, None when the name is not there."""
        rows = self.names.get(name, ())
        if address not in rows:
            return None
        return 0 if len(rows) == 1 else rows.index(address) + 1


@cache_result(maxsize=2)
def read_vmlinux(vmlinuz: Path) -> KernelImage:
    """The image inside a boot image; unpacking it is remembered. Raises `Unsupported`."""
    facts = vmlinuz.stat()
    place = cache.root() / "vmlinux" / cache.safe(f"{vmlinuz.name}-{facts.st_size}-{facts.st_mtime_ns}")

    def make(path: Path) -> None:
        path.write_bytes(vmlinux.unpack(vmlinuz.read_bytes(), str(vmlinuz)))

    elf = ElfFile.read(cache.item(place, make))
    text, rodata = elf.section(".text"), elf.section(".rodata")
    assert text is not None and rodata is not None

    def table(path: Path) -> None:
        rows = kallsyms.read(elf.bytes_of(rodata), text.sh_addr, str(vmlinuz)).by_name
        path.write_text(json.dumps({n: [[r.address, r.type.isupper()] for r in some] for n, some in rows.items()}))

    kept = json.loads(cache.item(place.with_name(f"{place.name}.symbols"), table).read_text())
    regions = tuple(
        Region(s.name, s.sh_addr, s.sh_size, elf.bytes_of(s), s.is_code)
        for s in elf.sections
        if s.is_alloc and s.sh_addr
    )
    names = {name: tuple(Vaddr(address) for address, _ in rows) for name, rows in kept.items()}
    shared = {name: Vaddr(address) for name, rows in kept.items() for address, is_global in rows if is_global}
    return KernelImage(VMLINUX, regions, names, {}, elf.build_id or "", (), shared)


def module_name(path: str) -> str:
    """What the kernel calls the module of a file: `nf_tables` of `.../nf_tables.ko`, with underscores."""
    return Path(path).name.partition(".")[0].replace("-", "_")


def read_module(path: Path) -> KernelImage:
    """A module's file. Raises `BadElf`, `Unsupported`, OSError."""
    elf = ElfFile.read(path)
    at = _CORE
    regions: dict[int, Vaddr] = {}
    for section in elf.sections:
        if section.is_alloc and section.sh_size and section.sh_type in (SectionType.PROGBITS, SectionType.NOBITS):
            at += -at % max(section.sh_addralign, 16)
            regions[section.index] = Vaddr(at)
            at += section.sh_size
    externals: dict[str, Vaddr] = {}
    values: list[Vaddr] = []
    names: dict[str, list[Vaddr]] = defaultdict(list)
    shared: dict[str, Vaddr] = {}
    for symbol in elf.symbols:
        if symbol.has_section:
            value = Vaddr(regions.get(symbol.st_shndx, 0) + symbol.st_value)
            if symbol.name and symbol.type not in (SymbolType.SECTION, SymbolType.FILE) and symbol.st_shndx in regions:
                names[symbol.name].append(value)
                if symbol.bind != SymbolBind.LOCAL:
                    shared[symbol.name] = value
        elif symbol.name and not symbol.is_defined:
            value = externals.setdefault(symbol.name, Vaddr(_EXTERNAL + 64 * len(externals)))
        else:
            value = Vaddr(symbol.st_value)
        values.append(value)
    filled = tuple(
        Region(s.name, regions[s.index], s.sh_size, _filled(elf, s.index, regions[s.index], values), s.is_code)
        for s in elf.sections
        if s.index in regions
    )
    return KernelImage(
        module_name(path.name),
        filled,
        {n: tuple(rows) for n, rows in names.items()},
        externals,
        elf.build_id or "",
        _depends(elf),
        shared,
    )


def read_depends(path: Path) -> tuple[str, ...]:
    """The modules that a module's file says it needs, as the kernel calls them."""
    return _depends(ElfFile.read(path))


def _depends(elf: ElfFile) -> tuple[str, ...]:
    text = next((x[8:].decode() for x in _modinfo(elf) if x.startswith(b"depends=")), "")
    return tuple(module_name(x) for x in text.split(",") if x)


def _modinfo(elf: ElfFile) -> list[bytes]:
    section = elf.section(".modinfo")
    return elf.bytes_of(section).split(b"\0") if section is not None else []


def _filled(elf: ElfFile, index: int, base: Vaddr, values: Sequence[Vaddr]) -> bytes:
    """A section's bytes with its relocations applied (arch/x86/kernel/module.c)."""
    data = bytearray(elf.bytes_of(elf.sections[index]))
    for row in elf.relocations_by_section.get(index, ()):
        value = (values[row.symbol] + row.r_addend) & _MASK
        if row.r_type in (R.PC32, R.PLT32):
            struct.pack_into("<I", data, row.r_offset, (value - base - row.r_offset) & 0xFFFFFFFF)
        elif row.r_type == R.R_64:
            struct.pack_into("<Q", data, row.r_offset, value)
        elif row.r_type in (R.R_32, R.R_32S):
            struct.pack_into("<I", data, row.r_offset, value & 0xFFFFFFFF)
        elif row.r_type == R.PC64:
            struct.pack_into("<Q", data, row.r_offset, (value - base - row.r_offset) & _MASK)
    return bytes(data)
