"""Special sections: tables that the kernel keeps about places in code, one entry for each place.

Only the entries of included functions go into a patch; two compiles of a function are equal only if their entries are,
but for line numbers. Sources: arch/x86/include/asm/{alternative,bug,extable,jump_label,orc_types}.h,
include/linux/static_call_types.h and tools/objtool/special.c of Linux 5.10, 6.1 and 6.12.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from suture.delta.atom import without_fields
from suture.elf.abi import R
from suture.elf.fact import Section
from suture.error import Unsupported
from suture.make_kernel.object import KernelObject, KernelReference

ORC, ORC_IP, ORC_SIZE = ".orc_unwind", ".orc_unwind_ip", 6
ALTERNATIVES, REPLACEMENT = ".altinstructions", ".altinstr_replacement"
SIZES: dict[str, int] = {
    ALTERNATIVES: 12,
    ".parainstructions": 16,
    ".smp_locks": 4,
    ".retpoline_sites": 4,
    ".return_sites": 4,
    ".call_sites": 4,
    ".ibt_endbr_seal": 4,
    ".static_call_sites": 8,
    ORC_IP: 4,
    "__bug_table": 12,
    "__ex_table": 12,
    "__jump_table": 16,
    "__mcount_loc": 8,
}
_BUG_LINE = slice(8, 10)  # struct bug_entry: bug_addr_disp, file_disp, line, flags
_ALWAYS = 3 * 32 + 21  # X86_FEATURE_ALWAYS of asm/cpufeatures.h
# struct alt_instr: instr_offset, repl_offset, cpuid (from Linux 6.7 on with flags, two bytes more), and last these
_INSTRUCTIONS_LENGTH, _REPLACEMENT_LENGTH = -2, -1
_WITH_FLAGS = 14
_PADDED = {".parainstructions": 12}
"""Sections whose entries are aligned, with the size of the last one, behind which nothing need follow (Linux 5.10)."""
STATIC_CALLS = ".static_call_sites"
KEYED = {"__jump_table": 8, STATIC_CALLS: 4}
"""Sections whose entries name a key, with the key's place in the entry."""
# Entries that tell where code is, not what it does: their number follows from the code.
_DERIVED = frozenset(
    {ORC_IP, "__mcount_loc", ".smp_locks", ".return_sites", ".retpoline_sites", ".call_sites", ".ibt_endbr_seal"}
)


@dataclass(frozen=True)
class SectionEntry:
    """One entry: its bytes, what its fields point to (offsets in the entry), and the atom of code that it is about.

    `extra` is the row of `.orc_unwind` that belongs to a row of `.orc_unwind_ip`, or an alternative's replacement code.
    """

    section: str
    data: bytes
    references: tuple[KernelReference, ...]
    owner: int
    extra: bytes = b""
    extra_references: tuple[KernelReference, ...] = ()

    @property
    def instructions(self) -> range:
        """Of an alternative: the bytes of its function that the kernel may write over."""
        return range(self.references[0].value, self.references[0].value + self.data[_INSTRUCTIONS_LENGTH])

    @property
    def key(self) -> KernelReference | None:
        """The key that a jump label or static call names."""
        at = KEYED.get(self.section)
        return next((r for r in self.references if r.offset == at), None) if at is not None else None


class SpecialSections:
    """All entries of one object, by the atom of code that they are about."""

    def __init__(self, obj: KernelObject) -> None:
        self.obj = obj

    @cached_property
    def by_owner(self) -> dict[int, tuple[SectionEntry, ...]]:
        """Entries in the order of their sections, by atom number of the code."""
        found: dict[int, list[SectionEntry]] = defaultdict(list)
        for section in self.obj.elf.sections:
            if section.name in SIZES and section.sh_size:
                for entry in self._entries(section):
                    found[entry.owner].append(entry)
        return {i: tuple(rows) for i, rows in found.items()}

    def section(self, name: str) -> Section | None:
        return self.obj.elf.section(name)

    def traced(self, atom: int) -> bool:
        """Whether a function has an entry for the function tracer, which live patching works through."""
        return any(e.section == "__mcount_loc" for e in self.by_owner.get(atom, ()))

    def is_written_over(self, atom: int, offset: int) -> bool:
        """Whether an alternative for every CPU covers a byte of code: the loader chooses it before the code runs."""
        rows = [e for e in self.by_owner.get(atom, ()) if e.section == ALTERNATIVES]
        # with flags the loader reads the old instruction first (ALT_FLAG_DIRECT_CALL), or means every other CPU
        # (ALT_FLAG_NOT)
        return any(offset in e.instructions and int.from_bytes(e.data[8:-2], "little") == _ALWAYS for e in rows)

    def _entries(self, section: Section) -> list[SectionEntry]:
        size, data = self._size(section), self.obj.elf.bytes_of(section)
        if len(data) % size == _PADDED.get(section.name):
            data += bytes(-len(data) % size)
        if len(data) % size:
            raise Unsupported(
                f"{self.obj.elf.name}: {section.name} has {section.sh_size} bytes, no multiple of {size}",
                "this kernel's entries have another shape; those of Linux 5.10, 6.1 and 6.12 are known",
            )
        rows: dict[int, list[KernelReference]] = defaultdict(list)
        for row in self.obj.elf.relocations_by_section.get(section.index, ()):
            if row.r_type != R.NONE:
                rows[row.r_offset // size].append(self.obj.reference(row, row.r_offset % size, 0))
        extra = self._orc_rows() if section.name == ORC_IP else ()
        found = []
        for number in range(len(data) // size):
            refs = tuple(rows[number])
            first = next((r for r in refs if r.offset == 0), None)
            if first is None or first.section is None:
                continue
            raw = data[number * size : (number + 1) * size]
            more: bytes = extra[number] if extra else b""
            its: tuple[KernelReference, ...] = ()
            if section.name == ALTERNATIVES:
                more, its = self._replacement(refs, raw)
            found.append(SectionEntry(section.name, raw, refs, first.section, more, its))
        return found

    def _size(self, section: Section) -> int:
        """Bytes of an entry. Those of alternatives are told apart by where their two fields with relocations stand."""
        size = SIZES[section.name]
        if section.name == "__bug_table" and section.sh_size % size:
            return 8  # without CONFIG_DEBUG_BUGVERBOSE
        if section.name == ALTERNATIVES:
            rows = self.obj.elf.relocations_by_section.get(section.index, ())
            if section.sh_size % size or any(r.r_offset % size not in (0, 4) for r in rows):
                return _WITH_FLAGS
        return size

    def _orc_rows(self) -> Sequence[bytes]:
        table = self.obj.elf.section(ORC)
        data = self.obj.elf.bytes_of(table) if table is not None else b""
        return [data[n : n + ORC_SIZE] for n in range(0, len(data), ORC_SIZE)]

    def _replacement(self, refs: Sequence[KernelReference], raw: bytes) -> tuple[bytes, tuple[KernelReference, ...]]:
        """The code of an alternative: bytes and references with offsets from its start."""
        table = self.obj.elf.section(REPLACEMENT)
        place = next((r for r in refs if r.offset == 4), None)
        length = raw[_REPLACEMENT_LENGTH]
        if table is None or place is None or not length:
            return b"", ()
        start = place.value
        code = self.obj.elf.bytes_of(table)[start : start + length]
        its = tuple(
            self.obj.reference(r, r.r_offset - start, 4)
            for r in self.obj.elf.relocations_by_section.get(table.index, ())
            if start <= r.r_offset < start + length and r.r_type != R.NONE
        )
        return code, its


def meaning(special: SpecialSections, atom: int, name: dict[int, str]) -> list[object]:
    """What the entries about an atom say, in a form that two compiles can be compared by. `name` tells atoms apart by
    name."""
    found: list[object] = []
    for entry in special.by_owner.get(atom, ()):
        if entry.section in _DERIVED:
            continue
        data = bytearray(without_fields(entry.data, entry.references))
        if entry.section == "__bug_table":
            data[_BUG_LINE] = b"\0\0"
        code = without_fields(entry.extra, entry.extra_references)
        found.append((entry.section, bytes(data), code, _targets(entry, name)))
    return found


def _targets(entry: SectionEntry, name: dict[int, str]) -> tuple[object, ...]:
    """Where an entry's fields point: places in code by offset, others by name."""
    rows = []
    for number, ref in enumerate((*entry.references, *entry.extra_references)):
        if entry.section == ALTERNATIVES and number == 1:
            continue  # the replacement's place in its section; its code is compared
        if entry.section == "__bug_table" and ref.offset == 4:
            continue  # the file's name
        target = ref.symbol if ref.section is None else name.get(ref.section, "")
        rows.append((ref.offset, target, ref.value if ref.section is None or target else 0))
    return tuple(rows)
