"""New code and data laid out into the sections of a patch object, every reference turned into one that a host can
resolve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from suture.delta.atom import Atom, AtomFunction, AtomKind, Reference, is_pc_relative
from suture.delta.change import UnitChange
from suture.delta.frame import TABLE
from suture.delta.selection import Datum, Node, Selected, Selection
from suture.elf.abi import R, SectionFlag, SectionType, SymbolBind, SymbolType
from suture.elf.object_writer import NewRelocation, NewSection, NewSymbol
from suture.make import eh_frame, thread_local
from suture.make.indirect import detour
from suture.make.resolve import Resolver, Unresolvable
from suture.match.linker_edit import Kind
from suture.number import SectionOffset
from suture.patch.file import ALLOWED_RELOCATIONS
from suture.patch.manifest import SymbolKind
from suture.patch.tripwire import COUNTER_SIZE, SYMBOL
from suture.patch.tripwire import SECTION as COUNTERS

_CODE_ALIGN = 16
_DIRECT = frozenset({R.PC32, R.R_32, R.R_32S})
_JUMP = b"\xe9"
_FLAGS = {
    ".text": SectionFlag.ALLOC | SectionFlag.EXECINSTR,
    ".text.orig": SectionFlag.ALLOC | SectionFlag.EXECINSTR,
    ".rodata": SectionFlag.ALLOC,
    TABLE: SectionFlag.ALLOC,
    eh_frame.SECTION: SectionFlag.ALLOC,
    ".data": SectionFlag.ALLOC | SectionFlag.WRITE,
    ".bss": SectionFlag.ALLOC | SectionFlag.WRITE,
    COUNTERS: SectionFlag.ALLOC | SectionFlag.WRITE,
}
_NO_BITS = frozenset({".bss", COUNTERS})


@dataclass
class PatchSection:
    """One section of the patch under construction."""

    name: str
    data: bytearray = field(default_factory=bytearray)
    align: int = 1
    relocations: list[NewRelocation] = field(default_factory=list)

    def append(self, data: bytes, align: int) -> int:
        """Add bytes at the next aligned place and return their offset."""
        self.align = max(self.align, align)
        fill = b"\xcc" if self.name.startswith(".text") else b"\0"
        self.data += fill * (-len(self.data) % align)
        offset = len(self.data)
        self.data += data
        return offset


@dataclass
class Placement:
    """Everything placed so far. Symbols are unique by name; the same input gives the same layout.

    `leads` is what the new code of some functions has to undo first (`entry.Entry.undo`); `counters` are the offsets of
    tripwires' counters by symbol.
    """

    selection: Selection
    resolver: Resolver
    leads: Mapping[Node, bytes] = field(default_factory=dict)
    outputs: dict[str, PatchSection] = field(default_factory=lambda: {n: PatchSection(n) for n in _FLAGS})
    symbols: list[NewSymbol] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    _atoms: dict[tuple[int, int], str] = field(default_factory=dict)
    _pieces: dict[tuple[bytes, int], str] = field(default_factory=dict)
    _diverted: set[Node] = field(default_factory=set)
    _placed: set[Node] = field(default_factory=set)

    def add(self, groups: tuple[Selected, ...]) -> None:
        """Place all functions and data of the groups, then fill in their references. Raises `Unresolvable`."""
        for group in groups:
            self._diverted.update(group.replaced)
            self._placed.update(group.replaced + group.new)
        atoms: list[tuple[int, Atom]] = []
        for group in groups:
            for node in group.replaced + group.new:
                post, function = self.selection.changes[node.unit].post, self.function(node)
                for atom in (*function.atoms, *post.tables_of(function)):
                    self._place(node.unit, atom, self.leads.get(node, b"") if atom is function.hot else b"")
                    atoms.append((node.unit, atom))
        data = sorted({d for g in groups for d in g.data}, key=lambda d: (d.unit, d.index))
        for datum in data:
            atom = self._atom(datum)
            if atom.kind is not AtomKind.MERGED:
                self._place(datum.unit, atom)
                atoms.append((datum.unit, atom))
        for unit, atom in atoms:
            self._fill(unit, atom)
        self._unwind([row for row in atoms if row[1].kind is AtomKind.CODE])

    def function(self, node: Node) -> AtomFunction:
        return self.selection.changes[node.unit].post.functions[node.name]

    def symbol_of(self, node: Node) -> str:
        """The patch's symbol of a placed function."""
        return self._atoms[(node.unit, self.function(node).hot.index)]

    def define(self, name: str, section: str, offset: int, size: int, kind: SymbolType) -> str:
        """A new local symbol; a name already taken gets a number."""
        unique, n = name, 1
        while unique in self.resolver.taken or unique in self.resolver.symbols:
            n += 1
            unique = f"{name}~{n}"
        self.resolver.taken.add(unique)
        self.symbols.append(NewSymbol(unique, section, SectionOffset(offset), size, kind, SymbolBind.LOCAL))
        return unique

    def sections(self) -> list[NewSection]:
        """Finished sections; empty ones are left out."""
        made = []
        for output in self.outputs.values():
            if not output.data:
                continue
            rows = tuple(sorted(output.relocations, key=lambda r: (r.r_offset, r.r_type)))
            bits = output.name not in _NO_BITS
            made.append(
                NewSection(
                    output.name,
                    _FLAGS[output.name],
                    bytes(output.data) if bits else b"",
                    output.align,
                    SectionType.PROGBITS if bits else SectionType.NOBITS,
                    len(output.data),
                    rows,
                )
            )
        return made

    def _unwind(self, code: list[tuple[int, Atom]]) -> None:
        """Say how each piece of new code is unwound."""
        output = self.outputs[eh_frame.SECTION]
        output.align = 8
        made = eh_frame.EhFrame(output.data, output.relocations)
        for unit, atom in code:
            change = self.selection.changes[unit]
            for frame in change.post.frames.get(atom.index, ()):
                table = None if frame.table is None else (self._atoms[(unit, frame.table[0])], frame.table[1])

                def personality(name: str, change: UnitChange = change) -> str:
                    return self.resolver.external(change, name, R.GOTPCREL)

                made.add(frame, self._atoms[(unit, atom.index)], table, personality)
        made.finish()

    def _atom(self, datum: Datum) -> Atom:
        return self.selection.changes[datum.unit].post.atoms[datum.index]

    def _place(self, unit: int, atom: Atom, lead: bytes = b"") -> None:
        output = self.outputs[_output(atom)]
        code = atom.kind is AtomKind.CODE
        align = max(atom.section.sh_addralign, _CODE_ALIGN if code else 1)
        data = atom.data if atom.section.has_bits else bytes(atom.size)
        before = output.append(b"\x90" * (-len(lead) % align) + lead, align) if lead else 0
        offset = output.append(data, align)
        kind = SymbolType.FUNC if code else SymbolType.OBJECT
        name = self._atoms[(unit, atom.index)] = self.define(atom.label, output.name, offset, atom.size, kind)
        if lead:
            self.define(f"{name}.entry", output.name, before, offset - before + atom.size, kind)

    def _offset(self, unit: int, atom: Atom) -> int:
        name = self._atoms[(unit, atom.index)]
        return next(s.st_value for s in self.symbols if s.name == name)

    def _fill(self, unit: int, atom: Atom) -> None:
        output = self.outputs[_output(atom)]
        base = self._offset(unit, atom)
        change = self.selection.changes[unit]
        skip_until = -1
        for ref in atom.references:
            if ref.offset < skip_until:
                continue
            edit = self._thread_edit(change, atom, ref)
            if edit is not None:
                for at, data in edit.writes:
                    output.data[base + at : base + at + len(data)] = data
                if edit.symbol:
                    output.relocations.append(
                        NewRelocation(SectionOffset(base + ref.offset), R.PC32, edit.symbol, ref.addend)
                    )
                skip_until = edit.skip_until
                continue
            if ref.r_type not in ALLOWED_RELOCATIONS:
                raise Unresolvable(
                    f"relocation type {ref.r_type} at {atom.section.name}+{ref.offset:#x} is not handled"
                )
            width = 8 if ref.r_type in (R.R_64, R.PC64) else 4
            output.data[base + ref.offset : base + ref.offset + width] = bytes(width)
            if self._is_foreign_entry(change, atom, ref, unit):
                continue
            symbol, addend = self._target(unit, atom, ref)
            known = self.resolver.symbols.get(symbol)
            if known is not None and known.kind is SymbolKind.IMPORT and ref.r_type in _DIRECT:
                self._go_round(unit, atom, ref, symbol)
                continue
            output.relocations.append(NewRelocation(SectionOffset(base + ref.offset), ref.r_type, symbol, addend))

    def _go_round(self, unit: int, atom: Atom, ref: Reference, symbol: str) -> None:
        """Reach what only a slot leads to, from an instruction that was compiled to name it directly. Raises
        `Unresolvable`."""
        start, end = self.selection.changes[unit].post.instruction(atom, ref)
        offset = ref.addend + end - ref.offset
        made = detour(atom.data[start:end], ref.offset - start, offset) if ref.r_type == R.PC32 else None
        if made is None or atom.kind is not AtomKind.CODE:
            raise Unresolvable(f"it needs {ref.symbol} at a fixed place, which is not in the shipped binary")
        output = self.outputs[_output(atom)]
        at = output.append(made.code + _JUMP + bytes(4), 1)
        name = self.define(f"{ref.symbol}.through", output.name, at, len(made.code) + 5, SymbolType.FUNC)
        function, base = self._atoms[(unit, atom.index)], self._offset(unit, atom)
        output.data[base + start : base + end] = _JUMP + bytes(4) + b"\xcc" * (end - start - 5)
        output.relocations += [
            NewRelocation(SectionOffset(at + made.slot), R.GOTPCREL, symbol, -4),
            NewRelocation(SectionOffset(at + len(made.code) + 1), R.PC32, function, end - 4),
            NewRelocation(SectionOffset(base + start + 1), R.PC32, name, -4),
        ]

    def _is_foreign_entry(self, change: UnitChange, atom: Atom, ref: Reference, unit: int) -> bool:
        """Whether it is an entry of a switch table in a shared pool whose function is not in the patch; nothing reads
        it."""
        if not (atom.is_pool and change.post.points_inside(atom, ref)) or ref.section is None:
            return False
        function = change.post.function_of.get(ref.section)
        return function is None or Node(unit, function.name) not in self._placed

    def _target(self, unit: int, source: Atom, ref: Reference) -> tuple[str, int]:
        """Symbol and addend of the patch for a reference of post."""
        change = self.selection.changes[unit]
        if ref.section is None:
            return self._external(change, ref), ref.addend
        target = change.post.atoms[ref.section]
        addend = ref.value + ref.addend
        if target.kind is AtomKind.MERGED:
            return self._piece(change, target, ref)
        if target.kind is AtomKind.CODE:
            return self._code(unit, source, target, ref), addend
        placed = self._atoms.get((unit, target.index))
        return placed or self._running(change, target, ref), addend

    def _counter(self, name: str) -> str:
        """The counter of a tripwire, the same one for all code that names it."""
        if name not in self.counters:
            offset = self.outputs[COUNTERS].append(bytes(COUNTER_SIZE), COUNTER_SIZE)
            self.counters[name] = offset
            self.define(name, COUNTERS, offset, COUNTER_SIZE, SymbolType.OBJECT)
        return name

    def _external(self, change: UnitChange, ref: Reference) -> str:
        if ref.symbol.startswith(SYMBOL):
            return self._counter(ref.symbol)
        node = self.selection.global_function(ref.symbol)
        if node is not None and node in self._placed:
            known_before = not self.selection.is_replaced(node)
            hidden = self.function(node).hot.is_hidden
            if known_before or (hidden and ref.r_type == R.PLT32):
                return self.symbol_of(node)
        datum = self.selection.global_datum(ref.symbol)
        if datum is not None and (datum.unit, datum.index) in self._atoms:
            return self._atoms[(datum.unit, datum.index)]
        known = self.resolver.as_before(change, ref.symbol, ref.r_type)
        other = self.selection.made_global(ref.symbol)
        if known is None and other is not None:
            owner = self.selection.changes[other.unit]
            return self._running(owner, owner.post.atoms[other.index], ref)
        return known or self.resolver.external(change, ref.symbol, ref.r_type)

    def _code(self, unit: int, source: Atom, target: Atom, ref: Reference) -> str:
        change = self.selection.changes[unit]
        function = change.post.function_of[target.index]
        node = Node(unit, function.name)
        if node not in self._placed:
            return self._running(change, target, ref)
        new = self._atoms[(unit, target.index)]
        if node not in self._diverted or target is not function.hot or change.post.points_inside(source, ref):
            return new
        if source.kind is AtomKind.CODE and ref.r_type == R.PC32 and ref.value + ref.addend != -4:
            return new  # a label of the function itself
        if source.is_branch(ref) and not (target.is_exportable(ref.symbol) and self._may_be_another(change, ref)):
            return new
        # its address is taken: the old one stays the function's identity. Or another binary may define it instead
        return self._running(change, target, ref)

    def _may_be_another(self, change: UnitChange, ref: Reference) -> bool:
        """Whether the loader decides where a call of an exported function goes: a PLT entry, or a call that is new."""
        called = change.match.book.get(Kind.CALL, ref.symbol)
        if called is not None:
            return called in self.resolver.run.plt
        return ref.symbol in self.resolver.run.exports and not self.resolver.run.is_symbolic

    def _running(self, change: UnitChange, target: Atom, ref: Reference) -> str:
        run = self.resolver.run
        if target.is_exportable(ref.symbol) and ref.symbol in run.exports and not run.is_symbolic:
            return self.resolver.external(change, ref.symbol, ref.r_type)
        address = change.address_of(target)
        if address is None:
            raise Unresolvable(f"the address of {target.label} in the running code is not proved")
        if target.is_ifunc(ref.symbol):
            return self.resolver.chosen(ref.symbol, address, ref.r_type)
        pre = change.pre.atoms[change.pairs.pre_of[target.index]]
        book = change.match.book
        places = book.places(Kind.ADDRESS, f"sectioned:{pre.section.name}#{pre.index}") or book.places(
            Kind.ADDRESS, pre.label
        )
        return self.resolver.image(target.label, address, places or (f"{change.source} found",))

    def _piece(self, change: UnitChange, target: Atom, ref: Reference) -> tuple[str, int]:
        """A merged string or constant: a fresh copy, one for each distinct contents."""
        if ref.symbol:
            start, addend = ref.value, ref.addend
        else:
            lead = 4 if is_pc_relative(ref.r_type) else 0
            start, addend = SectionOffset(ref.value + ref.addend + lead), -lead
        data = change.post.string_at(target.index, start)
        align = max(target.section.sh_addralign, 1)
        key = (data, align)
        if key not in self._pieces:
            offset = self.outputs[".rodata"].append(data, align)
            prefix = ".str" if target.section.is_strings else ".const"
            self._pieces[key] = self.define(
                f"{prefix}.{len(self._pieces)}", ".rodata", offset, len(data), SymbolType.OBJECT
            )
        return self._pieces[key], addend

    def _thread_edit(self, change: UnitChange, atom: Atom, ref: Reference) -> thread_local.Edit | None:
        """Thread-local references become constants or references to slots that the running code uses."""
        if ref.r_type not in thread_local.TYPES:
            return None
        name = ref.symbol
        if ref.section is not None:
            post = change.post.atoms[ref.section]
            pre_index = change.pairs.pre_of.get(post.index)
            if pre_index is None:
                raise Unresolvable(f"{post.label} is a new thread-local variable")
            name = change.pre.atoms[pre_index].label
        facts = {
            k: self.resolver.thread(change, k, "" if k is Kind.LOCAL_MODULE_SLOT else name) for k in thread_local.KINDS
        }
        edit = thread_local.edit(atom.data, ref, facts)
        if edit is None:
            raise Unresolvable(f"the running code does not show where the thread-local variable {name} lies")
        if edit.slot is not None:
            symbol = self.resolver.image(
                f"{name or 'module'}@tls", edit.slot, ("thread-local slot that the unit's own code uses",)
            )
            return thread_local.Edit(edit.writes, edit.skip_until, edit.slot, symbol)
        return edit


def _output(atom: Atom) -> str:
    return TABLE if atom.is_handler_table else _OUTPUT[atom.kind]


_OUTPUT = {
    AtomKind.CODE: ".text",
    AtomKind.CONST: ".rodata",
    AtomKind.RELRO: ".data",
    AtomKind.DATA: ".data",
    AtomKind.BSS: ".bss",
}
