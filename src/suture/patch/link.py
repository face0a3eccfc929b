"""A patch object relocated to a load address: a pure function from bytes and numbers to bytes.

The format: docs/reference/patch-format.md.

The text mapping holds the record, code, constants, unwind tables with their finder, switch stubs and import thunks; the
data mapping, directly behind it, the switch bytes, GOT slots, `.data` and `.bss`. Relocation formulas: psABI table 4.9.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from suture.elf import abi
from suture.elf.abi import GOT_LOADS, R
from suture.elf.call_frame import BadCallFrame
from suture.elf.fact import Relocation, Section, Symbol
from suture.number import NOWHERE, Address, Bias, Vaddr, in_process
from suture.patch import finder, x86_64
from suture.patch.file import PatchFile
from suture.patch.manifest import BadPatch, Manifest, ReplacedFunction, SymbolKind
from suture.patch.record import (
    PlacedFunction,
    PlacedGroup,
    PlacedPart,
    PlacedTripwire,
    PlacedUnwinding,
    Record,
    RecordedFix,
)
from suture.patch.tripwire import SECTION as COUNTERS

_SLOT = 8
_THUNK = 8
_MASK = (1 << 64) - 1


@dataclass(frozen=True)
class Unwinding:
    """Offsets of the finder, its continuation, its table of `count` rows, and the word with the next finder's
    address."""

    section: Section
    finder: int
    continuation: int
    rows: int
    count: int
    following: int


@dataclass(frozen=True)
class Runtime:
    """The C++ runtime of one process: address of `_Unwind_Find_FDE`, offset and bytes of what a hook displaces, and the
    finder that answers next after the patch's own, 0 for none."""

    function: Address
    entry: int
    displaced: bytes
    following: Address


@dataclass(frozen=True, eq=False)
class Layout:
    """Offsets from the load address; sizes are page multiples.

    `code` and `code_size` cover all executable sections. `sections` by section index, `stubs` by the function's
    link-time address, `switches` by the group's place in the manifest, `slots` and `thunks` by symbol index.
    `unwinding` for a patch with .eh_frame. `companions`: ids of patches that switch in the same stop.
    """

    text_size: int
    data_size: int
    code: int
    code_size: int
    sections: Mapping[int, int]
    stubs: Mapping[Vaddr, int]
    switches: tuple[int, ...]
    slots: Mapping[int, int]
    thunks: Mapping[int, int]
    unwinding: Unwinding | None
    companions: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return self.text_size + self.data_size


@dataclass(frozen=True)
class Place:
    """What a process decides: load address, the image's load bias, values of its GOT slots by link-time address,
    addresses of imports by symbol name, and the bytes at each old function's entry by the function's link-time address.
    `runtime` is None where no C++ runtime is to be told."""

    base: Address
    bias: Bias
    slots: Mapping[Vaddr, Address]
    imports: Mapping[str, Address]
    original: Mapping[Vaddr, bytes]
    runtime: Runtime | None = None


@dataclass(frozen=True)
class Linked:
    """Contents of the two mappings, and the record that the text starts with."""

    text: bytes
    data: bytes
    record: Record


@lru_cache(maxsize=16)
def lay_out(patch: PatchFile, companions: tuple[str, ...] = ()) -> Layout:
    """Where everything goes, for any load address. Kept, because it is the same in every process. `companions` are
    the ids of patches that switch in the same stop: the record names them."""
    placed = patch.sections
    at = len(_record(patch, None, Place(Address(0), Bias(0), {}, {}, {}), companions).encode())
    code = at = _align(at, 16)
    code_end = at
    sections: dict[int, int] = {}
    for section in sorted((s for s in placed if not s.is_writable), key=lambda s: not s.is_code):
        at = _align(at, max(section.sh_addralign, 16))
        sections[section.index] = at
        at += section.sh_size
        code_end = at if section.is_code else code_end
    at = _align(at, 32)
    stubs: dict[Vaddr, int] = {}
    for function in patch.manifest.functions:
        stubs[function.address] = at
        at += x86_64.STUB_SIZE
    slotted, called = _imports(patch)
    thunks = {}
    for symbol in called:
        thunks[symbol] = at
        at += _THUNK
    unwound = _unwound(patch)
    number = _described(patch)
    searched = _align(at, 32)
    if unwound is not None:
        at = searched + finder.FINDER_SIZE + finder.CONTINUATION_SIZE + finder.ROW.size * number
    text_size = at = _align(at, x86_64.PAGE)
    switches = tuple(range(at, at + len(patch.manifest.groups)))
    at = _align(at + len(switches), _SLOT)
    unwinding = None
    if unwound is not None:
        rest = searched + finder.FINDER_SIZE
        unwinding = Unwinding(unwound, searched, rest, rest + finder.CONTINUATION_SIZE, number, at)
        at += _SLOT
    slots = {}
    for symbol in slotted:
        slots[symbol] = at
        at += _SLOT
    for section in sorted((s for s in placed if s.is_writable), key=lambda s: not s.has_bits):
        at = _align(at, max(section.sh_addralign, 16))
        sections[section.index] = at
        at += section.sh_size
    data_size = _align(at, x86_64.PAGE) - text_size
    return Layout(
        text_size, data_size, code, code_end - code, sections, stubs, switches, slots, thunks, unwinding, companions
    )


def link(patch: PatchFile, layout: Layout, place: Place) -> Linked:
    """The bytes for one process. Raises BadPatch when a field does not hold its value or a symbol has none."""
    slots, imports = tuple(sorted(place.slots.items())), tuple(sorted(place.imports.items()))
    original = tuple(sorted(place.original.items()))
    return _link_again(patch, layout, place.base, place.bias, slots, imports, original, place.runtime)


@lru_cache(maxsize=4)
def _link_again(
    patch: PatchFile,
    layout: Layout,
    base: Address,
    bias: Bias,
    slots: tuple[tuple[Vaddr, Address], ...],
    imports: tuple[tuple[str, Address], ...],
    original: tuple[tuple[Vaddr, bytes], ...],
    runtime: Runtime | None,
) -> Linked:
    """Kept, because processes born of one have everything at the same places."""
    return _link(patch, layout, Place(base, bias, dict(slots), dict(imports), dict(original), runtime))


def _link(patch: PatchFile, layout: Layout, place: Place) -> Linked:
    record = _record(patch, layout, place, layout.companions)
    image = bytearray(layout.size)
    encoded = record.encode()
    image[: len(encoded)] = encoded
    for section in patch.sections:
        if section.has_bits:
            at = layout.sections[section.index]
            image[at : at + section.sh_size] = patch.object.bytes_of(section)
    values = _Values(patch, layout, place)
    for section in patch.sections:
        for row in patch.object.relocations_by_section.get(section.index, ()):
            _relocate(image, layout.sections[section.index] + row.r_offset, row, values)
    for symbol, at in layout.slots.items():
        struct.pack_into("<Q", image, at, values.of(symbol))
    for symbol, at in layout.thunks.items():
        image[at : at + _THUNK] = x86_64.import_thunk(
            Address(place.base + at), Address(place.base + layout.slots[symbol])
        )
    for group in record.groups:
        image[group.switch - place.base] = x86_64.UNUSED[0]
        for f in group.functions:
            stub = x86_64.Stub(group.switch, f.new, f.orig)
            at = f.stub - place.base
            image[at : at + x86_64.STUB_SIZE] = x86_64.encode_stub(f.stub, stub)
    if layout.unwinding is not None:
        _link_unwinding(image, patch, layout, layout.unwinding, place)
    return Linked(bytes(image[: layout.text_size]), bytes(image[layout.text_size :]), record)


@lru_cache(maxsize=16)
def slots_read(patch: PatchFile) -> frozenset[Vaddr]:
    """Link-time addresses of the GOT slots whose values the link needs."""
    return frozenset(s.address for s in patch.manifest.symbols.values() if s.kind is SymbolKind.SLOT)


def _unwound(patch: PatchFile) -> Section | None:
    return next((s for s in patch.sections if s.name == ".eh_frame" and s.has_bits and not s.is_writable), None)


@lru_cache(maxsize=16)
def _described(patch: PatchFile) -> int:
    """How many pieces of code the unwind tables describe."""
    section = _unwound(patch)
    if section is None:
        return 0
    try:
        return finder.count(patch.object.bytes_of(section))
    except BadCallFrame as problem:
        raise BadPatch(patch.manifest.name, f".eh_frame: {problem}") from problem


def _link_unwinding(image: bytearray, patch: PatchFile, layout: Layout, made: Unwinding, place: Place) -> None:
    """The finder, its table out of the relocated .eh_frame, and how it goes on for code of others."""
    start = layout.sections[made.section.index]
    try:
        rows = finder.described(bytes(image[start : start + made.section.sh_size]), start)
    except BadCallFrame as problem:
        raise BadPatch(patch.manifest.name, f".eh_frame: {problem}") from problem
    if any(not layout.code <= r.start < r.end <= layout.code + layout.code_size for r in rows) or any(
        a.end > b.start for a, b in pairwise(rows)
    ):
        raise BadPatch(patch.manifest.name, ".eh_frame describes what is none of its code, or some twice")
    _put(image, made.rows, finder.encode_rows(rows))
    code = finder.encode_finder(made.finder, layout.text_size, made.rows, made.count, made.following)
    _put(image, made.finder, code)
    runtime = place.runtime
    if runtime is None:
        _put(image, made.continuation, b"\xcc" * finder.CONTINUATION_SIZE)
        return
    behind = runtime.function + runtime.entry + len(runtime.displaced)
    _put(image, made.continuation, finder.encode_continuation(runtime.displaced, behind))
    struct.pack_into("<Q", image, made.following, runtime.following or place.base + made.continuation)


def _put(image: bytearray, at: int, data: bytes) -> None:
    image[at : at + len(data)] = data


class _Values:
    """Symbol values and slot addresses in one process."""

    def __init__(self, patch: PatchFile, layout: Layout, place: Place) -> None:
        self.patch, self.layout, self.place = patch, layout, place
        self.name = patch.manifest.name

    def symbol(self, index: int) -> Symbol:
        return self.patch.object.symbols[index]

    def of(self, index: int) -> Address:
        """S: the symbol's address."""
        symbol = self.symbol(index)
        if symbol.is_defined:
            return self.defined(symbol)
        known = self.patch.manifest.symbols[symbol.name]
        if known.kind is SymbolKind.IMAGE:
            return in_process(known.address, self.place.bias)
        if known.kind is SymbolKind.SLOT:
            return self.place.slots[known.address]
        return self.place.imports[symbol.name]

    def defined(self, symbol: Symbol) -> Address:
        if symbol.st_shndx == abi.SHN_ABS:
            return Address(symbol.st_value)
        if symbol.st_shndx not in self.layout.sections:
            raise BadPatch(self.name, f"symbol {symbol.name} is in a section that is not placed")
        return Address(self.place.base + self.layout.sections[symbol.st_shndx] + symbol.st_value)

    def called(self, index: int) -> Address:
        """Where a PLT32 goes: an import through its thunk."""
        thunk = self.layout.thunks.get(index)
        return self.of(index) if thunk is None else Address(self.place.base + thunk)

    def slot(self, index: int) -> Address:
        """G + GOT: the address of the GOT slot."""
        symbol = self.symbol(index)
        if not symbol.is_defined:
            known = self.patch.manifest.symbols[symbol.name]
            if known.kind is SymbolKind.SLOT:
                return in_process(known.address, self.place.bias)
        return Address(self.place.base + self.layout.slots[index])


def _relocate(image: bytearray, at: int, row: Relocation, values: _Values) -> None:
    where = values.place.base + at
    if row.r_type in (R.R_64, R.R_32, R.R_32S):
        value = values.of(row.symbol) + row.r_addend
    elif row.r_type in (R.PC32, R.PC64):
        value = values.of(row.symbol) + row.r_addend - where
    elif row.r_type == R.PLT32:
        value = values.called(row.symbol) + row.r_addend - where
    else:
        value = values.slot(row.symbol) + row.r_addend - where
    if row.r_type in (R.R_64, R.PC64):
        struct.pack_into("<Q", image, at, value & _MASK)
        return
    low, high = (0, 1 << 32) if row.r_type == R.R_32 else (-(1 << 31), 1 << 31)
    if not low <= value < high:
        name = values.symbol(row.symbol).name
        raise BadPatch(values.name, f"{R(row.r_type).name} against {name} does not reach: {value:#x}")
    struct.pack_into("<I", image, at, value & 0xFFFFFFFF)


def _imports(patch: PatchFile) -> tuple[list[int], list[int]]:
    """Indices of symbols that need a GOT slot of ours, and of those that need a call thunk, in order of first use."""
    slotted: dict[int, None] = {}
    called: dict[int, None] = {}
    for section in patch.sections:
        for row in patch.object.relocations_by_section.get(section.index, ()):
            symbol = patch.object.symbols[row.symbol]
            kind = None if symbol.is_defined else patch.manifest.symbols[symbol.name].kind
            if row.r_type in GOT_LOADS and kind is not SymbolKind.SLOT:
                slotted[row.symbol] = None
            elif row.r_type == R.PLT32 and kind in (SymbolKind.IMPORT, SymbolKind.SLOT):
                slotted[row.symbol] = called[row.symbol] = None
    return list(slotted), list(called)


def _record(patch: PatchFile, layout: Layout | None, place: Place, companions: tuple[str, ...]) -> Record:
    """The record; without a layout one of the same length with no addresses."""
    manifest = patch.manifest
    values = None if layout is None else _Values(patch, layout, place)
    groups = tuple(
        PlacedGroup(
            group.name,
            Address(0 if layout is None else place.base + layout.switches[n]),
            tuple(_function(patch, f, layout, values, place) for f in group.functions),
            tuple(PlacedPart(p.name, in_process(p.address, place.bias), p.size) for p in group.parts),
        )
        for n, group in enumerate(manifest.groups)
    )
    return Record(
        patch.id,
        manifest.name,
        manifest.target.build_id,
        manifest.target.file,
        manifest.target.package,
        manifest.target.version,
        tuple(RecordedFix(f.name, tuple(c for c in f.cves if c in manifest.cves)) for f in manifest.fixes),
        (*manifest.verdict.notes, *_shared(manifest)),
        place.base,
        layout.text_size if layout else 0,
        layout.data_size if layout else 0,
        Address(place.base + layout.code if layout else 0),
        layout.code_size if layout else 0,
        place.bias,
        groups,
        tuple(PlacedPart(s.name, in_process(s.address, place.bias), s.size) for s in manifest.suspends),
        manifest.relaxed,
        _placed_unwinding(patch, layout, place),
        manifest.is_complete,
        _tripwires(patch, layout, place),
        companions,
    )


def _tripwires(patch: PatchFile, layout: Layout | None, place: Place) -> tuple[PlacedTripwire, ...]:
    section = next((s for s in patch.sections if s.name == COUNTERS), None)
    start = layout.sections[section.index] if layout and section else 0
    return tuple(
        PlacedTripwire(t.file, t.line, t.function, t.condition, t.cves, Address(place.base + start + t.offset))
        for t in patch.manifest.tripwires
    )


def _shared(manifest: Manifest) -> tuple[str, ...]:
    return tuple(f"closes {c} where {', '.join(o)} is patched too" for c, o in manifest.shared_cves.items())


def _placed_unwinding(patch: PatchFile, layout: Layout | None, place: Place) -> PlacedUnwinding | None:
    if _unwound(patch) is None:
        return None
    number = _described(patch)
    made = layout.unwinding if layout else None
    if made is None:
        return PlacedUnwinding(NOWHERE, NOWHERE, NOWHERE, NOWHERE, number)
    base = place.base
    places = (made.finder, made.continuation, made.rows, made.following)
    finds, continues, table, following = (Address(base + at) for at in places)
    return PlacedUnwinding(finds, continues, table, following, number)


def _function(
    patch: PatchFile, function: ReplacedFunction, layout: Layout | None, values: _Values | None, place: Place
) -> PlacedFunction:
    new, orig = patch.symbol(function.new), patch.symbol(function.orig)
    return PlacedFunction(
        function.name,
        in_process(function.address, place.bias),
        function.size,
        function.sha256,
        function.entry,
        function.displaced,
        place.original.get(function.address, bytes(x86_64.JUMP_SIZE)),
        values.defined(new) if values else NOWHERE,
        _extent(patch, new),
        values.defined(orig) if values else NOWHERE,
        _extent(patch, orig),
        Address(place.base + layout.stubs[function.address] if layout else 0),
        function.consistency,
        function.endless,
    )


def _extent(patch: PatchFile, symbol: Symbol) -> int:
    """A function's size; without st_size up to the end of its section, which errs on the side of *busy*."""
    section: Section = patch.object.sections[symbol.st_shndx]
    return symbol.st_size or section.sh_size - symbol.st_value


def _align(value: int, to: int) -> int:
    return (value + to - 1) // to * to
