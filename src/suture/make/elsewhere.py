"""A symbol that a unit did not refer to before the fix: found by matching the unit that defines it, where the calls
of matched units lead, or in a library that provides it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from suture.compile.recipe import MULTIARCH
from suture.compile.room import Room
from suture.compile.tree import Tree
from suture.compile.unit import Binary, Unit, Variant
from suture.elf.abi import SymbolBind, SymbolType
from suture.elf.file import ElfFile
from suture.error import SutureError
from suture.make.resolve import FoundSymbol, Unresolvable, unshown
from suture.match.correlate import correlate
from suture.match.run import Run
from suture.number import Vaddr

_MOST_CANDIDATES = 12
_C_LIBRARY = "libc.so.6"
_LIBRARIES = (f"usr/lib/{MULTIARCH}", f"lib/{MULTIARCH}", "usr/lib", "usr/lib64", "lib64")


Beside = Callable[[], Sequence[Path]]


@dataclass
class OtherUnits:
    """Looks through the units of one shipped binary; answers are kept.

    `beside` gives the paths of the other shipped binaries of the package, asked when a module needs what its program
    exports.
    """

    tree: Tree
    binary: Binary
    run: Run
    beside: Beside = tuple
    _known: dict[str, FoundSymbol | None] = field(default_factory=dict)

    def find(self, name: str) -> FoundSymbol | None:
        """Link-time address of a hidden global and the place that proves it; None where another library may define it.

        Raises `Unresolvable` when no unit defines it provably and no library that the binary needs, and no program
        of the package that loads it, exports it either.
        """
        if name not in self._known:
            self._known[name] = self._search(name)
        found = self._known[name]
        if found is None and name not in self.run.slots_of:
            self._check_import(name)
        return found

    def called(self, name: str) -> Vaddr | None:
        """Where units that do not define a name lead under it, for `correlate`; None where none is found that does."""
        for unit in self._candidates(name):
            try:
                plain, sectioned = self.tree.compile([(unit, Variant.PLAIN), (unit, Variant.SECTIONS)])
                elf = ElfFile.read(sectioned.path)
                if not any(s.name == name and not s.has_section for s in elf.symbols):
                    continue
                match = correlate(unit.source, unit.object, ElfFile.read(plain.path), elf, self.run)
                address = match.leads_to(name, self.run)
            except SutureError:
                continue  # a candidate that does not compile or match proves nothing; the next one may
            if address is not None:
                return address
        return None

    def _check_import(self, name: str) -> None:
        """That a library which the binary needs exports a name, or is one that cannot be looked at. Raises
        `Unresolvable`.

        A name whose code the loader chooses (IFUNC) can be bound where the library's own calls show the choice.
        """
        owner = next((run for run in self._libraries if run is not None and name in run.exports), None)
        if owner is not None:
            symbol = owner.exports[name][0]
            if symbol.type == SymbolType.GNU_IFUNC and symbol.st_value not in owner.resolvers:
                raise Unresolvable(unshown(name))
        elif None not in self._libraries and not any(name in program.exports for program in self._programs):
            raise Unresolvable(
                f"it needs {name}, whose address in the running code is not proved and which no library exports"
            )

    @cached_property
    def _libraries(self) -> list[Run | None]:
        """Each library that the binary needs; None for one that is not where the tree is compiled.

        What a library does not find in those it needs, it gets from its process, which has the C library.
        """
        room = self.tree.room
        folders = room.layers if isinstance(room, Room) else (Path("/"),)
        found: list[Run | None] = []
        always = () if self.run.is_program or not self.run.is_dynamic else (_C_LIBRARY,)
        for soname in dict.fromkeys((*self.run.needed, *always)):
            paths = (folder / place / soname for folder in folders for place in _LIBRARIES)
            path = next((p for p in paths if p.is_file()), None)
            found.append(None if path is None else Run.read(path))
        return found

    @cached_property
    def _programs(self) -> list[Run]:
        """Programs of the package that give the binary what none of its libraries has: those that load it as a
        module."""
        if self.run.is_program:
            return []
        given = {name for run in self._libraries if run is not None for name in run.exports}
        wanted = self.run.imports - given
        programs = [run for path in self.beside() if (run := Run.read(path)).is_program]
        return [run for run in programs if not wanted.isdisjoint(run.exports)]

    def _search(self, name: str) -> FoundSymbol | None:
        for unit in self._candidates(name):
            try:
                plain, sectioned = self.tree.compile([(unit, Variant.PLAIN), (unit, Variant.SECTIONS)])
                elf = ElfFile.read(sectioned.path)
                defined = next(
                    (s for s in elf.symbols if s.name == name and s.has_section and s.bind != SymbolBind.LOCAL), None
                )
                if defined is None:
                    continue
                match = correlate(unit.source, unit.object, ElfFile.read(plain.path), elf, self.run)
            except SutureError:
                continue  # a candidate that does not compile or match proves nothing; the next one may
            address = match.address_of(name)
            if address is not None:
                return FoundSymbol(
                    address, f"{unit.source} defines it and was found", defined.type == SymbolType.GNU_IFUNC
                )
        address = self.called(name)
        return None if address is None else FoundSymbol(address, f"calls of {name} in units that were found lead there")

    def _candidates(self, name: str) -> list[Unit]:
        """Units that name the symbol at the start of a line first, as a definition in C usually does."""
        plain = re.compile(rf"\b{re.escape(name.removeprefix('__GI_'))}\b".encode())
        defined = re.compile(rf"^[A-Za-z_].*\b{re.escape(name)}\s*[(=\[;]|^{re.escape(name)}\s*\(".encode(), re.M)
        ranked: list[tuple[int, str, Unit]] = []
        for unit in self.tree.units:
            if unit.object not in self.binary.objects or unit.language == "asm":
                continue
            try:
                text = (self.tree.files / unit.source).read_bytes()
            except OSError:
                continue  # a generated source that only the room has
            if defined.search(text):
                ranked.append((0, unit.object, unit))
            elif plain.search(text):
                ranked.append((1, unit.object, unit))
        ranked.sort(key=lambda r: r[:2])
        return [unit for _, _, unit in ranked[:_MOST_CANDIDATES]]
