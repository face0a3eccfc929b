"""Variables of a running process for which one of two compiles has no storage.

gcc makes a variable constant that no code of its unit writes, and leaves out what is stored in one that no code reads
(gcc(1), -fipa-reference-addressable). A process that ran old code may hold another value than the initial one, and what
is stored in new code is read by old code after a revert. Compiled with -fno-ipa-reference-addressable (*kept*), each
variable that some code uses has its place.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import capstone
from capstone import x86

from suture.delta.atom import Atom, AtomKind, AtomObject, Reference
from suture.delta.compare import Difference
from suture.delta.correlation import base_name, pair_atoms
from suture.delta.die import At, Tag
from suture.delta.dwarf import Dwarf
from suture.refusal import RESTART, Refusal

_STATE = (AtomKind.DATA, AtomKind.BSS, AtomKind.THREAD)


def is_suspect(pre: AtomObject, post: AtomObject, changed: frozenset[str]) -> bool:
    """Whether a variable of pre may have lost its storage in post, or one of post's may have had none in pre.

    Two compiles with storage tell of which it is true. Static locals are told apart by the functions that use them, so
    those of functions that change (`changed`, names in post) may have been paired with what they are not.
    """
    pairs = pair_atoms(pre, post)
    numbered = {a.index for a in _variables(post) if base_name(a.label) != a.label}
    return (
        any(a.index not in pairs.post_of for a in _variables(pre))
        or any(a.index not in pairs.pre_of for a in _variables(post))
        or any(post.users.get(i, frozenset()) & changed for i in numbered)
    )


def declared_without(old: AtomObject, new: AtomObject) -> frozenset[str]:
    """Names of variables of `old` without a counterpart in `new`, whose debug information declares them all the
    same."""
    kept = pair_atoms(old, new).post_of
    names = {a.label.split(".")[0] for a in _variables(old) if a.index not in kept}
    dwarf = Dwarf(new.elf, bodies=True)
    linkage = {d.attributes.get(At.LINKAGE_NAME) for d in dwarf.walk() if d.tag == Tag.VARIABLE}
    return frozenset(names & ({d.name for d in dwarf.walk() if d.tag == Tag.VARIABLE} | linkage))


def is_of_gcc(obj: AtomObject) -> bool:
    """Whether gcc compiled it, which gives each variable its storage when it is told to."""
    producers = [d.attributes.get(At.PRODUCER) for d in Dwarf.of(obj.elf).units]
    return bool(producers) and all(isinstance(p, str) and p.startswith("GNU ") for p in producers)


def folded(pre: AtomObject, post: AtomObject, kept: AtomObject) -> frozenset[str]:
    """Variables of pre, by base name, that the source of post still uses (`kept` is compiled from it) and post has no
    storage for."""
    before, after, source = (Counter(base_name(a.label) for a in _variables(o)) for o in (pre, post, kept))
    return frozenset(n for n in before if source[n] > after[n])


def unstored(pre: AtomObject, kept: AtomObject, post: AtomObject) -> frozenset[str]:
    """Labels of variables of post in which the source of pre stores (`kept` is compiled from it) and running code does
    not, since nothing reads them there."""
    paired = pair_atoms(pre, post).pre_of
    before, source = (Counter(base_name(a.label) for a in _variables(o)) for o in (pre, kept))
    constant = {base_name(a.label) for a in pre.atoms.values() if a.kind in (AtomKind.CONST, AtomKind.RELRO)}
    written = {base_name(a.label) for a in _variables(kept) if _is_written(kept, a)}
    dropped = {n for n in written - constant if source[n] > before[n]}
    return frozenset(a.label for a in _variables(post) if a.index not in paired and base_name(a.label) in dropped)


def with_storage(plain: Difference, kept: Difference, real: Difference) -> Difference:
    """What a fix changes where post is taken from its compile with storage, `real` being how that differs from pre.

    A function that is the same in both ways to compile (`plain`, `kept`) differs in `real` by the way alone. Where
    clones are others, `real` counts as a whole: it replaces more, and misses nothing.
    """
    named = plain.changed | kept.changed
    if (plain.new, plain.gone) != (real.new, real.gone):
        return real
    return replace(real, changed=named & real.changed)


def dropped(label: str) -> Refusal:
    """Why a function that reads a variable which running code leaves out cannot go in."""
    return Refusal(
        f"it reads the variable {label.split('.')[0]}, in which running code stores nothing: no old code reads it, so "
        "the compiler left those stores out",
        f"keep what the fix needs in a new variable that starts with its initial value, or {RESTART}",
    )


def _variables(obj: AtomObject) -> list[Atom]:
    return [a for a in obj.atoms.values() if a.kind in _STATE and a.symbols]


def _is_written(obj: AtomObject, variable: Atom) -> bool:
    """Whether some code may write a variable; whoever has its address may."""
    return any(
        ref.section == variable.index and (atom.kind is not AtomKind.CODE or not _reads(obj, atom, ref))
        for atom in obj.atoms.values()
        for ref in atom.references
    )


def _reads(obj: AtomObject, code: Atom, ref: Reference) -> bool:
    """Whether the instruction that has a reference does no more than read what is there."""
    start, end = obj.instruction(code, ref)
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    decoder.detail = True
    for insn in decoder.disasm(code.data[start:end], 0, 1):
        memory = [o for o in insn.operands if o.type == x86.X86_OP_MEM]
        return bool(memory) and insn.id != x86.X86_INS_LEA and not any(o.access & capstone.CS_AC_WRITE for o in memory)
    return False
