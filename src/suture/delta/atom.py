"""An object compiled with -ffunction-sections -fdata-sections, cut into atoms: one section is one function part or one
datum.

References are kept as facts about their targets, so that two compiles can be compared and parts of one can be moved.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

import capstone

from suture.delta.frame import INDIRECT, TABLE, Frame, frames
from suture.elf.abi import SHN_ABS, R, SectionFlag, SectionType, SymbolBind, SymbolType, Visibility, field_width
from suture.elf.call_frame import BadCallFrame
from suture.elf.fact import Section, Symbol
from suture.elf.file import ElfFile
from suture.number import SectionOffset


class AtomKind(Enum):
    """What a section holds. RELRO is written by the loader only, so it counts as constant."""

    CODE = "code"
    CONST = "constant"
    RELRO = "constant with addresses"
    DATA = "variable"
    BSS = "zeroed variable"
    THREAD = "thread-local variable"
    MERGED = "merged constants"


@dataclass(frozen=True, slots=True)
class Reference:
    """A relocation of an atom. `section` is the target's section index in the same object, None for an external
    `symbol`.

    `value` is the target symbol's offset in its section (0 for externals), `addend` the relocation's own.
    """

    offset: SectionOffset
    r_type: int
    section: int | None
    symbol: str
    value: SectionOffset
    addend: int


@dataclass(frozen=True)
class Atom:
    """One allocated section. `label` is its main symbol, or the section name where it has none."""

    section: Section
    kind: AtomKind
    label: str
    symbols: tuple[Symbol, ...]
    data: bytes
    references: tuple[Reference, ...]

    @property
    def index(self) -> int:
        return self.section.index

    @property
    def size(self) -> int:
        return self.section.sh_size

    @property
    def is_constant(self) -> bool:
        return self.kind in (AtomKind.CONST, AtomKind.RELRO, AtomKind.MERGED)

    def is_branch(self, ref: Reference) -> bool:
        """Whether a reference of code is the target of a call or jump, not an operand; gas gives PC32 for local
        functions.

        The byte before a RIP-relative operand is a ModRM with mod 0 and rm 5 (Intel SDM 2.2.1.6), which no branch ends
        in.
        """
        return (
            self.kind is AtomKind.CODE
            and ref.r_type in (R.PC32, R.PLT32)
            and ref.offset > 0
            and self.data[ref.offset - 1] & 0xC7 != 0x05
        )

    @property
    def is_handler_table(self) -> bool:
        """Whether it tells the C++ runtime what a function catches and cleans up."""
        return self.section.name.startswith(TABLE)

    @property
    def is_indirection(self) -> bool:
        """Whether it only holds an address for unwind tables; which copy is used makes no difference."""
        return self.label.startswith(INDIRECT)

    @property
    def is_type_information(self) -> bool:
        """Whether it is a C++ type's description or the name in it (Itanium C++ ABI 2.9, 5.1.4.1)."""
        return self.label.startswith(("_ZTI", "_ZTS"))

    @property
    def is_vtable(self) -> bool:
        """Whether it is a class's table of virtual functions, or one that constructors use (Itanium C++ ABI 2.5,
        2.6)."""
        return self.label.startswith(("_ZTV", "_ZTT", "_ZTC"))

    @property
    def is_pool(self) -> bool:
        """Whether it is an unnamed section of constants that several functions share: switch tables, constant pools."""
        return self.kind in (AtomKind.CONST, AtomKind.RELRO) and self.label == self.section.name

    @property
    def is_global(self) -> bool:
        """Whether other units may refer to it."""
        return any(s.bind != SymbolBind.LOCAL for s in self.symbols)

    def is_exportable(self, name: str) -> bool:
        """Whether `name` is a symbol of the atom that other binaries may refer to, and take the place of."""
        return any(
            s.name == name and s.bind != SymbolBind.LOCAL and s.visibility in (Visibility.DEFAULT, Visibility.PROTECTED)
            for s in self.symbols
        )

    def is_ifunc(self, name: str) -> bool:
        """Whether `name` means what the atom's code chooses, not that code."""
        return any(s.name == name and s.type == SymbolType.GNU_IFUNC for s in self.symbols)

    @property
    def is_hidden(self) -> bool:
        """Whether no other binary may refer to it."""
        return all(
            s.bind == SymbolBind.LOCAL or s.visibility in (Visibility.HIDDEN, Visibility.INTERNAL) for s in self.symbols
        )


@dataclass(frozen=True)
class AtomFunction:
    """A function with its cold part, which is replaced and checked together with it."""

    name: str
    hot: Atom
    cold: Atom | None

    @property
    def atoms(self) -> tuple[Atom, ...]:
        return (self.hot,) if self.cold is None else (self.hot, self.cold)

    @property
    def aliases(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.hot.symbols if s.type in (SymbolType.FUNC, SymbolType.GNU_IFUNC))

    @property
    def is_ifunc(self) -> bool:
        return any(s.type == SymbolType.GNU_IFUNC for s in self.hot.symbols)


def without_fields(data: bytes, references: Iterable[Reference]) -> bytes:
    """Bytes with all that references fill in zeroed."""
    blank = bytearray(data)
    for ref in references:
        width = field_width(ref.r_type)
        blank[ref.offset : ref.offset + width] = bytes(width)
    return bytes(blank)


class AtomObject:
    """All atoms of one object, by section index, and its functions by name."""

    def __init__(self, elf: ElfFile) -> None:
        self.elf = elf
        self._ends: dict[int, list[int]] = {}

    @cached_property
    def atoms(self) -> dict[int, Atom]:
        by_section: dict[int, list[Symbol]] = {}
        for symbol in self.elf.symbols:
            if symbol.has_section and symbol.name and symbol.type != SymbolType.SECTION:
                by_section.setdefault(symbol.st_shndx, []).append(symbol)
        found: dict[int, Atom] = {}
        for section in self.elf.sections:
            if (
                section.is_alloc
                and section.sh_size
                and section.sh_type in _HELD
                and not section.name.startswith((".eh_frame", ".note", _PATCHABLE))
            ):
                symbols = tuple(sorted(by_section.get(section.index, ()), key=lambda s: (s.st_value, s.index)))
                found[section.index] = self._atom(section, symbols)
        return found

    @cached_property
    def pads(self) -> dict[int, int]:
        """By index of the code section the bytes in front of its function, where gcc left room
        (-fpatchable-function-entry=N,M).

        They are none of the function's; an atom begins behind them.
        """
        starts: dict[int, int] = {}
        for symbol in self.elf.symbols:
            if symbol.has_section and symbol.type == SymbolType.FUNC:
                starts[symbol.st_shndx] = min(starts.get(symbol.st_shndx, symbol.st_value), symbol.st_value)
        found = {i: n for i, n in starts.items() if n and self.elf.sections[i].is_code}
        return {i: n for i, n in found.items() if self.elf.bytes_of(self.elf.sections[i])[:n] == n * _NOP}

    @cached_property
    def functions(self) -> dict[str, AtomFunction]:
        """Functions by main name; a cold part belongs to the function whose name it carries."""
        hot: dict[str, Atom] = {}
        cold: dict[str, Atom] = {}
        for atom in self.atoms.values():
            if atom.kind is AtomKind.CODE:
                (cold if atom.label.endswith(".cold") else hot)[atom.label] = atom
        return {name: AtomFunction(name, atom, cold.get(name + ".cold")) for name, atom in hot.items()}

    @cached_property
    def function_of(self) -> dict[int, AtomFunction]:
        """Function by section index of any of its parts."""
        return {a.index: f for f in self.functions.values() for a in f.atoms}

    @property
    def frames(self) -> dict[int, tuple[Frame, ...]]:
        """Unwind information by index of the code section; none where it is not understood, see `strange_frames`."""
        return self._frames[0]

    @property
    def strange_frames(self) -> str:
        """Why the unit's unwind information is not understood, empty when it is."""
        return self._frames[1]

    @cached_property
    def _frames(self) -> tuple[dict[int, tuple[Frame, ...]], str]:
        try:
            rows = frames(self.elf).items()
            return {i: tuple(replace(f, start=f.start - self.pads.get(i, 0)) for f in fs) for i, fs in rows}, ""
        except BadCallFrame as problem:
            return {}, str(problem)

    def tables_of(self, function: AtomFunction) -> tuple[Atom, ...]:
        """The handler tables of a function and of its cold part."""
        named = [f.table[0] for a in function.atoms for f in self.frames.get(a.index, ()) if f.table is not None]
        return tuple(self.atoms[i] for i in dict.fromkeys(named))

    @cached_property
    def users(self) -> dict[int, frozenset[str]]:
        """For each atom the names of functions that refer to it directly or through constant data."""
        direct: dict[int, set[str]] = {}
        through: dict[int, set[int]] = {}
        for atom in self.atoms.values():
            for ref in atom.references:
                if ref.section is None:
                    continue
                if atom.index in self.function_of:
                    direct.setdefault(ref.section, set()).add(self.function_of[atom.index].name)
                else:
                    through.setdefault(ref.section, set()).add(atom.index)
        for target, sources in through.items():
            for source in sources:
                direct.setdefault(target, set()).update(direct.get(source, ()))
        return {i: frozenset(names) for i, names in direct.items()}

    @cached_property
    def pool_bounds(self) -> dict[int, list[int]]:
        """For each unnamed constant section (switch tables, constant pools) the offsets that references point to,
        sorted."""
        found: dict[int, set[int]] = {a.index: set() for a in self.atoms.values() if a.label == a.section.name}
        for atom in self.atoms.values():
            for ref in atom.references:
                if ref.section in found:
                    found[ref.section].add(self.pointed(atom, ref))
        return {i: sorted(b) for i, b in found.items()}

    def pointed(self, source: Atom, ref: Reference) -> int:
        """The offset in its target that a reference of `source` means.

        A PC-relative field counts from the end of its instruction (Intel SDM 2.2.1.6), which an immediate moves away
        from its own.
        """
        if not is_pc_relative(ref.r_type):
            return ref.value + ref.addend
        end = self.instruction(source, ref)[1] if source.kind is AtomKind.CODE else ref.offset + 4
        return max(0, ref.value + ref.addend + end - ref.offset)

    def instruction(self, code: Atom, ref: Reference) -> tuple[int, int]:
        """Start and end of the instruction that a reference of code is in; of the field alone where the code does not
        decode."""
        if code.index not in self._ends:
            engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
            self._ends[code.index] = [0, *(at + size for at, size, _, _ in engine.disasm_lite(code.data, 0))]
        ends = self._ends[code.index]
        n = bisect.bisect_right(ends, ref.offset)
        return (ends[n - 1], ends[n]) if n < len(ends) else (ref.offset, ref.offset + 4)

    def piece(self, pool: Atom, start: int) -> tuple[int, int]:
        """The part (start, end) of an unnamed constant section from where a reference points up to where the next one
        does."""
        return start, next((b for b in self.pool_bounds[pool.index] if b > start), pool.size)

    def points_inside(self, source: Atom, ref: Reference) -> bool:
        """Whether a datum's reference points into a function rather than at it: an entry of a switch table, a label's
        address."""
        target = self.atoms.get(ref.section) if ref.section is not None else None
        if target is None or target.kind is not AtomKind.CODE or source.kind is AtomKind.CODE:
            return False
        if is_pc_relative(ref.r_type) and source.is_pool:
            return True
        return ref.value + ref.addend != 0

    def inner_targets(self, function: AtomFunction) -> frozenset[int]:
        """Offsets in a function's hot part that other sections point to: switch table entries, labels, its cold part's
        jumps back.

        Its start is none of them: calls and pointers mean the function itself.
        """
        found: set[int] = set()
        for atom in self.atoms.values():
            if atom is function.hot:
                continue
            for ref in atom.references:
                if ref.section != function.hot.index:
                    continue
                target = ref.value + ref.addend
                if is_pc_relative(ref.r_type):
                    if atom.kind is AtomKind.CODE:
                        target += 4
                    else:
                        starts = [b for b in self.pool_bounds.get(atom.index, [0]) if b <= ref.offset]
                        target -= ref.offset - max(starts, default=0)
                found.add(target)
        return frozenset(found - {0})

    def compared_bytes(self, atom: Atom) -> bytes:
        """An atom's bytes as far as they count in a comparison of two compiles."""
        return atom.data

    def description(self, atom: Atom) -> object:
        """What an atom describes, where that and not its name tells which it is in another compile; None for all
        others."""
        return None

    def string_at(self, section: int, offset: int) -> bytes:
        """The piece of a merged section at an offset: a string with its NUL, or one constant."""
        atom = self.atoms[section]
        if not atom.section.is_strings:
            return atom.data[offset : offset + max(atom.section.sh_entsize, 1)]
        width = max(atom.section.sh_entsize, 1)
        end = offset
        while end < len(atom.data) and any(atom.data[end : end + width]):
            end += width
        return atom.data[offset : end + width]

    def _atom(self, section: Section, symbols: tuple[Symbol, ...]) -> Atom:
        pad = self.pads.get(section.index, 0)
        references = []
        for row in self.elf.relocations_by_section.get(section.index, ()):
            symbol = self.elf.symbols[row.symbol]
            if symbol.has_section:
                value = symbol.st_value - self.pads.get(symbol.st_shndx, 0)
                references.append(
                    Reference(
                        SectionOffset(row.r_offset - pad),
                        row.r_type,
                        symbol.st_shndx,
                        symbol.name,
                        SectionOffset(value),
                        row.r_addend,
                    )
                )
            else:
                value = symbol.st_value if symbol.st_shndx == SHN_ABS else 0
                references.append(
                    Reference(
                        SectionOffset(row.r_offset - pad),
                        row.r_type,
                        None,
                        symbol.name,
                        SectionOffset(value),
                        row.r_addend,
                    )
                )
        if pad:
            symbols = tuple(replace(s, st_value=s.st_value - pad) for s in symbols)
        return Atom(
            replace(section, sh_size=section.sh_size - pad) if pad else section,
            _kind(section, bool(references)),
            _label(section, symbols),
            symbols,
            self.elf.bytes_of(section)[pad:],
            tuple(references),
        )


_PATCHABLE = "__patchable_function_entries"  # where tracers find the room that gcc left them; no code looks at it
_NOP = b"\x90"
_HELD = frozenset({SectionType.PROGBITS, SectionType.NOBITS, SectionType.INIT_ARRAY, SectionType.FINI_ARRAY})


def _kind(section: Section, has_references: bool) -> AtomKind:
    if section.is_code:
        return AtomKind.CODE
    if section.sh_flags & SectionFlag.TLS:
        return AtomKind.THREAD
    if (
        section.is_merge and not has_references
    ):  # with references its pieces are not their bytes alone, and ld merges none
        return AtomKind.MERGED
    if not section.is_writable:
        return AtomKind.CONST
    if section.name.startswith((".data.rel.ro", ".init_array", ".fini_array", ".ctors", ".dtors")):
        return AtomKind.RELRO
    return AtomKind.DATA if section.has_bits else AtomKind.BSS


def _label(section: Section, symbols: tuple[Symbol, ...]) -> str:
    """The symbol that the section is named after, else the first global, else the first that is no local label."""
    named = [s for s in symbols if not s.name.startswith(".L") and s.st_value == 0]
    wanted = [s.name for s in named if section.name.endswith("." + s.name)]
    if wanted:
        return max(wanted, key=len)
    globals_ = [s.name for s in named if s.bind != SymbolBind.LOCAL]
    if globals_:
        return globals_[0]
    return named[0].name if named else section.name


def is_pc_relative(r_type: int) -> bool:
    """Whether the field counts from its own place, so that the addend includes the way to the instruction's end."""
    return r_type in (R.PC32, R.PLT32, R.GOTPCREL, R.GOTPCRELX, R.REX_GOTPCRELX, R.TLSGD, R.TLSLD, R.GOTTPOFF, R.PC64)
