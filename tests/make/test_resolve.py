"""Where a reference of new code goes: facts of a running binary in, one resolution out, each judged by what the loader
would do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from suture.elf.abi import R, SymbolType
from suture.make.resolve import FoundSymbol, Resolver, Unresolvable
from suture.match.book import Book, Contradiction
from suture.match.linker_edit import Kind
from suture.match.run import Run, Slot, SlotKind
from suture.number import Vaddr
from suture.patch.manifest import ImportedSymbol, SymbolKind

IMAGE, SLOT, IMPORT = SymbolKind.IMAGE, SymbolKind.SLOT, SymbolKind.IMPORT
FIXED = (R.PC32, R.R_32, R.R_32S)


def got(address: int, name: str = "f", version: str = "") -> Slot:
    return Slot(Vaddr(address), SlotKind.SYMBOL, name, version, 0, jump=False, got=True)


def jump(address: int, name: str = "f", version: str = "") -> Slot:
    return Slot(Vaddr(address), SlotKind.SYMBOL, name, version, 0, jump=True, got=False)


def export(address: int, version: str = "", hidden: bool = False) -> Any:
    return SimpleNamespace(st_value=address, version=version, hidden_version=hidden, type=SymbolType.FUNC)


@dataclass
class Facts:
    """A running binary, as far as resolving looks at it."""

    slots_of: Mapping[str, tuple[Slot, ...]] = field(default_factory=dict)
    plt: dict[int, int] = field(default_factory=dict)
    exports: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    is_symbolic: bool = False
    chosen: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


@dataclass
class Elsewhere:
    """Units that the change does not touch; `asked` are the names that were looked for."""

    known: dict[str, FoundSymbol] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def __call__(self, name: str) -> FoundSymbol | None:
        self.asked.append(name)
        return self.known.get(name)


def unit(*rows: tuple[Kind, str, int]) -> Any:
    """A unit whose running code implies `rows`."""
    book = Book("a.c")
    for kind, name, value in rows:
        book.add(kind, name, value, f"a.c .text+{value:#x}")
    return SimpleNamespace(match=SimpleNamespace(book=book))


def resolved(facts: Facts, change: Any, r_type: int, known: dict[str, FoundSymbol] | None = None) -> ImportedSymbol:
    """The resolution of `f`."""
    resolver = Resolver(cast(Run, facts), Elsewhere(known or {}))
    return resolver.symbols[resolver.external(change, "f", r_type)]


def test_a_reference_that_the_unit_has_already_goes_where_that_one_goes() -> None:
    everything = unit((Kind.SLOT, "f", 0x5000), (Kind.CALL, "f", 0x1020), (Kind.ADDRESS, "f", 0x9000))
    facts = Facts({"f": (got(0x6000),)}, {0x1020: 0x7000}, {"f": (export(0xA000),)})
    assert resolved(facts, everything, R.REX_GOTPCRELX) == ImportedSymbol(SLOT, Vaddr(0x5000))
    assert resolved(facts, everything, R.PLT32) == ImportedSymbol(IMAGE, Vaddr(0x1020))
    for r_type in (R.PC32, R.R_64):
        assert resolved(facts, everything, r_type) == ImportedSymbol(IMAGE, Vaddr(0x9000))


def test_a_call_of_what_the_unit_only_loads_goes_through_the_units_slot() -> None:
    assert resolved(Facts(), unit((Kind.SLOT, "f", 0x5000)), R.PLT32) == ImportedSymbol(SLOT, Vaddr(0x5000))


def test_a_call_that_is_new_to_the_unit_goes_through_the_binarys_plt_or_else_its_slot() -> None:
    slots: dict[str, tuple[Slot, ...]] = {"f": (jump(0x7000),)}
    assert resolved(Facts(slots, {0x1020: 0x7000}), unit(), R.PLT32) == ImportedSymbol(IMAGE, Vaddr(0x1020))
    slots = {"f": (got(0x6000), jump(0x7000))}
    assert resolved(Facts(slots, {0x1040: 0x9999}), unit(), R.PLT32) == ImportedSymbol(SLOT, Vaddr(0x6000))


def test_the_slot_of_a_plt_alone_is_no_pointer_since_it_may_not_be_bound_yet() -> None:
    """Before the first call such a slot leads into the PLT, whose address is not the function's."""
    facts = Facts({"f": (jump(0x7000),)}, {0x1020: 0x7000})
    assert resolved(facts, unit(), R.REX_GOTPCRELX) == ImportedSymbol(IMPORT, Vaddr(0), "f", "")


def test_what_the_binary_exports_is_an_import_that_others_may_interpose() -> None:
    facts = Facts(exports={"f": (export(0xA000, "V1"),)})
    for r_type in (R.PLT32, R.GOTPCRELX, R.R_64):
        assert resolved(facts, unit(), r_type) == ImportedSymbol(IMPORT, Vaddr(0), "f", "V1")


def test_code_that_was_compiled_to_bind_an_export_directly_does() -> None:
    facts = Facts(exports={"f": (export(0xA000, "V1"),)})
    for r_type in FIXED:
        assert resolved(facts, unit(), r_type) == ImportedSymbol(IMAGE, Vaddr(0xA000))


def test_an_executable_binds_its_own_exports_to_itself() -> None:
    facts = Facts(exports={"f": (export(0xA000),)}, is_symbolic=True)
    for r_type in (R.PLT32, R.GOTPCRELX, R.R_64, *FIXED):
        assert resolved(facts, unit(), r_type) == ImportedSymbol(IMAGE, Vaddr(0xA000))


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_versions_of_an_export_the_default_one_counts(order: int) -> None:
    rows = (export(0xA000, "V1", hidden=True), export(0xB000, "V2"))[::order]
    assert resolved(Facts(exports={"f": rows}), unit(), R.PLT32) == ImportedSymbol(IMPORT, Vaddr(0), "f", "V2")
    assert resolved(Facts(exports={"f": rows}, is_symbolic=True), unit(), R.PLT32) == ImportedSymbol(
        IMAGE, Vaddr(0xB000)
    )


def test_of_two_versions_that_the_binary_asks_for_a_new_reference_gets_neither_slot_but_the_default() -> None:
    facts = Facts({"f": (got(0x6000, version="V1"), jump(0x7000, version="V2"))}, {0x1020: 0x7000})
    for r_type in (R.PLT32, R.REX_GOTPCRELX, R.R_64):
        assert resolved(facts, unit(), r_type) == ImportedSymbol(IMPORT, Vaddr(0), "f", "")


def test_a_reference_that_names_its_version_gets_that_one() -> None:
    slots = {"f": (got(0x6000, version="V1"), got(0x6008, version="V2"))}
    resolver = Resolver(cast(Run, Facts(slots)), Elsewhere())
    for version, expected in (("V1", 0x6000), ("V2", 0x6008)):
        name = resolver.external(unit(), f"f@{version}", R.REX_GOTPCRELX)
        assert resolver.symbols[name] == ImportedSymbol(SLOT, Vaddr(expected))
    name = resolver.external(unit(), "f@V3", R.PLT32)
    assert resolver.symbols[name] == ImportedSymbol(IMPORT, Vaddr(0), "f", "V3")


def test_a_name_of_another_unit_lies_where_that_unit_was_found() -> None:
    known = {"f": FoundSymbol(Vaddr(0xC000), "b.c defines it and was found")}
    for r_type in (R.PLT32, R.REX_GOTPCRELX, R.R_64, *FIXED):
        assert resolved(Facts(), unit(), r_type, known) == ImportedSymbol(IMAGE, Vaddr(0xC000))


def test_a_name_that_nothing_here_defines_is_an_import_of_any_version_unless_a_slot_names_one() -> None:
    assert resolved(Facts(), unit(), R.PLT32) == ImportedSymbol(IMPORT, Vaddr(0), "f", "")
    assert resolved(Facts({"f": (jump(0x7000, version="V3"),)}), unit(), R.R_64) == ImportedSymbol(
        IMPORT, Vaddr(0), "f", "V3"
    )


@pytest.mark.parametrize("r_type", FIXED)
def test_what_is_named_directly_and_lies_elsewhere_is_an_import_of_the_version_that_the_binary_has(r_type: int) -> None:
    """Which instructions can go round by a slot is told by tests/make/test_indirect.py."""
    assert resolved(Facts(), unit(), r_type) == ImportedSymbol(IMPORT, Vaddr(0), "f", "")
    assert resolved(Facts({"f": (got(0x6000, version="V3"),)}), unit(), r_type) == ImportedSymbol(
        IMPORT, Vaddr(0), "f", "V3"
    )


def test_other_units_are_only_asked_when_the_binary_itself_does_not_tell() -> None:
    elsewhere = Elsewhere()
    facts = Facts({"f": (got(0x6000),), "g": (jump(0x7000, "g"),)}, {0x1020: 0x7000}, {"h": (export(0xA000),)})
    resolver = Resolver(cast(Run, facts), elsewhere)
    for name in "fgh":
        resolver.external(unit(), name, R.PLT32)
    assert elsewhere.asked == []
    resolver.external(unit(), "i", R.PLT32)
    assert elsewhere.asked == ["i"]


def test_places_that_disagree_are_an_error_and_no_vote() -> None:
    with pytest.raises(Contradiction, match="f"):
        resolved(Facts(), unit((Kind.ADDRESS, "f", 1), (Kind.ADDRESS, "f", 2), (Kind.ADDRESS, "f", 2)), R.PC32)


def test_one_static_name_at_two_addresses_becomes_two_symbols() -> None:
    resolver = Resolver(cast(Run, Facts()), Elsewhere())
    names = [resolver.image("state", Vaddr(address), ("somewhere",)) for address in (0x100, 0x200, 0x100)]
    assert len(set(names)) == 2 and names[0] == names[2]
    assert [resolver.symbols[n].address for n in names] == [0x100, 0x200, 0x100]


def test_a_name_that_the_patch_defines_itself_is_left_to_it() -> None:
    resolver = Resolver(cast(Run, Facts()), Elsewhere(), taken={"state"})
    name = resolver.image("state", Vaddr(0x100), ("somewhere",))
    assert name != "state" and resolver.symbols[name].address == 0x100 and "state" not in resolver.symbols


def test_the_proof_names_places_of_used_symbols_and_counts_what_it_leaves_out() -> None:
    change = unit(*((Kind.ADDRESS, "f", 0x9000) for _ in range(7)))
    resolver = Resolver(cast(Run, Facts()), Elsewhere())
    resolver.external(change, "f", R.PC32)
    resolver.external(unit(), "g", R.PLT32)
    (row,) = resolver.proof
    assert (row.name, row.address) == ("f", 0x9000)
    assert row.implied_by[:4] == ("a.c .text+0x9000",) * 4 and row.implied_by[4:] == ("and 3 more places",)


def test_so_many_places_are_named_as_a_reader_would_check() -> None:
    for number, more in ((4, ()), (5, ("and 1 more places",))):
        resolver = Resolver(cast(Run, Facts()), Elsewhere())
        resolver.external(unit(*((Kind.ADDRESS, "f", 0x9000) for _ in range(number))), "f", R.PC32)
        assert resolver.proof[0].implied_by == ("a.c .text+0x9000",) * 4 + more


CHOSEN = Facts({"f": ()}, {0x1010: 0x5000, 0x1020: 0x7008, 0x1030: 0x7000}, chosen={0xA000: (0x7000, 0x7008)})


def test_what_the_loader_chose_is_called_by_its_plt_entry_and_read_from_its_slot() -> None:
    for r_type in (R.PLT32, *FIXED):
        resolver = Resolver(cast(Run, CHOSEN), Elsewhere())
        assert resolver.chosen("f", Vaddr(0xA000), r_type) == "f@plt" and resolver.symbols == {
            "f@plt": ImportedSymbol(IMAGE, Vaddr(0x1020))
        }
    for r_type in (R.R_64, R.GOTPCREL, R.GOTPCRELX, R.REX_GOTPCRELX):
        resolver = Resolver(cast(Run, CHOSEN), Elsewhere())
        assert resolver.chosen("f", Vaddr(0xA000), r_type) == "f@got" and resolver.symbols == {
            "f@got": ImportedSymbol(SLOT, Vaddr(0x7000))
        }
    without = replace(CHOSEN, plt={0x1010: 0x5000})
    assert Resolver(cast(Run, without), Elsewhere()).chosen("f", Vaddr(0xA000), R.PLT32) == "f@got"


def test_a_choice_that_nothing_shows_is_refused() -> None:
    with pytest.raises(
        Unresolvable, match=r"needs f, whose code the loader chooses \(IFUNC\), and nothing in a process shows"
    ):
        Resolver(cast(Run, CHOSEN), Elsewhere()).chosen("f", Vaddr(0xB000), R.PLT32)


def test_a_function_that_the_binary_exports_and_the_loader_chooses_is_never_taken_for_its_code() -> None:
    def told(r_type: int, symbolic: bool, chosen: Mapping[int, tuple[int, ...]]) -> ImportedSymbol | str:
        one = SimpleNamespace(st_value=0xA000, version="", hidden_version=False, type=SymbolType.GNU_IFUNC)
        facts = Facts(plt={0x1020: 0x7000}, exports={"f": (one,)}, is_symbolic=symbolic, chosen=chosen)
        try:
            return resolved(facts, unit(), r_type)
        except Unresolvable:
            return "refused"

    shown = {0xA000: (0x7000,)}
    # bound to itself
    assert told(R.PLT32, True, shown) == ImportedSymbol(IMAGE, Vaddr(0x1020))
    assert told(R.R_64, True, shown) == ImportedSymbol(SLOT, Vaddr(0x7000))
    assert told(R.PLT32, True, {}) == "refused"
    # another may take its place, whose choice the loader notes when it binds the import
    assert told(R.PLT32, False, shown) == ImportedSymbol(IMPORT, Vaddr(0), "f", "")
    assert told(R.PC32, False, shown) == ImportedSymbol(IMAGE, Vaddr(0x1020))
    assert told(R.PLT32, False, {}) == "refused"


def test_names_tell_a_plt_entry_from_the_function() -> None:
    for plt, name in (({0x1020: 0x7000}, "f@plt"), ({}, "f")):
        resolver = Resolver(cast(Run, Facts(plt=plt)), Elsewhere())
        assert resolver.external(unit((Kind.CALL, "f", 0x1020)), "f", R.PLT32) == name
