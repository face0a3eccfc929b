"""A symbol that a unit did not refer to before the fix: found by matching the unit that defines it, where the calls
of matched units lead, or in a library that provides it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from suture.compile.recipe import MULTIARCH
from suture.compile.room import Room
from suture.compile.tree import Tree
from suture.compile.unit import Binary, Unit, Variant
from suture.elf.abi import SymbolBind, SymbolType
from suture.elf.fact import Symbol
from suture.elf.file import ElfFile
from suture.error import SutureError
from suture.make.resolve import FoundSymbol, Unresolvable, unshown
from suture.match.correlate import correlate
from suture.match.match import Match
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
    _led: dict[str, Vaddr | None] = field(default_factory=dict)
    _matches: dict[str, Match | SutureError] = field(default_factory=dict)

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
        if name not in self._led:
            found = (m.leads_to(name, self.run) for _, m in self._matched(name, is_defined=False))
            self._led[name] = next((address for address in found if address is not None), None)
        return self._led[name]

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
        for symbol, match in self._matched(name, is_defined=True):
            address = match.address_of(name)
            if address is not None:
                place = f"{match.unit.source} defines it and was found"
                return FoundSymbol(address, place, symbol.type == SymbolType.GNU_IFUNC)
        address = self.called(name)
        return None if address is None else FoundSymbol(address, f"calls of {name} in units that were found lead there")

    def _matched(self, name: str, is_defined: bool) -> Iterator[tuple[Symbol, Match]]:
        """The candidates that define a name for others, or that have it from elsewhere, as they were found in the
        binary. One that does not compile or match proves nothing; the next one may."""
        for unit in self._candidates(name):
            with suppress(SutureError):
                plain, sectioned = self.tree.compile([(unit, Variant.PLAIN), (unit, Variant.SECTIONS)])
                elf = ElfFile.read(sectioned.path)
                rows = (s for s in elf.symbols if s.name == name and s.has_section is is_defined)
                symbol = next((s for s in rows if not is_defined or s.bind != SymbolBind.LOCAL), None)
                if symbol is not None:
                    yield symbol, self._match(unit, plain.path, elf)

    def _match(self, unit: Unit, plain: Path, sectioned: ElfFile) -> Match:
        """What a unit comes to without being told of others; worked out once. Raises what `correlate` does."""
        if unit.object not in self._matches:
            try:
                found = correlate(unit.source, unit.object, ElfFile.read(plain), sectioned, self.run)
                self._matches[unit.object] = found
            except SutureError as problem:
                self._matches[unit.object] = problem
        known = self._matches[unit.object]
        if isinstance(known, Match):
            return known
        raise known

    def _candidates(self, name: str) -> list[Unit]:
        """Units that name the symbol at the start of a line first, as a definition in C usually does."""
        word = name.removeprefix("__GI_").encode()
        plain = re.compile(rb"\b%b\b" % re.escape(word))
        defined = re.compile(rf"^[A-Za-z_].*\b{re.escape(name)}\s*[(=\[;]|^{re.escape(name)}\s*\(".encode(), re.M)
        ranked: list[tuple[int, str, Unit]] = []
        for unit in self.tree.units:
            if unit.object not in self.binary.objects or unit.language == "asm":
                continue
            try:
                text = (self.tree.files / unit.source).read_bytes()
            except OSError:
                continue  # a generated source that only the room has
            if word not in text:
                continue  # a search for words takes a hundred times as long
            if defined.search(text):
                ranked.append((0, unit.object, unit))
            elif plain.search(text):
                ranked.append((1, unit.object, unit))
        ranked.sort(key=lambda r: r[:2])
        return [unit for _, _, unit in ranked[:_MOST_CANDIDATES]]
