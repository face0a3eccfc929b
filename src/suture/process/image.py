"""ELF images that a process has mapped, with build-id and load bias, read from its memory alone.

The file may be deleted, replaced, or out of sight in a container. What is read is the process's own, so every count is bounded
and nothing is believed beyond it: a fake build-id is found out by the hash of the code.
"""

from __future__ import annotations

import ctypes
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from suture.elf import abi
from suture.elf.file import build_id_in
from suture.patch.x86_64 import PAGE
from suture.process import memory, syscall
from suture.process.error import NoPermission, NoProcess
from suture.process.maps import Mapping, Maps
from suture.process.proc import read_auxv, read_file

# as many as there are mappings in bounded maps: with fewer, a process could hide an image behind others
_MOST_IMAGES = 1 << 20
_MOST_SEGMENTS = 64
_MOST_NOTES = 64 << 10
_AT_PHENT, _PHENT_32 = 4, 32
_PT_GNU_EH_FRAME = 0x6474E550
_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")


@dataclass(frozen=True)
class Image:
    """A mapped ELF64 x86-64 file. `start`..`end` covers its segments (addresses in the process); bias = address - link-time address."""

    path: str
    is_deleted: bool
    build_id: str
    bias: int
    start: int
    end: int
    dynamic: int
    device: bytes
    inode: int

    def holds(self, address: int, size: int) -> bool:
        """Whether a link-time range lies in the image."""
        return self.start <= address + self.bias and address + size + self.bias <= self.end


def images(pid: int, maps: Maps) -> list[Image]:
    """All images with a build-id, by rising address. Unreadable or odd ones are left out; an ended process has none."""
    rows = [m for m in maps.mappings if m.offset == 0 and m.readable and m.inode][:_MOST_IMAGES]
    found = []
    for mapping, page in zip(rows, _first_pages(pid, rows), strict=True):
        image = _parse(pid, mapping, page)
        if image is not None:
            found.append(image)
    return found


def frame_headers(pid: int, maps: Maps) -> list[tuple[int, int, int]]:
    """(start, end, address of .eh_frame_hdr) of every image that has one, the vDSO included."""
    rows = [m for m in maps.mappings if m.offset == 0 and m.readable and (m.inode or m.name == b"[vdso]")][
        :_MOST_IMAGES
    ]
    found = []
    for mapping, page in zip(rows, _first_pages(pid, rows), strict=True):
        segments = _segments(page)
        loads = [s for s in segments if s[0] == abi.PT_LOAD]
        first = next((s for s in loads if s[2] // PAGE == 0), None)
        header = next((s for s in segments if s[0] == _PT_GNU_EH_FRAME), None)
        if first is not None and header is not None:
            bias = mapping.start - first[3] // PAGE * PAGE
            found.append((mapping.start, bias + max(s[3] + s[6] for s in loads), bias + header[3]))
    return found


def with_build_id(pid: int, maps: Maps, build_id: str) -> list[Image]:
    """The images that claim this build-id; more than one when the file is loaded twice (dlmopen), or when one lies."""
    return [i for i in images(pid, maps) if i.build_id == build_id]


def is_32_bit(pid: int) -> bool:
    """Whether the program was started as 32-bit code: the kernel's auxiliary vector has fields of that size then (getauxval(3))."""
    try:
        raw = read_file(pid, "auxv")
        long = read_auxv(pid)
    except (NoProcess, NoPermission):
        return False
    short = dict(struct.iter_unpack("<II", raw[: len(raw) // 8 * 8]))
    return long.get(_AT_PHENT) != _PHDR.size and short.get(_AT_PHENT) == _PHENT_32


def _first_pages(pid: int, rows: Sequence[Mapping]) -> Iterator[bytes]:
    """The first page of each mapping, empty where it cannot be read. One call reads up to 1024 of them."""
    buffer = bytearray(PAGE * min(len(rows), syscall.IOV_MAX))
    base = ctypes.addressof((ctypes.c_char * len(buffer)).from_buffer(buffer))
    at = 0
    while at < len(rows):
        part = rows[at : at + syscall.IOV_MAX]
        try:
            done = (
                syscall.process_vm_readv_into(pid, base, array("Q", [v for m in part for v in (m.start, PAGE)])) // PAGE
            )
        except OSError:
            done = 0
        for i in range(done):
            yield bytes(buffer[i * PAGE : (i + 1) * PAGE])
        if done < len(part):
            yield b""
            done += 1
        at += done


def _segments(page: bytes) -> list[tuple[int, ...]]:
    """Program headers in the first page of an ELF64 x86-64 image; empty for anything else."""
    if page[:4] != abi.ELFMAG or page[4] != abi.ELFCLASS64 or page[5] != abi.ELFDATA2LSB:
        return []
    header = _EHDR.unpack_from(page)
    phoff, phentsize, phnum = header[5], header[9], header[10]
    if header[2] != abi.EM_X86_64 or phentsize != _PHDR.size or not 0 < phnum <= _MOST_SEGMENTS:
        return []
    table = page[phoff : phoff + phnum * _PHDR.size] if phoff < PAGE else b""
    if len(table) != phnum * _PHDR.size:
        return []
    return list(_PHDR.iter_unpack(table))


@dataclass(frozen=True)
class _Outline:
    """What the first page says. Addresses are link-time addresses. `notes`: address, size, and the build-id found in the page."""

    first: int
    low: int
    high: int
    dynamic: int | None
    notes: tuple[tuple[int, int, str | None], ...]


@lru_cache(maxsize=1024)
def _outline(page: bytes) -> _Outline | None:
    """Kept for the next process, because most have the same files mapped."""
    segments = _segments(page)
    loads = [s for s in segments if s[0] == abi.PT_LOAD]
    first = next((s[3] // PAGE * PAGE for s in loads if s[2] // PAGE == 0), None)
    if first is None:
        return None
    notes = []
    for _, _, _, address, _, size, *_ in (s for s in segments if s[0] == abi.PT_NOTE):
        inside = address - first
        is_here = size <= _MOST_NOTES and inside >= 0 and inside + size <= len(page)
        notes.append((address, size, build_id_in(page[inside : inside + size]) if is_here else None))
    dynamic = next((s[3] for s in segments if s[0] == abi.PT_DYNAMIC), None)
    return _Outline(first, min(s[3] for s in loads), max(s[3] + s[6] for s in loads), dynamic, tuple(notes))


def _parse(pid: int, mapping: Mapping, page: bytes) -> Image | None:
    found = _outline(page)
    if found is None:
        return None
    bias = mapping.start - found.first
    start, end = (bias + found.low) // PAGE * PAGE, -(-(bias + found.high) // PAGE) * PAGE
    if not 0 <= start < end < 1 << 47 or end - start >= 1 << 31:
        return None
    dynamic = 0 if found.dynamic is None else bias + found.dynamic
    for address, size, known in found.notes:
        build_id = known or build_id_in(_note(pid, mapping, bias + address, size))
        if build_id and len(build_id) <= 128:
            return Image(
                mapping.path, mapping.is_deleted, build_id, bias, start, end, dynamic, mapping.device, mapping.inode
            )
    return None


def _note(pid: int, mapping: Mapping, address: int, size: int) -> bytes:
    inside = address - mapping.start
    if size > _MOST_NOTES or (inside >= 0 and inside + size <= PAGE):
        return b""
    return memory.try_read(pid, address, size)
