"""Run-pre matching of one kernel unit: where its sections and functions run, and what its filled-in fields say of all
names.

The unit as the archive compiled it (*plain*) must be found whole and once; then each function of the unit compiled with
sections is compared at its address, and every field implies the address of what it refers to. Contradicting fields are
an error.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from suture.delta.atom import Atom, AtomKind
from suture.elf.abi import R, SymbolType, field_width
from suture.elf.fact import Section, Symbol
from suture.elf.file import ElfFile
from suture.make_kernel.image import KernelImage
from suture.make_kernel.object import LEFT, ONCE, KernelObject, KernelReference, is_special, is_weak
from suture.match.match import NoMatch
from suture.match.pattern import Pattern
from suture.match.proof import MatchedSection, MatchedUnit
from suture.number import SectionOffset, Vaddr

_MASK = (1 << 64) - 1
_REMEDY = "check that the source version is the image's, and that the file is compiled for it at all"
_WHOLE_SEARCH = 64  # bytes that a section needs for its only hit to mean something


@dataclass
class KernelMatch:
    """`addresses` are those of functions by name; `implied` those of everything by atom of *pre* or external name, with
    places."""

    unit: MatchedUnit
    addresses: dict[str, Vaddr] = field(default_factory=dict)
    implied: dict[int | str, dict[Vaddr, list[str]]] = field(default_factory=lambda: defaultdict(dict))

    def address_of(self, what: int | str) -> Vaddr | None:
        """The one address that fields imply for an atom of pre or an external name."""
        return next(iter(self.implied.get(what, {})), None)

    def places(self, what: int | str) -> tuple[str, ...]:
        return tuple(p for rows in self.implied.get(what, {}).values() for p in rows)


def match(source: str, plain: ElfFile, pre: KernelObject, image: KernelImage) -> KernelMatch:
    """Find a unit. `plain` is compiled with the archive's flags, `pre` also with a section for each function and datum.

    Raises `NoMatch`, also where fields contradict one another.
    """
    placed, sections, agreed = _place_sections(source, plain, image)
    found = KernelMatch(MatchedUnit(source, source, True, tuple(sections), tuple(sorted(agreed))))
    for function in pre.functions.values():
        for atom in function.atoms:
            _verify(source, pre, atom, placed, image, found)
    for what, values in found.implied.items():
        if len(values) > 1:
            name = what if isinstance(what, str) else pre.atoms[what].label
            said = "; ".join(f"{v:#x} by {p[0]}" for v, p in sorted(values.items()))
            raise NoMatch(source, image.name, f"contradicting addresses of {name}: {said}", _REMEDY)
    return found


def _place_sections(
    source: str, plain: ElfFile, image: KernelImage
) -> tuple[dict[str, Vaddr], list[MatchedSection], set[str]]:
    """Address of each function of the unit, from whole sections that are found where kallsyms names their functions.

    A section that is found at several places, as a small function that many units have, is the one that other sections
    refer to.
    """
    placed: dict[str, Vaddr] = {}
    proof: list[MatchedSection] = []
    agreed: set[str] = set()
    rivals: list[tuple[Section, list[Symbol], int, list[Vaddr]]] = []

    def place(section: Section, functions: list[Symbol], compared: int, base: Vaddr) -> None:
        proof.append(MatchedSection(section.name, section.sh_size, compared, base))
        for symbol in functions:
            address = Vaddr(base + symbol.st_value)
            placed[symbol.name] = address
            if address in image.names.get(symbol.name, ()):
                agreed.add(symbol.name)

    for section in plain.sections:
        if not (section.is_code and section.is_alloc and section.sh_size) or is_special(section.name):
            continue
        functions = [
            s for s in plain.symbols if s.st_shndx == section.index and s.type == SymbolType.FUNC and s.st_size
        ]
        data = plain.bytes_of(section)
        rows = plain.relocations_by_section.get(section.index, ())
        pattern = Pattern.of(data, ((r.r_offset, r.r_offset + field_width(r.r_type)) for r in rows))
        bases = {Vaddr(a - f.st_value) for f in functions for a in image.names.get(f.name, ())}
        hits = [b for b in sorted(bases) if _holds(image, pattern, b)]
        if not hits and section.sh_size >= _WHOLE_SEARCH:
            hits = [Vaddr(r.address + h) for r in image.code for h in pattern.find(r.data)]
        if len(hits) > 1:
            # Of copies of one function, the section is that in which every function bears its name.
            hits = [b for b in hits if all(b + f.st_value in image.names.get(f.name, ()) for f in functions)]
        if len(hits) == 1:
            place(section, functions, pattern.compared, hits[0])
        elif section.name.startswith(ONCE):
            continue  # kept only as a file; what runs once is never patched
        elif hits:
            rivals.append((section, functions, pattern.compared, hits))
        else:
            raise NoMatch(source, image.name, f"{section.name} ({section.sh_size} bytes) is found nowhere", _REMEDY)
    for section, functions, compared, hits in rivals:
        said = _said(plain, section, {p.name: p.address for p in proof}, image)
        if len(said) != 1 or not said <= set(hits):
            where = f"found {len(hits)} times, and other sections " + (
                "agree on none" if said else "do not refer to it"
            )
            raise NoMatch(source, image.name, f"{section.name} ({section.sh_size} bytes) is {where}", _REMEDY)
        place(section, functions, compared, next(iter(said)))
    return placed, proof, agreed


def _said(plain: ElfFile, wanted: Section, bases: Mapping[str, Vaddr], image: KernelImage) -> set[Vaddr]:
    """Where filled-in fields of sections with a known address say that another section begins."""
    found = set()
    for section in plain.sections:
        if not section.is_code or section.name not in bases:
            continue
        base = bases[section.name]
        run = image.bytes_at(base, section.sh_size) or b""
        for row in plain.relocations_by_section.get(section.index, ()):
            symbol = plain.symbols[row.symbol]
            if symbol.st_shndx == wanted.index and row.r_type in (R.PC32, R.PLT32):
                # the field holds S + A - P (x86-64 psABI, relocation types)
                held = struct.unpack_from("<i", run, row.r_offset)[0]
                found.add(Vaddr((held - row.r_addend + base + row.r_offset - symbol.st_value) & _MASK))
    return found


def _holds(image: KernelImage, pattern: Pattern, address: Vaddr) -> bool:
    run = image.bytes_at(address, len(pattern.data))
    return run is not None and pattern.matches(run, 0)


def _verify(
    source: str, pre: KernelObject, atom: Atom, placed: dict[str, Vaddr], image: KernelImage, found: KernelMatch
) -> None:
    """Compare one function, or its cold part, at its address, and note what its fields imply."""
    name = atom.label
    if name not in placed:
        return
    base = placed[name]
    pattern = Pattern.of(atom.data, ((r.offset, r.offset + field_width(r.r_type)) for r in _fields(pre, atom)))
    run = image.bytes_at(base, len(atom.data))
    if run is None or not pattern.matches(run, 0):
        return  # compiled apart it came out otherwise: it can't be replaced, and says nothing of addresses
    found.addresses[name] = base
    found.implied[atom.index].setdefault(base, []).append(f"{source} {name} found")
    for ref in atom.references:
        assert isinstance(ref, KernelReference)
        place = implied(run, ref, base)
        if place is None:
            continue
        where = f"{source} {name}+{ref.offset:#x} {R(ref.r_type).name}"
        if ref.section is None and ref.symbol.startswith(LEFT):
            continue  # no atom, so nothing is placed by it
        if ref.section is None:
            found.implied[ref.symbol].setdefault(Vaddr((place - ref.bias - ref.addend) & _MASK), []).append(where)
        elif ref.section in pre.atoms and pre.atoms[ref.section].kind is not AtomKind.MERGED:
            target = pre.atoms[ref.section]
            # the code of a weak function lies there too, but who calls it may mean another unit's
            key = target.label if is_weak(target) else ref.section
            found.implied[key].setdefault(Vaddr((place - ref.value) & _MASK), []).append(where)


def _fields(pre: KernelObject, atom: Atom) -> Iterator[KernelReference]:
    """All relocated fields, those that say nothing (R_X86_64_NONE) included."""
    section: Section = pre.section_of(atom)
    start = pre.start_of(atom)
    for row in pre.elf.relocations_by_section.get(section.index, ()):
        if start <= row.r_offset < start + atom.size:
            yield KernelReference(SectionOffset(row.r_offset - start), row.r_type, None, "", SectionOffset(0), 0)


def implied(run: bytes, ref: KernelReference, base: Vaddr) -> Vaddr | None:
    """Where a filled-in field points: symbol, addend and the way to the instruction's end together."""
    if ref.r_type in (R.PC32, R.PLT32):
        return Vaddr((struct.unpack_from("<i", run, ref.offset)[0] + base + ref.offset + ref.bias) & _MASK)
    if ref.r_type == R.R_64:
        return Vaddr(struct.unpack_from("<Q", run, ref.offset)[0])
    if ref.r_type == R.R_32S:
        return Vaddr(struct.unpack_from("<i", run, ref.offset)[0] & _MASK)
    if ref.r_type == R.R_32:
        return Vaddr(struct.unpack_from("<I", run, ref.offset)[0])
    return None
