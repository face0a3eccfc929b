"""The object of new code: included atoms and special entries of all units laid out in sections, with their relocations.

Symbols of the running kernel appear as undefined `.klp.sym.*`; `suture.make_kernel.module` turns their relocations into
livepatch's own after modpost has seen the module, because `ld -r` would join the sections again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from suture.delta.atom import Atom, AtomKind
from suture.elf.abi import SectionFlag, SectionType, SymbolBind, SymbolType
from suture.elf.object_writer import NewRelocation, NewSection, NewSymbol, write_object
from suture.make_kernel.change import KernelChange
from suture.make_kernel.image import VMLINUX
from suture.make_kernel.object import DEBUG_MESSAGES, PERCPU, KernelReference
from suture.make_kernel.resolve import Counted, Exported, Internal, Livepatched, Overwritten
from suture.make_kernel.select import KernelSelection
from suture.make_kernel.special_section import ALTERNATIVES, ORC, ORC_IP, REPLACEMENT, SectionEntry
from suture.number import SectionOffset

_RX = SectionFlag.ALLOC | SectionFlag.EXECINSTR
_RW = SectionFlag.ALLOC | SectionFlag.WRITE


@dataclass
class _Out:
    """A section that grows."""

    name: str
    flags: int
    align: int = 1
    nobits: bool = False
    data: bytearray = field(default_factory=bytearray)
    relocations: list[NewRelocation] = field(default_factory=list)

    def place(self, data: bytes, align: int) -> int:
        self.align = max(self.align, align)
        filler = b"\xcc" if self.flags & SectionFlag.EXECINSTR else b"\0"
        self.data += filler * (-len(self.data) % align)
        start = len(self.data)
        self.data += data
        return start


def new_name(name: str, unit: int) -> str:
    """The symbol of a replaced function's new code."""
    return f"klp_{''.join(c if c.isalnum() else '_' for c in name)}_{unit}"


def emit(changes: Sequence[KernelChange], selection: KernelSelection) -> bytes:
    """The bytes of the object, the same for the same input."""
    return _Emission(changes, selection).result()


class _Emission:
    def __init__(self, changes: Sequence[KernelChange], selection: KernelSelection) -> None:
        self.changes, self.selection = changes, selection
        self.outs: dict[str, _Out] = {}
        self.symbols: dict[str, NewSymbol] = {}
        self.at: dict[Internal, tuple[_Out, int]] = {}
        self.pieces: dict[bytes, int] = {}

    def out(self, name: str, flags: int, nobits: bool = False) -> _Out:
        if name not in self.outs:
            self.outs[name] = _Out(name, flags, nobits=nobits)
            self.symbols[f"section {name}"] = NewSymbol(
                f"section {name}", name, type=SymbolType.SECTION, bind=SymbolBind.LOCAL
            )
        return self.outs[name]

    def result(self) -> bytes:
        for here in self.selection.atoms:
            atom = self.changes[here.unit].post.atoms[here.atom]
            self.at[here] = self._place(here, atom)
        for here in self.selection.atoms:
            atom = self.changes[here.unit].post.atoms[here.atom]
            out, start = self.at[here]
            for ref in atom.references:
                assert isinstance(ref, KernelReference)
                self._relocate(out, start + ref.offset, here.unit, atom.index, ref)
        for unit, entry in self.selection.entries:
            self._entry(unit, entry)
        for replaced in self.selection.replaced:
            function = self.changes[replaced.unit].post.functions[replaced.name]
            out, start = self.at[Internal(replaced.unit, function.hot.index)]
            name = new_name(replaced.name, replaced.unit)
            self.symbols[name] = NewSymbol(name, out.name, SectionOffset(start), function.hot.size, SymbolType.FUNC)
        sections = [
            NewSection(
                o.name,
                o.flags,
                b"" if o.nobits else bytes(o.data),
                o.align,
                SectionType.NOBITS if o.nobits else SectionType.PROGBITS,
                len(o.data),
                sorted(o.relocations, key=lambda r: r.r_offset),
            )
            for o in self.outs.values()
        ]
        return write_object([*sections, NewSection(".note.GNU-stack", 0, b"")], list(self.symbols.values()))

    def _place(self, here: Internal, atom: Atom) -> tuple[_Out, int]:
        align = max(atom.section.sh_addralign if not atom.section.sh_addr else 8, 1)
        if atom.kind is AtomKind.CODE:
            out = self.out(".text", _RX)
            start = out.place(atom.data, 16)
            name = f"{atom.label}" if atom.label not in self.symbols else f"{atom.label}.{here.unit}"
            self.symbols[name] = NewSymbol(
                name, out.name, SectionOffset(start), atom.size, SymbolType.FUNC, SymbolBind.LOCAL
            )
            return out, start
        if atom.section.name.startswith(PERCPU):
            out = self.out(PERCPU, _RW)
        elif atom.section.name == DEBUG_MESSAGES:
            out, align = self.out(DEBUG_MESSAGES, _RW), 8
        elif atom.kind is AtomKind.CONST:
            out = self.out(".rodata", SectionFlag.ALLOC)
        elif atom.kind is AtomKind.BSS:
            out = self.out(".bss", _RW, nobits=True)
        else:
            out = self.out(".data", _RW)
        start = out.place(atom.data or bytes(atom.size), align)
        name = f"{atom.label}"
        if not atom.is_pool and name not in self.symbols:
            self.symbols[name] = NewSymbol(
                name, out.name, SectionOffset(start), atom.size, SymbolType.OBJECT, SymbolBind.LOCAL
            )
        return out, start

    def _relocate(self, out: _Out, offset: int, unit: int, atom: int, ref: KernelReference, shift: int = 0) -> None:
        found = self.selection.resolved[unit, atom, ref]
        if isinstance(found, Internal):
            target = self.changes[found.unit].post.atoms[found.atom]
            if target.kind is AtomKind.MERGED:
                symbol, value = self._piece(found.unit, target, ref)
            else:
                place, start = self.at[found]
                symbol, value = (
                    f"section {place.name}",
                    start + (ref.value if ref.section is not None else ref.addend + ref.bias),
                )
            addend = value - ref.bias
        elif isinstance(found, Overwritten):
            return
        else:
            assert isinstance(found, Exported | Counted | Livepatched)
            symbol = self._livepatched(unit, found) if isinstance(found, Livepatched) else found.name
            self.symbols.setdefault(symbol, NewSymbol(symbol, None))
            addend = ref.addend if ref.section is None else ref.value - ref.bias
        out.relocations.append(NewRelocation(SectionOffset(offset), ref.r_type, symbol, addend))

    def _livepatched(self, unit: int, found: Livepatched) -> str:
        """The kernel fills references in with the object that holds the code; it may be another than the symbol's
        (OBJECT:SYMBOL)."""
        user = self.changes[unit].image.name
        return found.symbol if found.object in (VMLINUX, user) else f"{user}:{found.symbol}"

    def _piece(self, unit: int, target: Atom, ref: KernelReference) -> tuple[str, int]:
        """A string or merged constant, each kept once; a reference may point into a string's end."""
        out = self.out(".rodata", SectionFlag.ALLOC)
        data = self.changes[unit].post.string_at(target.index, ref.value)
        if data not in self.pieces:
            self.pieces[data] = out.place(data, 1 if target.section.is_strings else max(target.section.sh_entsize, 1))
        return "section .rodata", self.pieces[data]

    def _entry(self, unit: int, entry: SectionEntry) -> None:
        flags = {"__jump_table": _RW, "__bug_table": _RW, "__mcount_loc": _RW, ".static_call_sites": _RW}
        out = self.out(entry.section, flags.get(entry.section, SectionFlag.ALLOC))
        natural = 8 if entry.section in ("__jump_table", "__mcount_loc", ".parainstructions") else 4
        # the kernel steps from entry to entry by their size: nothing may come between them (alternatives of 14 bytes)
        start = out.place(entry.data, natural if len(entry.data) % natural == 0 else 1)
        code, begin = self.at[Internal(unit, entry.owner)]
        for ref in entry.references:
            if ref.section == entry.owner:
                out.relocations.append(
                    NewRelocation(
                        SectionOffset(start + ref.offset), ref.r_type, f"section {code.name}", begin + ref.value
                    )
                )
            elif entry.section == ALTERNATIVES and ref.offset == 4:
                self._replacement(unit, entry, out, start, ref)
            else:
                self._relocate(out, start + ref.offset, unit, entry.owner, ref)
        if entry.section == ORC_IP:
            self.out(ORC, SectionFlag.ALLOC).place(entry.extra, 1)

    def _replacement(self, unit: int, entry: SectionEntry, out: _Out, start: int, ref: KernelReference) -> None:
        table = self.out(REPLACEMENT, _RX)
        place = table.place(entry.extra, 1)
        out.relocations.append(
            NewRelocation(SectionOffset(start + ref.offset), ref.r_type, f"section {REPLACEMENT}", place)
        )
        for own in entry.extra_references:
            if own.section == entry.owner:
                code, begin = self.at[Internal(unit, entry.owner)]
                table.relocations.append(
                    NewRelocation(
                        SectionOffset(place + own.offset),
                        own.r_type,
                        f"section {code.name}",
                        begin + own.value - own.bias,
                    )
                )
            else:
                self._relocate(table, place + own.offset, unit, entry.owner, own)
