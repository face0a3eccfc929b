"""What the dynamic loader of a process would bind a new reference to: its list of objects and their symbol tables, read from memory.

The scope is that of a lazy binding from the patched image: the objects loaded at the start, preloaded ones included, in the
loader's order, then the image and what it needs. Sources: gABI chapter 5 (dynamic linking), glibc <link.h>, LSB symbol
versioning, the GNU hash section as in glibc elf/dl-lookup.c. Every walk is bounded: all of it is the process's own memory.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from suture.elf import abi
from suture.elf.abi import SymbolType
from suture.error import Refused
from suture.patch.manifest import ImportedSymbol
from suture.process import memory
from suture.process.error import WrongTarget
from suture.process.image import Image
from suture.process.proc import read_auxv
from suture.process.tracee import Tracee

_MOST_OBJECTS = 4096
_MOST_ENTRIES = 512
_MOST_CHAIN = 1 << 16
_MOST_NAME = 4096
_AT_PHDR, _AT_PHNUM = 3, 5
_DT_NEEDED, _DT_STRTAB, _DT_SYMTAB, _DT_SONAME, _DT_DEBUG = 1, 5, 6, 14, 21
_DT_GNU_HASH, _DT_VERSYM, _DT_VERDEF, _DT_VERDEFNUM = 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD
_REMEDY = "leave the function that needs it out, or restart the program with the fixed package"


@dataclass(frozen=True)
class _Definition:
    address: int
    type: int


class _Object:
    """One struct link_map: load bias, dynamic section."""

    def __init__(self, pid: int, bias: int, dynamic: int) -> None:
        self.pid, self.bias, self.dynamic = pid, bias, dynamic

    @cached_property
    def _entries(self) -> list[tuple[int, int]]:
        raw = memory.try_read(self.pid, self.dynamic, 16 * _MOST_ENTRIES)
        found = []
        for tag, value in struct.iter_unpack("<QQ", raw[: len(raw) // 16 * 16]):
            if tag == 0:
                break
            found.append((tag, value))
        return found

    def pointer(self, tag: int) -> int:
        """A d_ptr. glibc has added the bias in place, other loaders and the vDSO have not."""
        value = next((v for t, v in self._entries if t == tag), 0)
        return value + self.bias if 0 < value < self.bias else value

    def value(self, tag: int) -> int:
        return next((v for t, v in self._entries if t == tag), 0)

    def text(self, offset: int) -> bytes:
        raw = memory.try_read(self.pid, self.pointer(_DT_STRTAB) + offset, _MOST_NAME)
        return raw.split(b"\0", 1)[0]

    @cached_property
    def soname(self) -> bytes:
        offset = self.value(_DT_SONAME)
        return self.text(offset) if offset else b""

    @cached_property
    def needed(self) -> list[bytes]:
        return [self.text(v) for t, v in self._entries if t == _DT_NEEDED]

    @cached_property
    def _version_names(self) -> dict[int, bytes]:
        names: dict[int, bytes] = {}
        at = self.pointer(_DT_VERDEF)
        for _ in range(min(self.value(_DT_VERDEFNUM), 4096)):
            raw = memory.try_read(self.pid, at, 20)
            if len(raw) < 20:
                break
            _, _, ndx, _, _, aux, step = struct.unpack("<HHHHIII", raw)
            name = memory.try_read(self.pid, at + aux, 4)
            if len(name) == 4:
                names[ndx & 0x7FFF] = self.text(struct.unpack("<I", name)[0])
            if step == 0:
                break
            at += step
        return names

    def find(self, name: bytes, version: bytes) -> _Definition | None:
        """A definition of a name, by the GNU hash table. Without a version the default one."""
        table, symtab = self.pointer(_DT_GNU_HASH), self.pointer(_DT_SYMTAB)
        header = memory.try_read(self.pid, table, 16) if table and symtab else b""
        if len(header) < 16:
            return None
        buckets, first, bloom, _ = struct.unpack("<IIII", header)
        if not 0 < buckets < 1 << 24 or bloom >= 1 << 24:
            return None
        wanted = 5381
        for byte in name:
            wanted = (wanted * 33 + byte) & 0xFFFFFFFF
        bucket_at = table + 16 + 8 * bloom
        index = self._u32(bucket_at + 4 * (wanted % buckets))
        if index < first:
            return None
        chain = bucket_at + 4 * buckets
        for _ in range(_MOST_CHAIN):
            value = self._u32(chain + 4 * (index - first))
            if value | 1 == wanted | 1:
                found = self._symbol(symtab, index, name, version)
                if found:
                    return found
            if value & 1:
                return None
            index += 1
        return None

    def _u32(self, address: int) -> int:
        return int.from_bytes(memory.try_read(self.pid, address, 4).ljust(4, b"\1"), "little")

    def _symbol(self, symtab: int, index: int, name: bytes, version: bytes) -> _Definition | None:
        raw = memory.try_read(self.pid, symtab + 24 * index, 24)
        if len(raw) < 24:
            return None
        st_name, info, _, shndx, value, _ = struct.unpack("<IBBHQQ", raw)
        if shndx == abi.SHN_UNDEF or info >> 4 == 0 or self.text(st_name) != name:
            return None
        versym = self.pointer(_DT_VERSYM)
        if versym:
            number = int.from_bytes(memory.try_read(self.pid, versym + 2 * index, 2), "little")
            if version and number & 0x7FFF > 1 and self._version_names.get(number & 0x7FFF) != version:
                return None
            if not version and number & 0x8000:
                return None
        return _Definition(value if shndx == abi.SHN_ABS else value + self.bias, info & 15)


def find_imports(tracee: Tracee, image: Image, wanted: Sequence[ImportedSymbol]) -> dict[tuple[str, str], int]:
    """The address that each (name, version) means to the image. Raises Refused for one that is not there, or is an IFUNC."""
    scope = _scope(_objects(tracee), image, tracee)
    found = {}
    for symbol in wanted:
        name = symbol.name + (f"@{symbol.version}" if symbol.version else "")
        definition = next(
            (d for o in scope if (d := o.find(symbol.name.encode(), symbol.version.encode())) is not None), None
        )
        if definition is None:
            raise Refused(f"pid {tracee.pid}: the patch needs {name}, which this process does not have", _REMEDY)
        if definition.type in (SymbolType.GNU_IFUNC, SymbolType.TLS):
            kind = "chosen at run time (IFUNC)" if definition.type == SymbolType.GNU_IFUNC else "thread-local"
            raise Refused(f"pid {tracee.pid}: the patch needs {name}, which is {kind}", _REMEDY)
        found[(symbol.name, symbol.version)] = definition.address
    return found


def definitions(tracee: Tracee, names: Sequence[str]) -> dict[str, list[tuple[int, int]]]:
    """For each name all (dynamic section of the object, address) that define it, in the loader's order; none without a loader."""
    try:
        objects = _objects(tracee)
    except (Refused, WrongTarget):
        return {name: [] for name in names}
    rows = {name: [(o.dynamic, o.find(name.encode(), b"")) for o in objects] for name in names}
    return {name: [(owner, d.address) for owner, d in found if d is not None] for name, found in rows.items()}


def _objects(tracee: Tracee) -> list[_Object]:
    """The loader's list, from AT_PHDR by way of PT_DYNAMIC, DT_DEBUG and r_debug."""
    pid = tracee.via
    aux = read_auxv(pid)
    headers = list(
        struct.iter_unpack(
            "<IIQQQQQQ", memory.read(pid, aux.get(_AT_PHDR, 0), 56 * min(max(aux.get(_AT_PHNUM, 0), 1), 64))
        )
    )
    bias = next((aux[_AT_PHDR] - h[3] for h in headers if h[0] == abi.PT_PHDR), 0)
    dynamic = next((h[3] + bias for h in headers if h[0] == abi.PT_DYNAMIC), 0)
    debug = _Object(pid, bias, dynamic).value(_DT_DEBUG) if dynamic else 0
    if not debug:
        raise Refused(f"pid {tracee.pid}: has no dynamic loader to ask for imports", _REMEDY)
    at = struct.unpack("<Q", memory.read(pid, debug + 8, 8))[0]
    found: list[_Object] = []
    while at and len(found) < _MOST_OBJECTS:
        row = memory.try_read(pid, at, 32)
        if len(row) < 32:
            break
        l_addr, _, l_ld, at = struct.unpack("<QQQQ", row)
        found.append(_Object(pid, l_addr, l_ld))
    return found


def _scope(objects: Sequence[_Object], image: Image, tracee: Tracee) -> list[_Object]:
    if not objects:
        return []
    last = max((objects.index(o) for o in _closure(objects, objects[0])), default=0)
    at_start = list(objects[: last + 1])
    own = next((o for o in objects if o.dynamic == image.dynamic), None)
    if own is None:
        raise Refused(f"pid {tracee.pid}: {image.path} is not in the loader's first namespace (dlmopen)", _REMEDY)
    return at_start + [o for o in _closure(objects, own) if o not in at_start]


def _closure(objects: Sequence[_Object], root: _Object) -> list[_Object]:
    """An object and what it needs, breadth first."""
    by_name = {o.soname: o for o in reversed(objects) if o.soname}
    order = [root]
    for current in order:
        for name in current.needed:
            found = by_name.get(name)
            if found is not None and found not in order:
                order.append(found)
    return order
