"""How each outside reference of new code is resolved: as the running code resolves it, else as the loader would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from suture.delta.change import UnitChange
from suture.elf.abi import GOT_LOADS, R, SymbolType
from suture.elf.fact import Symbol
from suture.match.linker_edit import Kind
from suture.match.proof import ProvenSymbol
from suture.match.run import Run
from suture.number import Vaddr
from suture.patch.manifest import ImportedSymbol, SymbolKind

_PLACES = 4  # places named per symbol in the proof; more add nothing that a reader would check


@dataclass(frozen=True)
class FoundSymbol:
    """A symbol that another unit defines: link-time address, the place that implies it, and whether it chooses its code
    (IFUNC)."""

    address: Vaddr
    place: str
    is_ifunc: bool = False


Elsewhere = Callable[[str], FoundSymbol | None]
"""Finds a hidden symbol by matching the unit that defines it. May raise `Unresolvable`."""


class Unresolvable(Exception):
    """A reference that can't be resolved; the message says why. Caught where the function is refused."""


@dataclass
class Resolver:
    """Resolutions for one target binary, gathered by symbol name of the patch. `taken` are names that the patch defines
    itself."""

    run: Run
    elsewhere: Elsewhere
    symbols: dict[str, ImportedSymbol] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    _proof: dict[str, tuple[Vaddr, tuple[str, ...]]] = field(default_factory=dict)

    @property
    def proof(self) -> tuple[ProvenSymbol, ...]:
        return tuple(ProvenSymbol(n, a, p) for n, (a, p) in sorted(self._proof.items()))

    def image(self, name: str, address: Vaddr, places: tuple[str, ...]) -> str:
        """A symbol at a link-time address of the target. Returns the name that the patch uses for it."""
        return self._note(name, ImportedSymbol(SymbolKind.IMAGE, address), places)

    def chosen(self, name: str, resolver: Vaddr, r_type: int) -> str:
        """A function of the binary that the loader chose (IFUNC), by what it noted for the binary's own calls;
        `resolver` is the symbol's link-time address, where the code that chooses is. Raises `Unresolvable`."""
        places = self.run.chosen.get(resolver)
        if places is None:
            raise Unresolvable(unshown(name))
        entry = next((e for e, at in sorted(self.run.plt.items()) if at in places), None)
        if entry is not None and r_type not in GOT_LOADS and r_type != R.R_64:
            return self._called(name, entry, (f"PLT entry of what the loader chose for {name}",))
        return self._slot(name, places[0], (f"slot that holds what the loader chose for {name}",))

    def external(self, change: UnitChange, name: str, r_type: int) -> str:
        """A name that another unit or binary defines. Raises `Unresolvable`."""
        known = self.as_before(change, name, r_type)
        return known if known is not None else self._as_loader(name, r_type)

    def thread(self, change: UnitChange, kind: Kind, name: str) -> int | None:
        """A thread-local fact that the running code implies: an offset, or the address of a slot."""
        return change.match.book.get(kind, name)

    def as_before(self, change: UnitChange, name: str, r_type: int) -> str | None:
        """As the running code of the unit resolves it; None if it has no such reference."""
        book = change.match.book
        if r_type in GOT_LOADS:
            slot = book.address(Kind.SLOT, name)
            if slot is not None:
                return self._slot(name, slot, book.places(Kind.SLOT, name))
        if r_type == R.PLT32:
            called = book.address(Kind.CALL, name)
            if called is not None:
                return self._called(name, called, book.places(Kind.CALL, name))
        address = book.address(Kind.ADDRESS, name)
        if address is not None:
            return self.image(name, address, book.places(Kind.ADDRESS, name))
        if r_type == R.PLT32:
            slot = book.address(Kind.SLOT, name)
            if slot is not None:
                return self._slot(name, slot, book.places(Kind.SLOT, name))
        return None

    def _as_loader(self, name: str, r_type: int) -> str:
        """A reference that the unit did not have before. One that was bound with .symver is called NAME@VERSION."""
        bare, _, wanted = name.partition("@")
        wanted = wanted.lstrip("@")
        slots = tuple(s for s in self.run.slots_of.get(bare, ()) if wanted in ("", s.version))
        if len({s.version for s in slots}) > 1:
            slots = ()  # which one a plain name means does not show here; in the process the default version is it
        if r_type == R.PLT32:
            for entry, at in sorted(self.run.plt.items()):
                if any(s.address == at for s in slots):
                    return self._called(name, entry, (f"PLT entry whose slot the loader fills with {name}",))
        export = self._export(bare, wanted)
        ifunc = export is not None and export.type == SymbolType.GNU_IFUNC
        directly = r_type in (R.PC32, R.R_32, R.R_32S)
        if export is not None and ifunc and (self.run.is_symbolic or export.st_value not in self.run.chosen):
            return self.chosen(name, Vaddr(export.st_value), r_type)
        if export is not None and self.run.is_symbolic:
            return self.image(name, Vaddr(export.st_value), ("exported, bound inside the binary",))
        plain = [s for s in slots if s.got]
        if plain and not directly:
            return self._slot(name, plain[0].address, (f"slot that the loader fills with {name}",))
        if export is not None and directly:
            if ifunc:
                return self.chosen(name, Vaddr(export.st_value), r_type)
            return self.image(name, Vaddr(export.st_value), ("exported; the code was compiled to bind it directly",))
        if export is not None:
            return self._import(name, export.version)
        found = self.elsewhere(name) if not wanted else None
        if found is not None:
            if found.is_ifunc:
                return self.chosen(name, found.address, r_type)
            return self.image(name, found.address, (found.place,))
        version = slots[0].version if slots else wanted
        return self._import(name, version)

    def _export(self, name: str, version: str) -> Symbol | None:
        """The binary's own definition of a name; without a version the default one (`name@@VERSION`)."""
        rows = [e for e in self.run.exports.get(name, ()) if version in ("", e.version)]
        return next((e for e in rows if not e.hidden_version), rows[0] if rows else None)

    def _called(self, name: str, address: Vaddr, places: tuple[str, ...]) -> str:
        return self.image(f"{name}@plt" if address in self.run.plt else name, address, places)

    def _slot(self, name: str, address: Vaddr, places: tuple[str, ...]) -> str:
        return self._note(f"{name}@got", ImportedSymbol(SymbolKind.SLOT, address), places)

    def _import(self, name: str, version: str) -> str:
        symbol = f"{name}@import"
        self.symbols[symbol] = ImportedSymbol(SymbolKind.IMPORT, Vaddr(0), name.partition("@")[0], version)
        return symbol

    def _note(self, name: str, symbol: ImportedSymbol, places: tuple[str, ...]) -> str:
        if name in self.taken:
            return self._note(f"{name}@run", symbol, places)
        known = self.symbols.get(name)
        if known is not None and known != symbol:
            # the same static name in two units
            return self._note(f"{name}@{symbol.address:#x}", symbol, places)
        self.symbols[name] = symbol
        if name not in self._proof:
            more = len(places) - _PLACES
            self._proof[name] = (symbol.address, (*places[:_PLACES], f"and {more} more places") if more > 0 else places)
        return name


def unshown(name: str) -> str:
    """Why a function whose code the loader chooses can't be called by code that did not call it before."""
    return f"it needs {name}, whose code the loader chooses (IFUNC), and nothing in a process shows the choice"
