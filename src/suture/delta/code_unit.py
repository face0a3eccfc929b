"""A compiled unit's functions with their calls, switch tables and instructions, as the register analysis needs them.

The object is compiled with -ffunction-sections, so that every transfer between functions is a relocation. A section
that holds more than one function (assembly in the source) is opaque: gcc knows nothing of its registers either.
"""

from __future__ import annotations

import bisect
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from suture.delta.liveness import Flow, FlowStep, Place, decode
from suture.delta.prototype import Prototype, prototypes
from suture.elf.abi import R, SectionType, SymbolBind, SymbolType, Visibility
from suture.elf.fact import Relocation, Symbol
from suture.elf.file import ElfFile

_BRANCHES = frozenset({R.PC32, R.PLT32})
_COLD = re.compile(r"\.cold(\.\d+)?\Z")
_PRODUCER = re.compile(rb"GNU (?:C|C\+\+|GIMPLE)\w* [^\0]*")


@dataclass(frozen=True)
class Span:
    """Bytes [start, end) of a section that belong to one function."""

    section: int
    start: int
    end: int


@dataclass(frozen=True)
class Function:
    """One function: all its names (aliases), its spans (the cold part last), and how it is bound."""

    names: tuple[str, ...]
    spans: tuple[Span, ...]
    local: bool
    weak: bool
    preemptible: bool

    @property
    def name(self) -> str:
        return self.names[0]


@dataclass(frozen=True)
class Transfer:
    """A direct call or jump out of a function. `callee` names a function of this unit, or what is undefined."""

    place: Place
    is_call: bool
    callee: str
    defined: bool


class CodeUnit:
    """All of one object; everything is computed on first use and kept."""

    def __init__(self, elf: ElfFile) -> None:
        self.elf = elf
        self._transfers: dict[str, tuple[Transfer, ...]] = {}
        self._steps: dict[str, tuple[FlowStep, ...]] = {}
        self._bytes: dict[int, bytes] = {}

    @cached_property
    def functions(self) -> Mapping[str, Function]:
        """Every function by each of its names; cold parts belong to their function."""
        at: dict[Place, list[Symbol]] = defaultdict(list)
        cold: dict[str, Symbol] = {}
        for symbol in self.elf.symbols:
            if symbol.type not in (SymbolType.FUNC, SymbolType.GNU_IFUNC) or not symbol.has_section:
                continue
            if _COLD.search(symbol.name):
                cold[_COLD.sub("", symbol.name)] = symbol
            else:
                at[(symbol.st_shndx, symbol.st_value)].append(symbol)
        found: dict[str, Function] = {}
        for (section, start), symbols in at.items():
            names = tuple(sorted(s.name for s in symbols))
            spans = [Span(section, start, start + max(s.st_size for s in symbols))]
            spans += [Span(c.st_shndx, c.st_value, c.st_value + c.st_size) for c in (cold.get(n) for n in names) if c]
            function = Function(
                names,
                tuple(spans),
                all(s.bind == SymbolBind.LOCAL for s in symbols),
                any(s.bind in (SymbolBind.WEAK, SymbolBind.GNU_UNIQUE) for s in symbols),
                any(s.bind != SymbolBind.LOCAL and s.visibility == Visibility.DEFAULT for s in symbols),
            )
            found.update(dict.fromkeys(names, function))
        return found

    @cached_property
    def opaque(self) -> frozenset[str]:
        """Functions that share a section with others."""
        count: dict[int, int] = defaultdict(int)
        distinct = {id(f): f for f in self.functions.values()}.values()
        for function in distinct:
            count[function.spans[0].section] += 1
        return frozenset(n for f in distinct if count[f.spans[0].section] > 1 for n in f.names)

    @cached_property
    def prototypes(self) -> Mapping[str, Prototype]:
        """What DWARF tells of functions, those of other units that are called here included."""
        return prototypes(self.elf)

    @cached_property
    def position_independent(self) -> bool | None:
        """Compiled with -fPIC, so that a global function may be another one at run time; None when the object does not
        say."""
        for section in self.elf.sections:
            if section.name in (".debug_str", ".debug_line_str", ".debug_info"):
                for producer in _PRODUCER.findall(self.elf.bytes_of(section)):
                    words = producer.split()
                    bound = b"-fno-semantic-interposition" in words or b"-Bsymbolic" in words
                    return not bound and any(w in (b"-fPIC", b"-fpic") for w in words)
        return None

    def may_be_another(self, function: Function) -> bool:
        """gcc knows nothing of the registers of what runs when this function is called."""
        if function.weak or function.names[0] in self.opaque:
            return True
        return function.preemptible and self.position_independent is not False

    def transfers(self, name: str) -> tuple[Transfer, ...]:
        """Direct calls and jumps to other functions, from the relocations alone, and calls of itself, which may have
        none."""
        function = self.functions[name]
        if function.name not in self._transfers:
            found = []
            for span in function.spans:
                code = self._code(span.section)
                for row in self._relocations_in(span):
                    if row.r_type not in _BRANCHES:
                        continue
                    before, second = code[row.r_offset - 1], code[row.r_offset - 2] if row.r_offset > 1 else 0
                    if before not in (0xE8, 0xE9) and not (second == 0x0F and before & 0xF0 == 0x80):
                        continue
                    callee = self._function_at(row)
                    if callee is None or callee is not function or before == 0xE8:
                        target = callee.name if callee else self.elf.symbols[row.symbol].name
                        found.append(Transfer((span.section, row.r_offset), before == 0xE8, target, callee is not None))
            found += [
                Transfer((function.spans[0].section, at), True, function.name, True) for at in self._own_calls(function)
            ]
            self._transfers[function.name] = tuple(found)
        return self._transfers[function.name]

    def _own_calls(self, function: Function) -> Iterator[int]:
        """Fields of calls of a function's beginning in the same section, which the assembler fills in where no other
        definition may take its place."""
        span = function.spans[0]
        code, behind = self._code(span.section), max(span.end - 4, 0)
        at = code.find(b"\xe8", span.start, behind)
        while at >= 0:
            if at + 5 + int.from_bytes(code[at + 1 : at + 5], "little", signed=True) == span.start:
                yield at + 1
            at = code.find(b"\xe8", at + 1, behind)

    def steps(self, name: str) -> tuple[FlowStep, ...]:
        """All instructions of a function, cold part included."""
        function = self.functions[name]
        if function.name not in self._steps:
            self._steps[function.name] = tuple(
                step
                for span in function.spans
                for step in decode(self._code(span.section)[span.start : span.end], span.section, span.start)
            )
        return self._steps[function.name]

    def calls_unknown(self, name: str) -> bool:
        """Some call or jump goes where the code does not say, other than through a switch table of its own."""
        tables = self.tables.get(self.functions[name].name)
        for step in self.steps(name):
            effect = step.effect
            if effect.flow is Flow.CALL and effect.relative is None:
                return True
            if effect.flow is Flow.JUMP and effect.relative is None and not tables:
                return True
            if effect.flow is Flow.STOP and effect.changed:
                return True
        return False

    def field(self, step: FlowStep) -> Relocation | None:
        """The relocation inside an instruction, None without one."""
        rows = self.elf.relocations_by_section.get(step.section, ())
        n = bisect.bisect_left(rows, step.offset, key=lambda r: r.r_offset)
        if n < len(rows) and rows[n].r_offset < step.offset + step.size:
            return rows[n]
        return None

    def target(self, step: FlowStep) -> Place | None:
        """Where a direct branch goes, when that is in a section of this object."""
        row = self.field(step)
        if row is not None:
            return self._place(row, 4)
        if step.effect.relative is None:
            return None
        return step.section, step.offset + step.effect.relative

    def reads_table(self, step: FlowStep) -> bool:
        """An indirect jump that surely goes through a table of this unit: `jmp *table(,%reg,8)`, or `add` to a register
        and `jmp` to it."""
        row = self.field(step)
        if row is not None:
            return row.r_type == R.R_32S
        code = self._code(step.section)
        jump = code[step.offset : step.offset + step.size].removeprefix(b"\x3e")
        wide = jump.startswith(b"\x41")
        jump = jump.removeprefix(b"\x41")
        rex, opcode, modrm = code[max(step.offset - 3, 0) : step.offset] if step.offset >= 3 else (0, 0, 0)
        if len(jump) != 2 or jump[0] != 0xFF or jump[1] & 0xF8 != 0xE0 or rex & 0xF8 != 0x48 or modrm < 0xC0:
            return False
        register = (jump[1] & 7) + 8 * wide
        if opcode == 0x01:  # add %reg,%rm
            return register == (modrm & 7) + 8 * (rex & 1)
        return opcode == 0x03 and register == (modrm >> 3 & 7) + 8 * (rex >> 2 & 1)

    def inside(self, name: str, place: Place | None) -> bool:
        """`place` is in the function, cold part included."""
        spans = self.functions[name].spans
        return place is not None and any(s.section == place[0] and s.start <= place[1] < s.end for s in spans)

    def function_of(self, place: Place) -> Function | None:
        """The function that begins at a place."""
        return self._by_start.get(place)

    @cached_property
    def tables(self) -> Mapping[str, tuple[Place, ...]]:
        """For each function (first name) the targets of its switch tables: code addresses stored in data.

        A table of distances holds `target - table`; its relocations count from the field, so the start of the table,
        which the code names, is subtracted.
        """
        owner = self._span_owner
        starts = self._named_places
        found: dict[str, list[Place]] = defaultdict(list)
        for index, rows in self.elf.relocations_by_section.items():
            section = self.elf.sections[index]
            if not section.is_alloc or section.is_code or section.name.startswith(".eh_frame"):
                continue
            bases = starts.get(index, [])
            for row in rows:
                place = self._place(row, 0)
                if place is None or not self.elf.sections[place[0]].is_code:
                    continue
                offset = place[1]
                if row.r_type == R.PC32:
                    n = bisect.bisect_right(bases, row.r_offset)
                    if n == 0:
                        continue
                    offset -= row.r_offset - bases[n - 1]
                elif row.r_type != R.R_64:
                    continue
                for span, name in owner.get(place[0], ()):
                    if span.start < offset < span.end or (
                        span.start == offset and span is not self.functions[name].spans[0]
                    ):
                        found[name].append((place[0], offset))
        return {name: tuple(places) for name, places in found.items()}

    @cached_property
    def _named_places(self) -> Mapping[int, Sequence[int]]:
        """Offsets in data sections that code refers to, sorted."""
        found: dict[int, set[int]] = defaultdict(set)
        for index, rows in self.elf.relocations_by_section.items():
            if not self.elf.sections[index].is_code:
                continue
            for row in rows:
                place = self._place(row, 4 if row.r_type == R.PC32 else 0)
                if place is not None and not self.elf.sections[place[0]].is_code:
                    found[place[0]].add(place[1])
        return {index: sorted(offsets) for index, offsets in found.items()}

    @cached_property
    def _span_owner(self) -> Mapping[int, Sequence[tuple[Span, str]]]:
        found: dict[int, list[tuple[Span, str]]] = defaultdict(list)
        for function in {id(f): f for f in self.functions.values()}.values():
            for span in function.spans:
                found[span.section].append((span, function.name))
        return found

    @cached_property
    def _by_start(self) -> Mapping[Place, Function]:
        return {(f.spans[0].section, f.spans[0].start): f for f in self.functions.values()}

    def _function_at(self, row: Relocation) -> Function | None:
        """The function that a branch goes to: its entry, or any place inside it."""
        place = self._place(row, 4)
        if place is None:
            return None
        for span, name in self._span_owner.get(place[0], ()):
            if span.start <= place[1] < span.end:
                return self.functions[name]
        return None

    def _place(self, row: Relocation, correction: int) -> Place | None:
        symbol = self.elf.symbols[row.symbol]
        if not symbol.has_section or self.elf.sections[symbol.st_shndx].sh_type == SectionType.NOBITS:
            return None
        return symbol.st_shndx, symbol.st_value + row.r_addend + correction

    def _relocations_in(self, span: Span) -> Sequence[Relocation]:
        rows = self.elf.relocations_by_section.get(span.section, ())
        first = bisect.bisect_left(rows, span.start, key=lambda r: r.r_offset)
        last = bisect.bisect_left(rows, span.end, key=lambda r: r.r_offset)
        return rows[first:last]

    def _code(self, section: int) -> bytes:
        if section not in self._bytes:
            self._bytes[section] = self.elf.bytes_of(self.elf.sections[section])
        return self._bytes[section]
