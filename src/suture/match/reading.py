"""What the fields that the linker filled in imply: addresses, slots, offsets, each under a name and with its place."""

from __future__ import annotations

from collections.abc import Iterator

from suture.elf.abi import SymbolBind, SymbolType
from suture.elf.fact import Relocation, Section, Symbol
from suture.match.compiled import TaggedObject
from suture.match.linker_edit import Implied, Kind, implied, swallowed_until
from suture.match.run import Run, Slot, SlotKind
from suture.number import Vaddr


class Reading:
    """Reads the fields of one unit's sections where they are placed in a binary."""

    def __init__(self, unit: str, run: Run) -> None:
        self.unit = unit
        self.run = run

    def implied(
        self, obj: TaggedObject, section: Section, base: Vaddr, run: bytes, low: int = 0, high: int | None = None
    ) -> list[tuple[Kind, str, int, str]] | None:
        """What the fields of a section placed at `base` imply: kind, name, value, place. None when one is no known
        edit.

        `run` holds the shipped bytes of the section's range from `low` to `high`.
        """
        rows: list[tuple[Kind, str, int, str]] = []
        for row, found in self.fields(obj, section, base, run, low, high):
            if found is None:
                return None
            place = f"{self.unit} {section.name}+{row.r_offset:#x}"
            noted = self.noted(obj, obj.elf.symbols[row.symbol], found, place)
            if noted is None:
                return None
            rows.extend(noted)
        return rows

    def fields(
        self, obj: TaggedObject, section: Section, base: Vaddr, run: bytes, low: int = 0, high: int | None = None
    ) -> Iterator[tuple[Relocation, Implied | None]]:
        """Each relocation with what its field implies, None for no known edit; calls that another edit took with it are
        left out."""
        data = obj.elf.bytes_of(section)[low:high]
        skip_until = -1
        for row in obj.relocations(section):
            at = row.r_offset - low
            if row.r_offset < low or (high is not None and row.r_offset >= high) or at < skip_until:
                continue
            yield row, implied(data, run, at, row.r_type, row.r_addend, base + row.r_offset)
            skip_until = max(skip_until, swallowed_until(data, run, at, row.r_type))

    def noted(
        self, obj: TaggedObject, symbol: Symbol, found: Implied, place: str
    ) -> list[tuple[Kind, str, int, str]] | None:
        if symbol.type == SymbolType.SECTION and symbol.has_section and obj.elf.sections[symbol.st_shndx].is_merge:
            return []  # its pieces move independently, and which one is meant does not show
        name, offset = obj.key(symbol)
        kind, value = found.kind, found.value - offset
        if kind is Kind.LOCAL_MODULE_SLOT:
            return [(kind, "", found.value, place)]
        if kind is Kind.ADDRESS or kind is Kind.CALL:
            slot = self.run.slots.get(self.run.plt.get(Vaddr(found.value), Vaddr(-1)))
            if slot is not None and kind is Kind.CALL:
                return [(kind, name, value, place)] if _names(slot, symbol) else None
            if slot is not None and symbol.type == SymbolType.GNU_IFUNC:
                return []  # its PLT entry stands for its address, and where the code that chooses is does not show
            if symbol.bind == SymbolBind.LOCAL and symbol.has_section:
                kind = Kind.ADDRESS
            if (
                kind is Kind.ADDRESS
                and symbol.has_section
                and obj.elf.sections[symbol.st_shndx].in_group
                and symbol.bind == SymbolBind.LOCAL
            ):
                return []  # another unit's copy of a COMDAT may stand there
            return [(kind, name, value, place)]
        if kind is Kind.SLOT:
            slot = self.run.slots.get(Vaddr(found.value))
            rows = [(Kind.SLOT, name, found.value, place)]
            if slot is None or slot.kind is SlotKind.INDIRECT:
                return rows
            if slot.kind is SlotKind.RELATIVE:
                rows.append((Kind.ADDRESS, name, slot.value - offset, place + " through its slot"))
            elif not _names(slot, symbol):
                return None
            return rows
        return [(kind, symbol.name or name, found.value, place)]


def _names(slot: Slot, symbol: Symbol) -> bool:
    """Whether a slot's symbol is the one that the code refers to; a slot without a name says nothing.

    A reference that was bound with .symver is called NAME@VERSION in the object.
    """
    name, _, version = symbol.name.partition("@")
    return not slot.symbol or not name or (slot.symbol == name and (not version or slot.version == version.lstrip("@")))
