"""Correlating one compiled unit with the shipped binary: where its sections are and what the filled-in fields imply.

Whole sections first. Where a section as a whole is not found, its functions are looked for one by one, and the proof
says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from suture.elf.abi import R, SymbolBind, SymbolType
from suture.elf.fact import Section, Symbol
from suture.elf.file import ElfFile
from suture.match.book import Book
from suture.match.compiled import TaggedObject, is_own
from suture.match.linker_edit import Implied, Kind
from suture.match.match import Match, MatchedFunction, NoMatch
from suture.match.pattern import Pattern
from suture.match.proof import MatchedSection, MatchedUnit
from suture.match.reading import Reading
from suture.match.run import Run
from suture.number import Vaddr

_MIN_UNIQUE = (
    24  # bytes that must agree before one hit counts as proof: fixed ones, and fields that lead to what they name
)
_MOST_HITS = 8
_MOST_ASKED = 4  # names of one section that callers are asked for: each may take the compiling of several units

Callers = Callable[[str], Vaddr | None]
"""Where other units' code and data lead under a name, in the binary (link-time address); None where none of them shows
it."""


def correlate(
    source: str, obj: str, plain: ElfFile, sectioned: ElfFile | None, run: Run, callers: Callers = lambda _: None
) -> Match:
    """Find a unit in the shipped binary.

    `callers` is asked for what the unit's own bytes are too few to prove. `plain` is compiled with the archive's flags,
    `sectioned` also with -ffunction-sections -fdata-sections; the latter's functions are compared at the addresses that
    the former gives, which resolves every reference of theirs. Raises `NoMatch` when no section or function is found,
    `Contradiction` when places disagree.
    """
    work = _Correlation(source, run, callers)
    one = TaggedObject(plain, "plain")
    work.place_sections(one)
    if not work.placed:
        raise NoMatch(source, run.elf.name, work.reason or "none of its functions is there")
    if sectioned is not None:
        work.verify_functions(TaggedObject(sectioned, "sectioned"))
    work.book.check()
    unit = MatchedUnit(source, obj, work.whole, tuple(work.placed), tuple(sorted(work.agreed)))
    return Match(unit, work.book, work.functions, frozenset(work.verified))


class _Correlation:
    def __init__(self, source: str, run: Run, callers: Callers) -> None:
        self.run = run
        self.callers = callers
        self.book = Book(source)
        self.reading = Reading(source, run)
        self.placed: list[MatchedSection] = []
        self.functions: dict[str, MatchedFunction] = {}
        self.verified: set[str] = set()
        self.agreed: set[str] = set()
        self.whole = True
        self.reason = ""

    def place_sections(self, obj: TaggedObject) -> None:
        """Locate each code section: at exported symbols, by its only hit, or where placed code says it is."""
        left = [s for s in obj.code if not s.in_group]
        progress = True
        while left and progress:
            progress = False
            for section in list(left):
                address = self._locate(obj, section)
                if address is not None:
                    left.remove(section)
                    progress = True
                    self._place(obj, section, address)
        for section in left:
            self.whole = False
            self._place_functions(obj, section)

    def _locate(self, obj: TaggedObject, section: Section) -> Vaddr | None:
        pattern = obj.pattern(section)
        for base in self._candidates(obj, section):
            if self._fits(obj, section, pattern, base):
                return base
        hits = [Vaddr(c.address + h) for c in self.run.code for h in pattern.find(c.data, _MOST_HITS)]
        aligned = [h for h in hits if h % max(section.sh_addralign, 1) == 0]
        fitting = [h for h in aligned if self._fits(obj, section, pattern, h) and self._leads_back(obj, section, h)]
        if len(fitting) == 1 and pattern.compared + self._named(obj, section, fitting[0]) >= _MIN_UNIQUE:
            return fitting[0]
        if fitting or len(hits) >= _MOST_HITS:  # else nothing that callers say could fit
            for base in self._from_outside(obj, section):
                if self._fits(obj, section, pattern, base):
                    return base
        found = (
            "found nowhere"
            if not fitting
            else f"found {len(fitting)} times"
            if len(fitting) > 1
            else "too short to be proved by one hit"
        )
        self.reason = f"{section.name} ({section.sh_size} bytes) {found}"
        return None

    def _candidates(self, obj: TaggedObject, section: Section) -> Iterator[Vaddr]:
        known = self.book.address(Kind.ADDRESS, obj.base_key(section))
        if known is not None:
            yield known
        for symbol in obj.functions.get(section.index, ()):
            if symbol.bind != SymbolBind.LOCAL:
                for export in self.run.exports.get(symbol.name, ()):
                    yield Vaddr(export.st_value - symbol.st_value)
                value = self.book.address(Kind.ADDRESS, symbol.name)
                if value is not None:
                    yield Vaddr(value - symbol.st_value)

    def _from_outside(self, obj: TaggedObject, section: Section) -> Iterator[Vaddr]:
        """Where callers say that a section is: the program's start for `main`, and other units for what they refer
        to."""
        names = [s for s in obj.functions.get(section.index, ()) if s.bind == SymbolBind.GLOBAL]
        for symbol in sorted(names, key=lambda s: s.name != "main")[:_MOST_ASKED]:
            known = self.run.main if symbol.name == "main" else self.callers(symbol.name)
            if known is not None:
                yield Vaddr(known - symbol.st_value)

    def _named(self, obj: TaggedObject, section: Section, base: Vaddr) -> int:
        """Bytes of fields that lead to a slot of the name that the code refers to, or back into the section itself."""
        run = self.run.code_at(base, section.sh_size)
        assert run is not None  # `_fits` held
        count = 0
        for row, found in self.reading.fields(obj, section, base, run):
            symbol = obj.elf.symbols[row.symbol]
            slot = self.run.slots.get(self.run.plt.get(Vaddr(found.value), Vaddr(found.value))) if found else None
            count += 4 * ((slot is not None and slot.symbol == symbol.name != "") or is_own(symbol, section))
        return count

    def _fits(self, obj: TaggedObject, section: Section, pattern: Pattern, base: Vaddr) -> bool:
        """Bytes agree, every field is a known linker edit, and nothing known is contradicted."""
        run = self.run.code_at(base, section.sh_size)
        if run is None or not pattern.matches(run, 0):
            return False
        rows = self.reading.implied(obj, section, base, run)
        return (
            rows is not None
            and self.book.agrees((k, n, v) for k, n, v, _ in rows)
            and self._exports_agree(obj, section, base)
        )

    def _leads_back(self, obj: TaggedObject, section: Section, base: Vaddr) -> bool:
        """Whether what the section's code says of itself is true of the place, which fits."""
        run = self.run.code_at(base, section.sh_size)
        return run is not None and all(
            found is None
            or found.kind not in (Kind.ADDRESS, Kind.CALL)
            or found.value in self.run.plt
            or not is_own(symbol, section)
            or found.value == base + symbol.st_value
            for row, found in self.reading.fields(obj, section, base, run)
            for symbol in (obj.elf.symbols[row.symbol],)
        )

    def _exports_agree(self, obj: TaggedObject, section: Section, base: Vaddr) -> bool:
        for symbol in obj.functions.get(section.index, ()):
            exports = self.run.exports.get(symbol.name)
            if symbol.bind == SymbolBind.LOCAL or not exports:
                continue
            if all(e.st_value != base + symbol.st_value for e in exports):
                return False
        return True

    def _place(self, obj: TaggedObject, section: Section, base: Vaddr) -> None:
        pattern = obj.pattern(section)
        run = self.run.code_at(base, section.sh_size)
        rows = self.reading.implied(obj, section, base, run) if run is not None else None
        assert rows is not None  # `_fits` held
        self.placed.append(MatchedSection(section.name, section.sh_size, pattern.compared, base))
        self.book.add(Kind.ADDRESS, obj.base_key(section), base, f"{self.book.unit} {section.name} found")
        for symbol in obj.functions.get(section.index, ()):
            self._name(symbol, Vaddr(base + symbol.st_value))
        self._note(obj, rows)

    def _place_functions(self, obj: TaggedObject, section: Section) -> None:
        """The fallback: functions of a section that is not found as a whole, where their exports or placed code say
        they are."""
        for symbol in obj.functions.get(section.index, ()):
            end = symbol.st_value + symbol.st_size
            pattern = obj.pattern(section, symbol.st_value, end)
            # a lone hit is no proof: another unit's copy of the same static function may be all that is left of it
            known = self._address(symbol)
            if known is None:
                continue
            run = self.run.code_at(known, symbol.st_size)
            if run is None or not pattern.matches(run, 0):
                continue
            rows = self.reading.implied(obj, section, Vaddr(known - symbol.st_value), run, symbol.st_value, end)
            if rows is None or not self.book.agrees((k, n, v) for k, n, v, _ in rows):
                continue
            self.placed.append(MatchedSection(f"{section.name}:{symbol.name}", symbol.st_size, pattern.compared, known))
            self._name(symbol, known)
            self._note(obj, rows)

    def verify_functions(self, obj: TaggedObject) -> None:
        """Compare each separately compiled function at its address and note all that it implies.

        What one implies may place others, so this goes on until nothing more is found.
        """
        left = self._verify_each(obj, list(obj.code))
        self._name_variables(obj)
        self._name_pointed(obj)
        self._verify_each(obj, left)

    def _verify_each(self, obj: TaggedObject, left: list[Section]) -> list[Section]:
        """Those sections that are not found."""
        progress = True
        while left and progress:
            progress = False
            for section in list(left):
                if any(self._verify(obj, section, s) for s in obj.functions.get(section.index, ())):
                    left.remove(section)
                    progress = True
        return left

    def _verify(self, obj: TaggedObject, section: Section, symbol: Symbol) -> bool:
        address = self._address(symbol, obj.base_key(section))
        base = Vaddr(address - symbol.st_value) if address is not None else None
        pattern = obj.pattern(section)
        if base is None or not self._fits(obj, section, pattern, base):
            return False
        run = self.run.code_at(base, section.sh_size)
        rows = self.reading.implied(obj, section, base, run) if run is not None else None
        if rows is None:
            return False
        symbols = obj.functions.get(section.index, ())
        if not any(s.name in self.functions for s in symbols):
            # only reached where the plain section was not found as a whole
            self.placed.append(MatchedSection(section.name, section.sh_size, pattern.compared, base))
        self.verified.update(s.name for s in symbols)
        self.book.add(Kind.ADDRESS, obj.base_key(section), base, f"{self.book.unit} {section.name} verified")
        for other in symbols:
            self._name(other, Vaddr(base + other.st_value))
        self._note(obj, rows)
        return True

    def _address(self, symbol: Symbol, section: str = "") -> Vaddr | None:
        """Where a function is known to be; `section` is the key of a section that holds it alone, which callers may
        imply."""
        placed = self.functions.get(symbol.name)
        if placed is not None:
            return placed.address
        known = self.book.address(Kind.ADDRESS, symbol.name)
        if known is not None:
            return known
        base = self.book.address(Kind.ADDRESS, section)
        if base is not None:
            return Vaddr(base + symbol.st_value)
        called = self.book.address(Kind.CALL, symbol.name)
        if called is not None and called not in self.run.plt:
            return called
        exports = self.run.exports.get(symbol.name, ()) if symbol.bind != SymbolBind.LOCAL else ()
        return Vaddr(exports[0].st_value) if len(exports) == 1 else None

    def _name(self, symbol: Symbol, address: Vaddr) -> None:
        self.functions[symbol.name] = MatchedFunction(symbol.name, address, symbol.st_size)
        if symbol.bind != SymbolBind.LOCAL and any(
            e.st_value == address for e in self.run.exports.get(symbol.name, ())
        ):
            self.agreed.add(symbol.name)

    def _name_variables(self, obj: TaggedObject) -> None:
        """Named data from the bases of its sections."""
        for symbol in obj.elf.symbols:
            if (
                not symbol.has_section
                or symbol.name.startswith(".L")
                or symbol.type not in (SymbolType.OBJECT, SymbolType.NOTYPE)
                or not symbol.name
            ):
                continue
            section = obj.elf.sections[symbol.st_shndx]
            base = self.book.address(Kind.ADDRESS, obj.base_key(section))
            if base is not None and not section.is_merge and not section.is_code:
                place = self.book.places(Kind.ADDRESS, obj.base_key(section))[0]
                self.book.add(Kind.ADDRESS, symbol.name, base + symbol.st_value, place)

    def _name_pointed(self, obj: TaggedObject) -> None:
        """What tables at known places point to: tables of functions name what no code of the unit refers to.

        Of a table that units share (COMDAT, a C++ class's virtual functions) the linker has kept one; it is known by
        its global name, and what it points to by theirs. It is another unit's, so it never contradicts what this unit's
        code says.
        """
        for section in obj.elf.sections:
            rows = obj.relocations(section)
            base = self._table(obj, section) if rows and not section.is_code else None
            if base is None or section.is_merge or not section.is_alloc or not section.has_bits:
                continue
            pattern = obj.pattern(section)
            run = self.run.data_at(base, section.sh_size)
            if run is None or not pattern.matches(run, 0):
                continue
            for row in rows:
                symbol = obj.elf.symbols[row.symbol]
                pointed = self.run.pointer_at(Vaddr(base + row.r_offset))
                if row.r_type != R.R_64 or pointed is None or symbol.type == SymbolType.TLS:
                    continue
                if section.in_group and symbol.bind == SymbolBind.LOCAL:
                    continue
                place = f"{self.book.unit} {section.name}+{row.r_offset:#x}"
                found = Implied(Kind.ADDRESS, pointed - row.r_addend)
                noted = self.reading.noted(obj, symbol, found, place) or []
                if not section.in_group or self.book.agrees((k, n, v) for k, n, v, _ in noted):
                    self._note(obj, noted)

    def _table(self, obj: TaggedObject, section: Section) -> Vaddr | None:
        if not section.in_group:
            return self.book.address(Kind.ADDRESS, obj.base_key(section))
        names = [s for s in obj.elf.symbols if s.st_shndx == section.index and s.bind != SymbolBind.LOCAL]
        found = ((s, self.book.address(Kind.ADDRESS, s.name)) for s in names)
        return next((Vaddr(value - s.st_value) for s, value in found if value is not None), None)

    def _note(self, obj: TaggedObject, rows: list[tuple[Kind, str, int, str]]) -> None:
        for kind, name, value, place in rows:
            self.book.add(kind, name, value, place)
