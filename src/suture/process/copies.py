"""Programs that were linked statically and so hold a copy of a library's code of their own, which no patch of the library reaches.

Such a program has another build-id or none; what tells is the code itself: the old functions of a patch, compared byte for byte but
for the fields that a linker fills in. A copy counts when at least one function with 64 compared bytes is there as a whole: nothing
but the same source, compiled by the same compiler with the same flags, gives these bytes. Copies of another version of the library are
not found by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from suture.match.pattern import Pattern
from suture.patch.file import PatchFile
from suture.process import memory
from suture.process.find import Found
from suture.process.maps import Mapping, Maps
from suture.process.proc import read_auxv

_AT_BASE, _AT_ENTRY = 7, 9  # getauxval(3); without a dynamic loader the base is 0
_ENOUGH = 64


@dataclass(frozen=True)
class Copy:
    """Old functions of a patch in another program: names with addresses in the process, and of how many that were looked for."""

    patch: PatchFile
    functions: tuple[tuple[str, int], ...]
    of: int


@dataclass(frozen=True)
class Holder:
    """A statically linked program of a process, with the copies that it holds."""

    path: str
    is_deleted: bool
    copies: tuple[Copy, ...]


class Copies:
    """Looks for the old code of patches in static programs. Each file is searched once: answers are kept by device and inode."""

    def __init__(self, patches: Sequence[PatchFile]) -> None:
        self._wanted = [(p, _patterns(p)) for p in patches]
        self._known: dict[tuple[bytes, int, int], tuple[Copy, ...]] = {}

    def held_by(self, process: Found) -> Holder | None:
        """None for a program with a dynamic loader, and for one that holds no copy. Raises NoProcess, NoPermission."""
        program = _static_program(process.pid, process.maps)
        if program is None:
            return None
        key = (program.device, program.inode, program.start)
        if key not in self._known:
            self._known[key] = tuple(self._search(process.pid, process.maps, program))
        copies = self._known[key]
        return Holder(program.path, program.is_deleted, copies) if copies else None

    def _search(self, pid: int, maps: Maps, program: Mapping) -> list[Copy]:
        texts = [
            (m.start, memory.try_read(pid, m.start, min(m.end - m.start, memory.MOST_AT_ONCE)))
            for m in maps.mappings
            if m.executable and (m.device, m.inode) == (program.device, program.inode)
        ]
        found = []
        for patch, patterns in self._wanted:
            rows, enough = [], False
            for name, pattern in patterns:
                at = next((start + hit for start, text in texts for hit in pattern.find(text, 1)), None)
                if at is not None:
                    rows.append((name, at))
                    enough = enough or pattern.compared >= _ENOUGH
            if enough:
                found.append(Copy(patch, tuple(rows), len(patterns)))
        return found


def _patterns(patch: PatchFile) -> list[tuple[str, Pattern]]:
    return [(f.name, Pattern.parse(f.code)) for f in patch.manifest.functions if f.code]


def _static_program(pid: int, maps: Maps) -> Mapping | None:
    """The mapping with the entry point of a program that was started without a dynamic loader, as the kernel noted it."""
    aux = read_auxv(pid)
    if aux.get(_AT_BASE, 0) or _AT_ENTRY not in aux:
        return None
    entry = maps.at(aux[_AT_ENTRY])
    return entry if entry is not None and entry.executable and entry.inode else None
