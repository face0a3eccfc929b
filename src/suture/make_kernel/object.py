"""A kernel object cut into atoms: functions, named data, pools of constants; and where each field of it points.

Beside `suture.delta.atom`, which takes one section for one atom, sections with an explicit name (`.data.once`,
`.text.unlikely`, `.data..percpu`) are cut at their symbols, and a field's true target is found by decoding its
instruction, since an immediate behind a PC-relative field shifts the addend. Code of such a section calls and jumps
within it without relocations, since the assembler fills these fields in; they are references all the same.
Special sections (`suture.make_kernel.special_section`) and discarded ones are no atoms.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import capstone

from suture.delta.atom import Atom, AtomKind, AtomObject, Reference, is_pc_relative
from suture.elf.abi import SHN_ABS, R, SectionFlag, SectionType, SymbolBind, SymbolType
from suture.elf.fact import Relocation, Section, Symbol
from suture.elf.file import ElfFile
from suture.number import FileOffset, SectionOffset, Vaddr

_HELD = frozenset({SectionType.PROGBITS, SectionType.NOBITS})
# Read by the kernel's tools or loader, never by code; special sections are read by their own module.
LEFT_OUT = (
    ".discard",
    ".modinfo",
    "__ksymtab",
    "___ksymtab",
    "__kcrctab",
    ".export_symbol",
    ".note",
    ".eh_frame",
    ".BTF",
)
SPECIAL = frozenset(
    {
        ".altinstructions",
        ".altinstr_replacement",
        ".altinstr_aux",
        ".parainstructions",
        ".smp_locks",
        ".retpoline_sites",
    }
    | {".return_sites", ".call_sites", ".ibt_endbr_seal", ".static_call_sites", ".orc_unwind", ".orc_unwind_ip"}
    | {"__bug_table", "__ex_table", "__jump_table", "__mcount_loc", ".init.mcount"}
)
# Code that runs once or never again, or that must not be traced: include/asm-generic/vmlinux.lds.h, linux/init.h
ONCE = (".init.", ".exit.", ".initcall", ".head.", "__param", ".meminit", ".cpuinit", ".con_initcall")
_MEMORY_INIT = ".meminit"
PERCPU = ".data..percpu"
DEBUG_MESSAGES = "__dyndbg"
_MESSAGE_LINE, _MESSAGE_LINE_BITS = slice(32, 36), (1 << 18) - 1  # struct _ddebug: four pointers, lineno : 18
LEFT = "section "
"""The name of a section that is no atom begins with this, where a reference leads there."""
WRITTEN_OVER = f"{LEFT}.altinstr_aux"
"""What a test of a CPU's feature jumps to before the alternatives are chosen (_static_cpu_has() in
asm/cpufeature.h)."""
_SHIFT = 16
_SHORT_JUMP = 2  # bytes of an instruction whose target is at most 127 bytes away (Intel SDM, Jcc and JMP)
_NOPS = bytes.fromhex("90 66 2e 0f 1f 00 40 44 80 84 cc")  # what one-byte and longer no-operations are made of


@dataclass(frozen=True, slots=True)
class KernelReference(Reference):
    """`value` is where it points to in the target atom; `bias` what lies between the field and the place it counts
    from.
    """

    bias: int = 0


def is_special(name: str) -> bool:
    return name in SPECIAL or name.startswith(LEFT_OUT)


def is_weak(atom: Atom) -> bool:
    """Whether another unit's function of the same name takes the place of this one, where there is one."""
    return any(s.bind == SymbolBind.WEAK and s.st_value == 0 for s in atom.symbols)


def runs_once(section: Section) -> bool:
    """Whether a section is of initialisation or removal, by its name alone."""
    return section.name.startswith(ONCE)


def is_removal(section: Section) -> bool:
    """Whether a section is of removal alone."""
    return section.name.startswith(".exit.")


class KernelObject(AtomObject):
    """Atoms under numbers of their own: section number and place in the section's order. `keeps_memory_init`: its
    kernel keeps what it needs when memory is plugged in (MEM_KEEP in include/asm-generic/vmlinux.lds.h).
    """

    def __init__(self, elf: ElfFile, keeps_memory_init: bool = False) -> None:
        super().__init__(elf)
        self.keeps_memory_init = keeps_memory_init

    def runs_once(self, section: Section) -> bool:
        """Whether a section is of initialisation or removal, which its running kernel has behind it."""
        return runs_once(section) and not (self.keeps_memory_init and section.name.startswith(_MEMORY_INIT))

    @cached_property
    def atoms(self) -> dict[int, Atom]:
        empty = {i: a for pieces in self._pieces.values() for i, a in pieces}
        return {i: replace(a, references=tuple(self._references(a, i))) for i, a in empty.items()}

    def compared_bytes(self, atom: Atom) -> bytes:
        """Without the line number of a debug message: a fix moves it within its function, and the running message keeps
        its own."""
        if atom.kind is AtomKind.CODE:
            return self._without_padding(atom)
        if atom.section.name != DEBUG_MESSAGES or atom.size < _MESSAGE_LINE.stop:
            return atom.data
        line = int.from_bytes(atom.data[_MESSAGE_LINE], "little") & ~_MESSAGE_LINE_BITS
        return atom.data[: _MESSAGE_LINE.start] + line.to_bytes(4, "little") + atom.data[_MESSAGE_LINE.stop :]

    def _without_padding(self, atom: Atom) -> bytes:
        """A function without what fills the space up to the next one of its section."""
        end = max((s.st_size for s in atom.symbols if s.type == SymbolType.FUNC and s.st_value == 0), default=0)
        rest = atom.data[end:]
        return atom.data[:end] if end and not rest.strip(_NOPS) else atom.data

    def description(self, atom: Atom) -> object:
        """A debug message by its module, function, file and format: it is numbered, and the numbers behind a new one
        move."""
        if atom.section.name != DEBUG_MESSAGES:
            return None
        return tuple(self._text(r) for r in atom.references if isinstance(r, KernelReference))

    def _text(self, ref: KernelReference) -> object:
        target = self.atoms.get(ref.section) if ref.section is not None else None
        if target is None:
            return ref.symbol
        if target.kind is AtomKind.MERGED:
            return self.string_at(target.index, ref.value)
        return target.data[ref.value :] if target.kind is AtomKind.CONST else target.label

    @cached_property
    def functions_once(self) -> frozenset[str]:
        """Names of functions in sections of initialisation."""
        return frozenset(n for n, f in self.functions.items() if self.runs_once(f.hot.section))

    @cached_property
    def _symbols_by_section(self) -> dict[int, tuple[Symbol, ...]]:
        found: dict[int, list[Symbol]] = {}
        for symbol in self.elf.symbols:
            if symbol.has_section and symbol.name and symbol.type not in (SymbolType.SECTION, SymbolType.FILE):
                found.setdefault(symbol.st_shndx, []).append(symbol)
        return {i: tuple(sorted(rows, key=lambda s: (s.st_value, s.index))) for i, rows in found.items()}

    @cached_property
    def _pieces(self) -> dict[int, list[tuple[int, Atom]]]:
        """Atoms without references of each section, in address order."""
        found: dict[int, list[tuple[int, Atom]]] = {}
        for section in self.elf.sections:
            # an empty structure, as lock_class_key is without lockdep, has an address too
            held = section.sh_size or section.name.startswith((".bss.", ".data."))
            if section.is_alloc and held and section.sh_type in _HELD and not is_special(section.name):
                found[section.index] = list(self._cut(section))
        return found

    def _cut(self, section: Section) -> Iterator[tuple[int, Atom]]:
        symbols = self._symbols_by_section.get(section.index, ())
        if section.is_code:
            marks = [s for s in symbols if s.type == SymbolType.FUNC]
        else:
            marks = [s for s in symbols if s.type == SymbolType.OBJECT or s.bind != SymbolBind.LOCAL]
        starts = sorted({0, *(s.st_value for s in marks if s.st_value < section.sh_size)})
        data = self.elf.bytes_of(section)
        for number, (start, end) in enumerate(zip(starts, [*starts[1:], section.sh_size], strict=True)):
            own = tuple(s for s in symbols if start <= s.st_value < end)
            part = replace(
                section,
                index=section.index << _SHIFT | number,
                sh_size=end - start,
                sh_offset=FileOffset(section.sh_offset + start),
                sh_addr=Vaddr(start),  # a relocatable object has no addresses: where the part begins in its section
            )
            shifted = tuple(replace(s, st_value=s.st_value - start) for s in own)
            yield part.index, Atom(part, _kind(section), _label(part, shifted), shifted, data[start:end], ())

    def start_of(self, atom: Atom) -> int:
        """Offset of an atom in its section."""
        return atom.section.sh_addr

    def section_of(self, atom: Atom) -> Section:
        """The object's own section that an atom is a part of."""
        return self.elf.sections[atom.index >> _SHIFT]

    def atom_at(self, section: int, offset: int) -> Atom | None:
        """The atom that holds an offset of a section; its end belongs to the last one."""
        for _, atom in reversed(self._pieces.get(section, [])):
            if atom.section.sh_addr <= offset:
                return atom
        return None

    def _references(self, atom: Atom, index: int) -> Iterator[KernelReference]:
        start = atom.section.sh_addr
        rows = [
            r
            for r in self.elf.relocations_by_section.get(index >> _SHIFT, ())
            if start <= r.r_offset < start + atom.size and r.r_type != R.NONE
        ]
        ends = instruction_ends(atom.data) if atom.kind is AtomKind.CODE and rows else {}
        for row in rows:
            offset = row.r_offset - start
            yield self.reference(row, offset, ends.get(offset, 4) if atom.kind is AtomKind.CODE else 0)
        if atom.kind is AtomKind.CODE and len(self._pieces[index >> _SHIFT]) > 1:
            yield from self._filled(atom, index >> _SHIFT, {r.r_offset - start for r in rows})

    def _filled(self, atom: Atom, section: int, known: Collection[int]) -> Iterator[KernelReference]:
        """Calls and jumps that lead to other atoms of the same section without a relocation."""
        start = atom.section.sh_addr
        for at, size, target in branches(atom.data, start):
            width = 4 if size > _SHORT_JUMP else 1
            offset = at + size - width - start
            aimed = None if offset in known or start <= target < start + atom.size else self.atom_at(section, target)
            if aimed is not None:
                r_type = R.PC32 if width == 4 else R.PC8
                value = target - aimed.section.sh_addr
                yield KernelReference(
                    SectionOffset(offset), r_type, aimed.index, aimed.label, SectionOffset(value), -4, width
                )

    def reference(self, row: Relocation, offset: int, bias: int) -> KernelReference:
        """A relocation as a fact about its target. `bias` counts for PC-relative fields only."""
        symbol = self.elf.symbols[row.symbol]
        bias = bias if is_pc_relative(row.r_type) else 0
        addend = (
            -4 if is_pc_relative(row.r_type) else 0
        )  # what compares of `delta` take for the way to the next instruction
        if not symbol.has_section:
            value = symbol.st_value if symbol.st_shndx == SHN_ABS else 0
            return KernelReference(
                SectionOffset(offset), row.r_type, None, symbol.name, SectionOffset(value), row.r_addend, bias
            )
        place = symbol.st_value + row.r_addend + bias
        # what a name says counts for the atom: a reference may lie before its symbol, or at its end
        known = symbol.st_value if symbol.type != SymbolType.SECTION else place
        target = self.atom_at(symbol.st_shndx, known)
        if target is None:
            where = f"{LEFT}{self.elf.sections[symbol.st_shndx].name}"
            if where == WRITTEN_OVER:
                place, addend = 0, 0  # where in it says nothing: the alternative names the feature
            return KernelReference(SectionOffset(offset), row.r_type, None, where, SectionOffset(place), addend, bias)
        name = "piece" if target.kind is AtomKind.MERGED else symbol.name
        return KernelReference(
            SectionOffset(offset),
            row.r_type,
            target.index,
            name,
            SectionOffset(place - target.section.sh_addr),
            addend,
            bias,
        )


def _kind(section: Section) -> AtomKind:
    if section.is_code:
        return AtomKind.CODE
    if section.is_strings:
        return AtomKind.MERGED
    if section.is_writable and not section.name.startswith((".data.rel.ro", ".rodata")):
        return AtomKind.DATA if section.has_bits else AtomKind.BSS
    return AtomKind.MERGED if section.sh_flags & SectionFlag.MERGE else AtomKind.CONST


def _label(section: Section, symbols: tuple[Symbol, ...]) -> str:
    named = [s for s in symbols if s.st_value == 0 and not s.name.startswith(".L")]
    wanted = [s.name for s in named if section.name.endswith("." + s.name)]
    strong = [s.name for s in named if s.bind != SymbolBind.LOCAL]
    label = max(wanted, key=len) if wanted else (strong or [s.name for s in named] or [section.name])[0]
    # __UNIQUE_ID_ddebug512 is numbered by __COUNTER__: written as the compiler numbers, so that numbers do not count
    return re.sub(r"^(__UNIQUE_ID_.*?\D)(\d+)(?=(?:\.\d+)?$)", r"\1.\2", label)


_CAPSTONE: list[capstone.Cs] = []


def _decoder() -> capstone.Cs:
    if not _CAPSTONE:
        _CAPSTONE.append(capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64))
        _CAPSTONE[0].skipdata = True
    return _CAPSTONE[0]


def branches(code: bytes, start: int) -> Iterator[tuple[int, int, int]]:
    """Place, size and target of each direct call and jump in code that lies at `start`."""
    for address, size, name, operands in _decoder().disasm_lite(code, start):
        if (name == "call" or name.startswith("j")) and operands[:1].isdigit():
            yield address, size, int(operands, 0)  # small numbers are printed without 0x


def instruction_ends(code: bytes) -> dict[int, int]:
    """For each byte of code that a PC-relative field may begin at, the bytes from there to the instruction's end."""
    found: dict[int, int] = {}
    for address, size, _, _ in _decoder().disasm_lite(code, 0):
        for at in range(address, address + size):
            found[at] = address + size - at
    return found
