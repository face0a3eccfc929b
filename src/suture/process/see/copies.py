"""Programs that were linked statically and so hold a copy of a library's code of their own, which no patch of the
library reaches.

Such a program has another build-id or none; what tells is the code itself: the old functions of a patch, compared byte
for byte but for the fields that a linker fills in. A copy counts when at least one function with 64 compared bytes is
there as a whole: nothing but the same source, compiled by the same compiler with the same flags, gives these bytes.
Copies of another version of the library are not found by it.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from suture.match.pattern import Pattern
from suture.number import Address
from suture.patch.file import PatchFile
from suture.patch.x86_64 import PAGE
from suture.process.allowance import limited
from suture.process.error import Hostile, NoPermission, NoProcess
from suture.process.memory import memory
from suture.process.memory.maps import Mapping, Maps
from suture.process.proc import open_file, read_auxv
from suture.process.see.find import Found
from suture.report.reason import Reason

_AT_BASE, _AT_ENTRY = 7, 9  # getauxval(3); without a dynamic loader the base is 0
_ENOUGH = 64
_PIECE, _MOST_CODE = 4 << 20, 64 << 20
_MOST_SECONDS = 2.0
_SECONDS, _SECONDS_PER_MIB, _SECONDS_PER_PATTERN = 0.05, 0.0005, 0.0004  # three to four times what compiled code takes
_MOST_PAGES = _MOST_CODE // PAGE


@dataclass(frozen=True)
class Copy:
    """Old functions of a patch in another program: names with addresses in the process, and of how many that were
    looked for."""

    patch: PatchFile
    functions: tuple[tuple[str, int], ...]
    of: int


@dataclass(frozen=True)
class Holder:
    """A statically linked program of a process, its code at `address`, with the copies that it holds."""

    path: str
    is_deleted: bool
    address: Address
    copies: tuple[Copy, ...]


class Copies:
    """Looks for the old code of patches in static programs.

    Each file is searched once, by way of a process that executes what is in the file. One that has changed its code in
    memory is searched by itself, and its answer says nothing of others.
    """

    def __init__(self, patches: Sequence[PatchFile]) -> None:
        self._wanted = [(p, patterns) for p in patches if (patterns := _patterns(p))]
        self._known: dict[tuple[bytes, int, tuple[tuple[int, int, int], ...]], tuple[Copy, ...]] = {}

    def held_by(self, process: Found) -> Holder | None:
        """None for a program with a dynamic loader, and for one that holds no copy. Raises NoProcess, NoPermission,
        Hostile."""
        if not self._wanted:
            return None
        program = _static_program(process.via, process.maps)
        if program is None:
            return None
        texts = [m for m in process.maps.mappings if m.executable and _is_same_file(m, program)]
        _refuse_too_much(process.pid, texts)
        key = (program.device, program.inode, tuple((m.start, m.end, m.offset) for m in texts))
        is_shared = all(_is_as_in_file(process.via, m) for m in texts)
        copies = self._known.get(key) if is_shared else None
        if copies is None:
            copies = tuple(self._search(process.via, texts))
            if is_shared and all(_is_as_in_file(process.via, m) for m in texts):
                self._known[key] = copies
        return Holder(program.path, program.is_deleted, program.start, copies) if copies else None

    def _search(self, pid: int, texts: Sequence[Mapping]) -> list[Copy]:
        """Raises Hostile for a program with more code than is searched."""
        hits: dict[tuple[int, str], int] = {}
        wanted = [p for _, patterns in self._wanted for _, p in patterns]
        seconds = _seconds(texts, len(wanted))
        for start, text in _code(pid, texts, max((len(p.data) for p in wanted), default=0), seconds):
            for n, (_, patterns) in enumerate(self._wanted):
                for name, pattern in patterns:
                    if (n, name) not in hits and (at := pattern.find(text, 1)):
                        hits[n, name] = start + at[0]
        found = []
        for n, (patch, patterns) in enumerate(self._wanted):
            rows = tuple((name, hits[n, name]) for name, _ in patterns if (n, name) in hits)
            if any(pattern.compared >= _ENOUGH for name, pattern in patterns if (n, name) in hits):
                found.append(Copy(patch, rows, len(patterns)))
        return found


def _refuse_too_much(pid: int, texts: Sequence[Mapping]) -> None:
    """Before any page is asked about: a file may be mapped a thousand times."""
    if sum(m.end - m.start for m in texts) > _MOST_CODE:
        raise Hostile(
            pid,
            f"has more than {_MOST_CODE >> 20} MiB of code, which is not searched for copies",
            reason=Reason.TOO_MUCH_CODE,
        )


def _seconds(texts: Sequence[Mapping], patterns: int) -> float:
    """What a search may take: code can be made so that nothing is told from it quickly."""
    size = sum(m.end - m.start for m in texts) / (1 << 20)
    return min(_MOST_SECONDS, _SECONDS + size * (_SECONDS_PER_MIB + patterns * _SECONDS_PER_PATTERN))


def _code(pid: int, texts: Sequence[Mapping], overlap: int, seconds: float) -> Iterator[tuple[int, bytes]]:
    """The program's code in pieces that overlap, each with its address; what is mapped twice comes once."""
    pieces = {m.offset + at - m.start: (at, m.end) for m in reversed(texts) for at in range(m.start, m.end, _PIECE)}
    with limited(pid, most_bytes=2 * _MOST_CODE, seconds=seconds):
        for at, end in sorted(pieces.values()):
            yield at, memory.try_read(pid, Address(at), min(_PIECE + overlap, end - at))


def _patterns(patch: PatchFile) -> list[tuple[str, Pattern]]:
    return [(f.name, Pattern.parse(f.code)) for f in patch.manifest.functions if f.code]


def _is_same_file(mapping: Mapping, other: Mapping) -> bool:
    return (mapping.device, mapping.inode) == (other.device, other.inode)


def _is_as_in_file(pid: int, mapping: Mapping) -> bool:
    """Whether no page of a mapping has been changed in memory: a private page that was is not the file's any more
    (/proc/PID/pagemap, proc_pid_pagemap(5), bits 61 to 63)."""
    try:
        fd = open_file(pid, "pagemap")
    except (NoProcess, NoPermission):
        return False
    try:
        first, count = mapping.start // PAGE, min((mapping.end - mapping.start) // PAGE, _MOST_PAGES)
        raw = os.pread(fd, 8 * count, 8 * first)
    except OSError:
        return False
    finally:
        os.close(fd)
    if len(raw) != 8 * (mapping.end - mapping.start) // PAGE:
        return False
    return not any(entry >> 62 and not entry >> 61 & 1 for entry in array("Q", raw))


def _static_program(pid: int, maps: Maps) -> Mapping | None:
    """The mapping with the entry point of a program that was started without a dynamic loader, as the kernel noted
    it."""
    aux = read_auxv(pid)
    if aux.get(_AT_BASE, 0) or _AT_ENTRY not in aux:
        return None
    entry = maps.at(Address(aux[_AT_ENTRY]))
    return entry if entry is not None and entry.executable and entry.inode else None
