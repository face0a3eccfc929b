"""The objects that the dynamic loader of a process has loaded: its list, and their symbol and relocation tables, read
from memory.

Sources: gABI chapter 5 (dynamic linking), glibc <link.h>, LSB symbol versioning, the GNU hash section as in glibc
elf/dl-lookup.c. Every walk is bounded: all of it is the process's own memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from suture.elf import abi
from suture.elf.file import PHDR, segments_in
from suture.error import Refused
from suture.number import NOWHERE, Address, Bias, Vaddr, bias_between, in_process
from suture.process.error import Hostile
from suture.process.memory import memory
from suture.process.proc import read_auxv
from suture.process.tracee import Tracee
from suture.refusal import RESTART
from suture.report.reason import Reason

_MOST_OBJECTS = 4096
_MOST_NAMESPACES = 16  # DL_NNS of glibc
_MOST_ENTRIES, _USUAL_ENTRIES = 512, 48
_MOST_CHAIN = 1 << 12
_HASH_HEAD = 4096
_MOST_NAME = 4096
_MOST_VERSIONS = 4096
_AT_PHDR, _AT_PHNUM = 3, 5
_MOST_SEGMENTS = 64
_DT_NEEDED, _DT_STRTAB, _DT_SYMTAB, _DT_SONAME, _DT_DEBUG = 1, 5, 6, 14, 21
_DT_PLTRELSZ, _DT_RELA, _DT_RELASZ, _DT_JMPREL = 2, 7, 8, 23
_DT_GNU_HASH, _DT_VERSYM, _DT_VERDEF, _DT_VERDEFNUM = 0x6FFFFEF5, 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD
_DT_VERNEED, _DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
REMEDY = f"leave the function that needs it out, or {RESTART}"


@dataclass(frozen=True)
class Definition:
    """Where a name is defined: address in the process, and the symbol's type (`SymbolType`)."""

    address: Address
    type: int


@dataclass(frozen=True, slots=True)
class Field:
    """A dynamic relocation: address of the field in the process, type (`R`), index of the symbol, addend. `of_plt`: in
    DT_JMPREL."""

    address: Address
    type: int
    symbol: int
    addend: int
    of_plt: bool


class LoadedObject:
    """One struct link_map: load bias, dynamic section, and where its path stands."""

    def __init__(self, pid: int, bias: Bias, dynamic: Address, path_at: Address = NOWHERE) -> None:
        self.pid, self.bias, self.dynamic, self._path_at = pid, bias, dynamic, path_at

    @cached_property
    def _entries(self) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for most in (_USUAL_ENTRIES, _MOST_ENTRIES):
            raw = memory.try_read(self.pid, self.dynamic, 16 * most)
            found.clear()
            for tag, value in struct.iter_unpack("<QQ", raw[: len(raw) // 16 * 16]):
                if tag == 0:
                    return found
                found.append((tag, value))
        return found

    def pointer(self, tag: int) -> Address:
        """A d_ptr. glibc has added the bias in place, other loaders and the vDSO have not."""
        value = next((v for t, v in self._entries if t == tag), 0)
        return in_process(Vaddr(value), self.bias) if 0 < value < self.bias else Address(value)

    def value(self, tag: int) -> int:
        return next((v for t, v in self._entries if t == tag), 0)

    def text(self, offset: int) -> bytes:
        raw = memory.try_read(self.pid, Address(self.pointer(_DT_STRTAB) + offset), _MOST_NAME)
        return raw.split(b"\0", 1)[0]

    @cached_property
    def soname(self) -> bytes:
        offset = self.value(_DT_SONAME)
        return self.text(offset) if offset else b""

    @property
    def names(self) -> tuple[bytes, ...]:
        """What DT_NEEDED of others may call it: its soname, or without one its path or file name."""
        if self.soname:
            return (self.soname,)
        path = memory.try_read(self.pid, self._path_at, _MOST_NAME).split(b"\0", 1)[0]
        return (path, path.rsplit(b"/", 1)[-1]) if path else ()

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

    @cached_property
    def _needed_versions(self) -> dict[int, bytes]:
        """Version names by the index that DT_VERSYM gives them (LSB, version requirements)."""
        names: dict[int, bytes] = {}
        at = self.pointer(_DT_VERNEED)
        for _ in range(min(self.value(_DT_VERNEEDNUM), _MOST_VERSIONS)):
            raw = memory.try_read(self.pid, at, 16)
            if len(raw) < 16:
                break
            _, count, _, aux, step = struct.unpack("<HHIII", raw)
            aux += at
            for _ in range(min(count, _MOST_VERSIONS)):
                row = memory.try_read(self.pid, aux, 16)
                if len(row) < 16:
                    break
                _, _, other, name, further = struct.unpack("<IHHII", row)
                names[other & 0x7FFF] = self.text(name)
                if further == 0:
                    break
                aux += further
            if step == 0:
                break
            at += step
        return names

    def fields(self) -> Iterator[Field]:
        """The fields that the loader has filled in, or will at a first call."""
        for table, size in ((_DT_RELA, _DT_RELASZ), (_DT_JMPREL, _DT_PLTRELSZ)):
            length = min(self.value(size), memory.MOST_AT_ONCE)
            raw = memory.try_read(self.pid, self.pointer(table), length) if length else b""
            for offset, info, addend in struct.iter_unpack("<QQq", raw[: len(raw) // 24 * 24]):
                yield Field(
                    in_process(Vaddr(offset), self.bias), info & 0xFFFFFFFF, info >> 32, addend, table == _DT_JMPREL
                )

    def asks_for(self, index: int, name: bytes) -> bytes | None:
        """The version that the object's undefined symbol of this index asks for (empty: none); None when it has another
        name."""
        raw = memory.try_read(self.pid, Address(self.pointer(_DT_SYMTAB) + 24 * index), 24)
        if len(raw) < 24:
            return None
        st_name, _, _, shndx, _, _ = struct.unpack("<IBBHQQ", raw)
        if shndx != abi.SHN_UNDEF or self.text(st_name) != name:
            return None
        versym = self.pointer(_DT_VERSYM)
        row = memory.try_read(self.pid, Address(versym + 2 * index), 2) if versym else b""
        return self._needed_versions.get(int.from_bytes(row, "little") & 0x7FFF, b"")

    @cached_property
    def _hash_table(self) -> bytes:
        """The first part of the GNU hash table: most questions are answered by it."""
        table = self.pointer(_DT_GNU_HASH)
        return memory.try_read(self.pid, table, _HASH_HEAD) if table else b""

    def find(self, name: bytes, version: bytes) -> Definition | None:
        """A definition of a name, by the GNU hash table. Without a version the default one."""
        table, symtab = self.pointer(_DT_GNU_HASH), self.pointer(_DT_SYMTAB)
        if not symtab or len(self._hash_table) < 16:
            return None
        buckets, first, bloom, shift = struct.unpack_from("<IIII", self._hash_table)
        if not 0 < buckets < 1 << 24 or not 0 < bloom < 1 << 24:
            return None
        wanted = 5381
        for byte in name:
            wanted = (wanted * 33 + byte) & 0xFFFFFFFF
        word_at = 16 + 8 * (wanted // 64 % bloom)
        if word_at + 8 <= len(self._hash_table):
            word = int.from_bytes(self._hash_table[word_at : word_at + 8], "little")
            if not (word >> wanted % 64) & (word >> (wanted >> (shift & 31)) % 64) & 1:
                return None  # its filter knows better than to look
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

    def _u32(self, address: Address) -> int:
        return int.from_bytes(memory.try_read(self.pid, address, 4).ljust(4, b"\1"), "little")

    def _symbol(self, symtab: Address, index: int, name: bytes, version: bytes) -> Definition | None:
        raw = memory.try_read(self.pid, Address(symtab + 24 * index), 24)
        if len(raw) < 24:
            return None
        st_name, info, _, shndx, value, _ = struct.unpack("<IBBHQQ", raw)
        if shndx == abi.SHN_UNDEF or info >> 4 == 0 or self.text(st_name) != name:
            return None
        versym = self.pointer(_DT_VERSYM)
        if versym:
            number = int.from_bytes(memory.try_read(self.pid, Address(versym + 2 * index), 2), "little")
            if version and number & 0x7FFF > 1 and self._version_names.get(number & 0x7FFF) != version:
                return None
            if not version and number & 0x8000:
                return None
        at = Address(value) if shndx == abi.SHN_ABS else in_process(Vaddr(value), self.bias)
        return Definition(at, info & 15)


def loaded_objects(tracee: Tracee, dynamic: Address = NOWHERE) -> list[LoadedObject]:
    """The loader's list, from AT_PHDR by way of PT_DYNAMIC, DT_DEBUG and r_debug.

    With the address of an image's dynamic section: the list of the namespace that the image is in (dlmopen), if the
    loader tells of more than the first: glibc from 2.35 on does, in struct r_debug_extended. Raises Refused,
    WrongTarget, Hostile.
    """
    pid = tracee.via
    debug = loader_debug(pid)
    if not debug:
        raise Refused(f"pid {tracee.pid}: has no dynamic loader to ask for imports", REMEDY, reason=Reason.NO_LOADER)
    first = _list(tracee, struct.unpack("<Q", memory.read(pid, Address(debug + 8), 8))[0])
    objects = first
    for _ in range(_MOST_NAMESPACES):
        if not dynamic or any(o.dynamic == dynamic for o in objects):
            return objects
        raw = memory.try_read(pid, Address(debug), 48)
        if len(raw) < 48 or struct.unpack_from("<I", raw)[0] < 2:
            break
        debug = struct.unpack_from("<Q", raw, 40)[0]
        if not debug:
            break
        head = memory.try_read(pid, debug + 8, 8)
        objects = _list(tracee, struct.unpack("<Q", head)[0]) if len(head) == 8 else []
    return first


def loader_debug(pid: int) -> int:
    """Where the loader keeps its struct r_debug (link.h), 0 while it has not said so. Raises WrongTarget."""
    aux = read_auxv(pid)
    count = min(max(aux.get(_AT_PHNUM, 0), 1), _MOST_SEGMENTS)
    headers = segments_in(memory.read(pid, Address(aux.get(_AT_PHDR, 0)), count * PHDR.size))
    table = Address(aux.get(_AT_PHDR, 0))
    bias = next((bias_between(table, h.p_vaddr) for h in headers if h.p_type == abi.PT_PHDR), Bias(0))
    own = next((in_process(h.p_vaddr, bias) for h in headers if h.p_type == abi.PT_DYNAMIC), Address(0))
    return LoadedObject(pid, bias, own).value(_DT_DEBUG) if own else 0


@dataclass(frozen=True)
class LoaderState:
    """What a loader tells debuggers: where it passes when its list changes, and whether the list is whole."""

    passes: Address
    is_consistent: bool


def loader_state(pid: int) -> LoaderState | None:
    """None while the loader has not said where that is."""
    debug = loader_debug(pid)
    raw = memory.try_read(pid, Address(debug), 32) if debug else b""
    if len(raw) < 32:
        return None
    at, state = struct.unpack_from("<Qi", raw, 16)
    return LoaderState(Address(at), state == 0) if at else None


def _list(tracee: Tracee, at: Address) -> list[LoadedObject]:
    found: dict[Address, LoadedObject] = {}
    while at:
        if at in found or len(found) == _MOST_OBJECTS:
            raise Hostile(tracee.pid, "the loader's list of what is loaded has no end", reason=Reason.ENDLESS_LIST)
        row = memory.try_read(tracee.via, at, 32)
        if len(row) < 32:
            break
        l_addr, l_name, l_ld, following = struct.unpack("<QQQQ", row)
        found[at] = LoadedObject(tracee.via, Bias(l_addr), Address(l_ld), Address(l_name))
        at = following
    return list(found.values())
