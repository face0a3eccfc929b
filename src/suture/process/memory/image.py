"""ELF images that a process has loaded, with build-id and load bias, read from its memory alone.

The file may be deleted, replaced, or out of sight in a container. What is read is the process's own, so every count is
bounded and nothing is believed beyond it: a fake build-id is found out by the hash of the code. A file may be loaded
several times; each is an image of its own. One that is mapped without being executable, as a debugger maps it, is none.
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from suture.elf import abi
from suture.elf.fact import Segment
from suture.elf.file import EHDR, PHDR, build_id_in, segments_in
from suture.number import Address, Bias, BuildId, Vaddr, bias_between, in_process
from suture.patch.x86_64 import PAGE
from suture.process import syscall
from suture.process.allowance import spend
from suture.process.error import NoPermission, NoProcess
from suture.process.memory import memory
from suture.process.memory.maps import Mapping, Maps
from suture.process.proc import read_auxv, read_file

# as many as there are mappings in bounded maps: with fewer, a process could hide an image behind others
_MOST_IMAGES = 1 << 20
_MOST_SEGMENTS = 64
_MOST_NOTES = 64 << 10
_MOST_DIGITS = 512  # of a build-id: --build-id=0x... takes any number
_AT_PHENT, _PHENT_32 = 4, 32


@dataclass(frozen=True)
class Image:
    """A mapped ELF64 x86-64 file. `start`..`end` covers its segments (addresses in the process); bias = address -
    link-time address."""

    path: str
    is_deleted: bool
    build_id: BuildId
    bias: Bias
    start: Address
    end: Address
    dynamic: Address
    device: bytes
    inode: int

    def holds(self, address: Vaddr, size: int) -> bool:
        """Whether a link-time range lies in the image."""
        return self.start <= address + self.bias and address + size + self.bias <= self.end


@dataclass(frozen=True)
class Look:
    """The images of one process, and what proves that another process would give the same: digests of all bytes that
    they were read from, which are the pages at `starts` and `more` (address, size)."""

    images: tuple[Image, ...]
    starts: tuple[Address, ...]
    pages: bytes
    more: tuple[tuple[Address, int], ...]
    rest: bytes


def images(pid: int, maps: Maps) -> list[Image]:
    """All images with a build-id, by rising address. Unreadable or odd ones are left out; an ended process has none."""
    return list(look(pid, maps).images)


def look(pid: int, maps: Maps, like: Look | None = None) -> Look:
    """The images of a process. `like` is what a process with the very same maps gave: it holds where the bytes are the
    same too."""
    if like is not None and _is_like(pid, like):
        return like
    rows = [m for m in maps.mappings if m.offset == 0 and m.readable and m.inode][:_MOST_IMAGES]
    pages, rest = _Reads(pid), _Reads(pid)
    begins = list(_begins(pages, rest, rows))
    found = tuple(image for m, outline in begins if (image := _image(rest, maps, m, outline)) is not None)
    return Look(found, tuple(m.start for m in rows), pages.digest, tuple(rest.at), rest.digest)


def _is_like(pid: int, like: Look) -> bool:
    pages, rest = _Reads(pid), _Reads(pid)
    for start, page in zip(like.starts, _first_pages(pid, like.starts), strict=True):
        pages.note(start, page)
    if pages.digest != like.pages:
        return False
    for at in like.more:
        rest.read(*at)
    return rest.digest == like.rest


def _begins(pages: _Reads, rest: _Reads, rows: Sequence[Mapping]) -> Iterator[tuple[Mapping, _Outline]]:
    """Where images begin. Where one of them maps the first page of its file again is no beginning of another."""
    inner: set[tuple[bytes, int, Address]] = set()
    for mapping, page in zip(rows, _first_pages(pages.pid, [m.start for m in rows]), strict=True):
        pages.note(mapping.start, page)
        if page[:4] != abi.ELFMAG:
            continue
        spend(0)
        outline = _outline(page, _table_elsewhere(rest, mapping, page))
        if outline is not None and (mapping.device, mapping.inode, mapping.start) not in inner:
            bias = bias_between(mapping.start, outline.first)
            inner |= {(mapping.device, mapping.inode, in_process(again, bias)) for again in outline.again}
            yield mapping, outline


class _Reads:
    """What was read of a process's memory: where, and a digest of it all."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._seen = hashlib.sha256()
        self.at: list[tuple[Address, int]] = []

    def read(self, address: Address, size: int) -> bytes:
        data = memory.try_read(self.pid, address, size)
        self.note(address, data)
        self.at.append((address, size))
        return data

    def note(self, address: Address, data: bytes) -> None:
        self._seen.update(b"%x %x " % (address, len(data)))
        self._seen.update(data)

    @property
    def digest(self) -> bytes:
        return self._seen.digest()


def frame_headers(pid: int, maps: Maps) -> list[tuple[Address, Address, Address]]:
    """(start, end, address of .eh_frame_hdr) of every image that has one, the vDSO included."""
    rows = [m for m in maps.mappings if m.offset == 0 and m.readable and (m.inode or m.name == b"[vdso]")]
    return [
        (m.start, in_process(o.high, bias), in_process(o.frames, bias))
        for m, o in _begins(_Reads(pid), _Reads(pid), rows)
        if o.frames is not None
        for bias in (bias_between(m.start, o.first),)
    ]


def is_32_bit(pid: int) -> bool:
    """Whether the program was started as 32-bit code: the kernel's auxiliary vector has fields of that size then
    (getauxval(3))."""
    try:
        raw = read_file(pid, "auxv")
        long = read_auxv(pid)
    except (NoProcess, NoPermission):
        return False
    short = dict(struct.iter_unpack("<II", raw[: len(raw) // 8 * 8]))
    return long.get(_AT_PHENT) != PHDR.size and short.get(_AT_PHENT) == _PHENT_32


def _first_pages(pid: int, starts: Sequence[Address]) -> Iterator[bytes]:
    """The pages at these addresses, empty where they cannot be read. Of very many, which are mostly data, only those of
    programs."""
    if len(starts) <= syscall.IOV_MAX:
        yield from _pieces(pid, starts, PAGE)
        return
    magic = list(_pieces(pid, starts, len(abi.ELFMAG)))
    pages = _pieces(pid, [a for a, m in zip(starts, magic, strict=True) if m == abi.ELFMAG], PAGE)
    for m in magic:
        yield next(pages) if m == abi.ELFMAG else m


def _pieces(pid: int, starts: Sequence[Address], size: int) -> Iterator[bytes]:
    """So many bytes at each address, empty where they cannot be read. One call reads up to 1024 of them."""
    buffer = bytearray(size * min(len(starts), syscall.IOV_MAX))
    base = syscall.address_of(buffer)
    at = 0
    while at < len(starts):
        part = starts[at : at + syscall.IOV_MAX]
        spend(size * len(part))
        try:
            done = syscall.process_vm_readv_into(pid, base, array("Q", [v for a in part for v in (a, size)])) // size
        except OSError:
            done = 0
        for i in range(done):
            yield bytes(buffer[i * size : (i + 1) * size])
        if done < len(part):
            yield b""
            done += 1
        at += done


def _table(page: bytes) -> tuple[int, int]:
    """(offset, size) of the program headers that the first page of an ELF64 x86-64 image tells of; (0, 0) for anything
    else."""
    if page[:4] != abi.ELFMAG or page[4] != abi.ELFCLASS64 or page[5] != abi.ELFDATA2LSB:
        return 0, 0
    header = EHDR.unpack_from(page)
    phoff, phentsize, phnum = header[5], header[9], header[10]
    if header[2] != abi.EM_X86_64 or phentsize != PHDR.size or not 0 < phnum <= _MOST_SEGMENTS:
        return 0, 0
    return phoff, phnum * PHDR.size


def _segments(page: bytes, elsewhere: bytes = b"") -> tuple[Segment, ...]:
    """Program headers of an image; `elsewhere` are their bytes when they are not in its first page."""
    offset, size = _table(page)
    table = elsewhere or page[offset : offset + size]
    return segments_in(table) if size and len(table) == size else ()


def _table_elsewhere(reads: _Reads, mapping: Mapping, page: bytes) -> bytes:
    """Program headers that lie behind the first page, as tools that edit files place them."""
    offset, size = _table(page)
    if offset + size <= len(page) or mapping.start + offset + size > mapping.end:
        return b""
    return reads.read(Address(mapping.start + offset), size)


@dataclass(frozen=True)
class _Outline:
    """What the headers say. Addresses are link-time addresses. `frames`: .eh_frame_hdr; `notes`: address, size, and the
    build-id found in the page; `code`: start and end of executable segments; `again`: pages behind the first segment
    that begin in the first page of the file too, as linkers without -z separate-code lay it out."""

    first: Vaddr
    low: Vaddr
    high: Vaddr
    dynamic: Vaddr | None
    frames: Vaddr | None
    notes: tuple[tuple[Vaddr, int, BuildId | None], ...]
    code: tuple[tuple[Vaddr, Vaddr], ...]
    again: tuple[Vaddr, ...]


@lru_cache(maxsize=1024)
def _outline(page: bytes, elsewhere: bytes) -> _Outline | None:
    """Kept for the next process, because most have the same files mapped."""
    segments = _segments(page, elsewhere)
    loads = [s for s in segments if s.p_type == abi.PT_LOAD]
    first = next((Vaddr(s.p_vaddr // PAGE * PAGE) for s in loads if s.p_offset // PAGE == 0), None)
    if first is None:
        return None
    notes = []
    for note in (s for s in segments if s.p_type == abi.PT_NOTE):
        address, size = note.p_vaddr, note.p_filesz
        inside = address - first
        is_here = size <= _MOST_NOTES and inside >= 0 and inside + size <= len(page)
        notes.append((address, size, build_id_in(page[inside : inside + size]) if is_here else None))
    return _Outline(
        first,
        min(s.p_vaddr for s in loads),
        max(Vaddr(s.p_vaddr + s.p_memsz) for s in loads),
        next((s.p_vaddr for s in segments if s.p_type == abi.PT_DYNAMIC), None),
        next((s.p_vaddr for s in segments if s.p_type == abi.PT_GNU_EH_FRAME), None),
        tuple(notes),
        tuple((s.p_vaddr, Vaddr(s.p_vaddr + s.p_memsz)) for s in loads if s.p_flags & abi.PF_X),
        tuple(
            {
                Vaddr(s.p_vaddr // PAGE * PAGE)
                for s in loads
                if s.p_offset // PAGE == 0 and s.p_vaddr // PAGE * PAGE > first
            }
        ),
    )


def _image(reads: _Reads, maps: Maps, mapping: Mapping, found: _Outline) -> Image | None:
    bias = bias_between(mapping.start, found.first)
    start, end = (bias + found.low) // PAGE * PAGE, -(-(bias + found.high) // PAGE) * PAGE
    if not 0 <= start < end < 1 << 47 or end - start >= 1 << 31:
        return None
    if not any(maps.has_code(bias + low, bias + high) for low, high in found.code):
        return None
    dynamic = Address(0) if found.dynamic is None else in_process(found.dynamic, bias)
    for address, size, known in found.notes:
        build_id = known or build_id_in(_note(reads, mapping, in_process(address, bias), size))
        if build_id and len(build_id) <= _MOST_DIGITS:
            return Image(
                mapping.path,
                mapping.is_deleted,
                build_id,
                bias,
                Address(start),
                Address(end),
                dynamic,
                mapping.device,
                mapping.inode,
            )
    return None


def _note(reads: _Reads, mapping: Mapping, address: Address, size: int) -> bytes:
    inside = address - mapping.start
    if size > _MOST_NOTES or (inside >= 0 and inside + size <= PAGE):
        return b""
    return reads.read(address, size)
