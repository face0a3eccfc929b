"""The mappings of a process, from /proc/PID/maps (proc_pid_maps(5)): parsed once, with bounds; and where room is.

The text comes from the kernel, but the names in it are the process's own choice. They are kept as data and never
opened.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from suture.number import Address, FileOffset
from suture.patch.x86_64 import PAGE, REACH
from suture.process.error import Hostile, NoPermission, NoProcess
from suture.process.proc import open_file
from suture.report.reason import Reason

_MOST_BYTES = 32 << 20
_MOST_AMONG_ALL, _MOST_KEPT, _FEW = 4 << 20, 2 << 20, 256 << 10
_LINE = re.compile(
    rb"([0-9a-f]+)-([0-9a-f]+) ([r-])([w-])([x-])([ps]) ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) ([0-9]+) *([^\n]*)\Z"
)
_ANONYMOUS = re.compile(rb"[0-9a-f]+-[0-9a-f]+ ..-. [0-9a-f]+ 00:00 0 *\n")
# Room that the kernel or the program will want: below the main stack and above the brk heap.
_STACK_ROOM = 64 << 20
_HEAP_ROOM = 256 << 20
_TOP = (1 << 47) - PAGE
_LOWEST = 1 << 16  # the usual vm.mmap_min_addr


@dataclass(frozen=True, slots=True)
class Mapping:
    """One line: addresses are in the process, `offset` is in the file, `name` as shown (may end in ` (deleted)`)."""

    start: Address
    end: Address
    readable: bool
    writable: bool
    executable: bool
    private: bool
    offset: FileOffset
    device: bytes
    inode: int
    name: bytes

    @property
    def path(self) -> str:
        """The name for people. The kernel writes a line's end as an escape and nothing else (show_map_vma in
        fs/proc/task_mmu.c): what looks like another one is part of the name, and must not turn it into another path."""
        raw = self.name.replace(b"\\012", b"\n")
        return raw.removesuffix(b" (deleted)").decode(errors="backslashreplace")

    @property
    def is_deleted(self) -> bool:
        return self.name.endswith(b" (deleted)")


@lru_cache(maxsize=2048)
def _mapping(line: bytes) -> Mapping | None:
    """Kept, because the maps of a process are read again and again."""
    m = _LINE.match(line)
    if m is None:
        return None
    return Mapping(
        Address(int(m[1], 16)),
        Address(int(m[2], 16)),
        m[3] == b"r",
        m[4] == b"w",
        m[5] == b"x",
        m[6] == b"p",
        FileOffset(int(m[7], 16)),
        m[8],
        int(m[9]),
        m[10],
    )


class Maps:
    """All mappings, by rising address. `raw` is the text they came from."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def __reduce__(self) -> tuple[type[Maps], tuple[bytes]]:
        return Maps, (
            self.raw,
        )  # what was parsed costs more to hand on than to parse again, and is mostly not asked for

    @cached_property
    def mappings(self) -> tuple[Mapping, ...]:
        return tuple(m for line in self.raw.split(b"\n") if (m := _mapping(line)) is not None)

    @cached_property
    def _starts(self) -> list[Address]:
        return [m.start for m in self.mappings]

    def index_of(self, address: Address) -> int | None:
        """Index in `mappings` of the one that holds an address."""
        index = bisect_right(self._starts, address) - 1
        if index >= 0 and address < self.mappings[index].end:
            return index
        return None

    def at(self, address: Address) -> Mapping | None:
        index = self.index_of(address)
        return None if index is None else self.mappings[index]

    @cached_property
    def _code(self) -> tuple[list[int], list[int]]:
        rows = [m for m in self.mappings if m.executable]
        return [m.start for m in rows], [m.end for m in rows]

    def has_code(self, start: int, end: int) -> bool:
        """Whether something executable is mapped between two addresses."""
        starts, ends = self._code
        index = bisect_right(ends, start)
        return index < len(starts) and starts[index] < end


def open_maps(pid: int) -> int:
    """A descriptor of /proc/PID/maps. Raises NoProcess, NoPermission."""
    return open_file(pid, "maps", "its memory maps may not be read")


def read_raw(pid: int, fd: int | None = None, most: int = _MOST_BYTES) -> bytes:
    """The text of /proc/PID/maps, from an open descriptor when given. Raises NoProcess, NoPermission, Hostile."""
    opened = open_maps(pid) if fd is None else fd
    try:
        parts: list[bytes] = []
        size = 0
        while part := os.pread(opened, 1 << 16, size):
            parts.append(part)
            size += len(part)
            if size > most:
                raise Hostile(pid, f"more than {most >> 20} MiB of memory maps", reason=Reason.TOO_MANY_MAPS)
        return b"".join(parts)
    except ProcessLookupError as problem:
        raise NoProcess(pid) from problem
    except PermissionError as problem:
        raise NoPermission(pid, "its memory maps may not be read", reason=Reason.DENIED_READ) from problem
    finally:
        if fd is None:
            os.close(opened)


def read_maps(pid: int) -> Maps:
    """Raises NoProcess, NoPermission, Hostile."""
    return Maps(read_raw(pid))


def read_maps_among_all(pid: int) -> Maps:
    """For a look at all processes: of one with very many mappings only those of files, of code and with a name are
    kept.

    Raises NoProcess, NoPermission, and Hostile for one with more of them than a look at all has time and memory for.
    """
    raw = read_raw(pid, most=_MOST_AMONG_ALL)
    if len(raw) > _FEW:
        raw = _ANONYMOUS.sub(b"", raw)
        if len(raw) > _MOST_KEPT:
            raise Hostile(
                pid, f"more than {_MOST_KEPT >> 20} MiB of memory maps that name files", reason=Reason.TOO_MANY_MAPS
            )
    return Maps(raw)


def choose_address(mappings: Iterable[Mapping], low: Address, high: Address, size: int) -> Address | None:
    """A free place for `size` bytes (page multiple), a page free on both sides, from where all of `low`..`high` is
    within 32 signed bits and the reverse; nearest to the image. None when there is none.

    First without the rooms above the brk heap and below the main stack, then with the heap's, at its far end. Without a
    [heap] the room above the image counts as heap: that is where the kernel puts brk.
    """
    rows = list(mappings)
    first = max(high - REACH + PAGE, _LOWEST)
    last = min(low + REACH - PAGE, _TOP) - size
    for keep_heap in (True, False):
        taken = sorted(_taken(rows, keep_heap, high))
        best: int | None = None
        floor = 0
        for start, end in [*taken, (_TOP, _TOP)]:
            bottom, top = max(floor + PAGE, first), min(start - PAGE - size, last)
            if bottom <= top:
                # below the image its upper end is nearest, above it the lower end; beside the heap the far end is
                # safest
                near = top if top < low or not keep_heap else bottom
                if best is None or abs(near - low) < abs(best - low):
                    best = near
            floor = max(floor, end)
        if best is not None:
            return Address(best // PAGE * PAGE)
    return None


def _taken(rows: list[Mapping], keep_heap: bool, high: int) -> Iterable[tuple[int, int]]:
    has_heap = any(m.name == b"[heap]" for m in rows)
    for m in rows:
        if m.name == b"[stack]":
            yield m.start - _STACK_ROOM, m.end
        elif (m.name == b"[heap]" and keep_heap) or (m.end == high and not has_heap and keep_heap):
            yield m.start, m.end + _HEAP_ROOM
        else:
            yield m.start, m.end
