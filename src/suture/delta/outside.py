"""What a unit changes beside functions and data: initializers, other sections with a meaning to linker or loader, new
symbols.

A live patch can't add these to what is loaded already, so whatever is not carried by its functions has to be named.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from suture.delta.atom import Atom, AtomKind, AtomObject, without_fields
from suture.delta.correlation import pair_atoms
from suture.elf.abi import SymbolType
from suture.refusal import RESTART

INITIALIZERS = (".init_array", ".preinit_array", ".ctors")
_FINALIZERS = (".fini_array", ".dtors")
_ORDINARY = (
    ".text", ".rodata", ".data", ".bss", ".tdata", ".tbss", ".lrodata", ".ldata", ".lbss", ".gcc_except_table",
    ".eh_frame", ".note",
    ".stapsdt", "__patchable_function_entries",
)  # fmt: skip


@dataclass(frozen=True)
class Outside:
    """One such change: the symbol or section, and why it can't be applied live. `exported`: a symbol that the patch may
    carry."""

    label: str
    reason: str
    remedy: str = RESTART
    exported: bool = False


def outside(pre: AtomObject, post: AtomObject) -> tuple[Outside, ...]:
    """Compare two compiles of one unit."""
    return tuple(dict.fromkeys((*_sections(pre, post), *_moved(pre, post), *_symbols(pre, post))))


def _sections(pre: AtomObject, post: AtomObject) -> Iterator[Outside]:
    """Sections of a kind that this package's functions and data don't lie in, and that differ."""
    before, after = (
        Counter((a.section.name, _meaning(o, a)) for a in o.atoms.values() if not _is_ordinary(a) and not a.symbols)
        for o in (pre, post)
    )
    for name in sorted({name for name, _ in (after - before) | (before - after)}):
        if name.startswith(INITIALIZERS):
            yield Outside(
                name, "the fix changes what runs when the program is loaded (constructors), which has run already"
            )
        elif name.startswith(_FINALIZERS):
            yield Outside(
                name, "the fix changes what runs when the program ends (destructors), which is registered already"
            )
        else:
            yield Outside(name, f"the fix changes the section {name}, which the linker or the loader collects")


def _moved(pre: AtomObject, post: AtomObject) -> Iterator[Outside]:
    """Functions and data whose section is another by name, where one of the two is no ordinary one."""
    for new, old in pair_atoms(pre, post).pre_of.items():
        a, b = pre.atoms[old], post.atoms[new]
        if a.symbols and a.section.name != b.section.name and not (_is_ordinary(a) and _is_ordinary(b)):
            yield Outside(b.label, f"the fix moves {b.label} from section {a.section.name} to {b.section.name}")
    known = {s.name for a in pre.atoms.values() for s in a.symbols}
    for atom in post.atoms.values():
        if atom.symbols and not _is_ordinary(atom) and atom.label not in known and atom.kind is not AtomKind.CODE:
            yield Outside(
                atom.label, f"the fix adds {atom.label} to section {atom.section.name}, which is collected by name"
            )


def _symbols(pre: AtomObject, post: AtomObject) -> Iterator[Outside]:
    """Names that other binaries may refer to and that the unit did not define before."""
    known = {s.name for a in pre.atoms.values() for s in a.symbols}
    for atom in (a for a in post.atoms.values() if not a.section.in_group):  # of C++'s, every user has a copy
        for symbol in atom.symbols:
            if symbol.name not in known and symbol.type != SymbolType.SECTION and atom.is_exportable(symbol.name):
                kind = "function" if atom.kind is AtomKind.CODE else "variable"
                reason = (
                    f"the fix adds the global {kind} {symbol.name}, which nothing in this patch uses; no other "
                    "binary would find it"
                )
                yield Outside(symbol.name, reason, exported=True)


def _is_ordinary(atom: Atom) -> bool:
    return atom.section.name.startswith(_ORDINARY)


def _meaning(obj: AtomObject, atom: Atom) -> object:
    """Contents with each reference as what it is called."""
    fields = []
    for ref in atom.references:
        target = obj.atoms.get(ref.section) if ref.section is not None else None
        name = ref.symbol if ref.section is None else target.label if target else ""
        fields.append((ref.offset, ref.r_type, name, ref.value + ref.addend))
    return without_fields(atom.data, atom.references), tuple(fields)
