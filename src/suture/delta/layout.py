"""Types whose layout a fix changed, and functions whose prototype it changed, from the DWARF of the two objects.

A changed layout misreads objects that exist already, unless none can. A cast leaves no trace in DWARF, so a type that
is visible in the whole file may be used anywhere; only one that is declared inside a replaced function, and used there
for nothing but local variables, lives no longer than a frame of it. Types that only one object defines are no change.
Values are compared as laid out: typedefs, const and volatile are seen through, names of structures are not, since each
is compared itself.

gcc only declares a C++ class whose key function is elsewhere, and then nothing is known of it here: compile with
-femit-class-debug-always, which changes no code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from suture.delta.die import At, Die, Tag
from suture.delta.dwarf import Dwarf
from suture.delta.type_text import (
    AGGREGATES,
    DEFINED,
    KEYWORD,
    TRANSPARENT,
    Member,
    Speller,
    enumerators,
    scope_of,
    size_of,
)
from suture.elf.file import ElfFile

_INHERITS_USE = TRANSPARENT | {Tag.ARRAY}
_SHF_COMPRESSED = 0x800  # gABI, sh_flags
_MOST_TOLD = 6  # differences of one type that are spelled out
_IN_FRAME = frozenset({0x91, 0x93, *range(0x50, 0x90)})  # DW_OP_fbreg, piece, reg0-31, breg0-31


@dataclass(frozen=True)
class LayoutChange:
    """A type that both objects define, differently. `file` and `line` are where post declares it, `what` says what
    changed.

    `outlives`: an object of this type may exist when the patch is applied and be read by new code. `callbacks` are the
    members that changed, where all of them are pointers to functions that stay where they are and take or give
    something else: objects that exist hold as good an address as before, and only who calls, and what is called, must
    change together. `renames` are pairs of an old and a new name, where nothing but names of members or enumerators
    differs: each place or value has as many names as before. Whether it also means what it meant, the layout does not
    tell (renaming.py).
    """

    name: str
    file: str
    line: int
    what: str
    outlives: bool
    callbacks: tuple[str, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class SignatureChange:
    """A global function whose parameters or result changed. `old` and `new` are its prototypes, `file` and `line`
    post's."""

    name: str
    file: str
    line: int
    old: str
    new: str


def describes_types(elf: ElfFile) -> bool:
    """Whether an object has the debug information of its types: not in another file, not compressed, and not of level
    1, which has functions and variables without their types. Without it nothing differs, and anything may.
    """
    parts = [s for s in elf.sections if s.name == ".debug_info"]
    if len(parts) != 1 or parts[0].sh_flags & _SHF_COMPRESSED:
        return False
    tags, producers = set(), []
    for die in Dwarf.of(elf).walk():
        if At.TYPE in die.attributes or At.PROTOTYPED in die.attributes:
            return True
        tags.add(die.tag)
        producers += [str(die.attributes[At.PRODUCER])] if At.PRODUCER in die.attributes else []
    # functions that take and give nothing: gcc tells its flags
    levels = re.findall(r" -g(?:gdb)?([0-3])?(?= |$)", " ".join(producers))
    return tags <= {Tag.COMPILE_UNIT, Tag.SUBPROGRAM} and Tag.SUBPROGRAM in tags and levels[-1:] not in (["0"], ["1"])


def changed_layouts(pre: ElfFile, post: ElfFile, replaced: frozenset[str] = frozenset()) -> tuple[LayoutChange, ...]:
    """Structures, unions, classes and enumerations of both objects that differ, by scoped name. `replaced` are symbol
    names.

    An enumerator that only post has is no change: what exists keeps its meaning.
    """
    old, new = Dwarf.of(pre), Dwarf.of(post)
    before, after = _types(old), _types(new)
    old_text, new_text = Speller(old), Speller(new)
    changes = []
    for name in sorted(before.keys() & after.keys()):
        what = _differences(old_text, before[name], new_text, after[name])
        if what and not _is_wrapped_otherwise(old_text, before[name], new_text, after[name]):
            changes.append((name, _told(what)))
    if not changes:
        return ()
    whole = Dwarf(pre, bodies=True)
    return tuple(
        LayoutChange(
            name,
            *new.place(after[name]),
            what,
            _may_outlive(whole, before[name].offset, replaced),
            _callbacks(old_text, before[name], new_text, after[name]),
            _renames(old_text, before[name], new_text, after[name]),
        )
        for name, what in changes
    )


def changed_signatures(pre: ElfFile, post: ElfFile, local: bool = False) -> tuple[SignatureChange, ...]:
    """Global functions that both objects define, with different prototypes: callers in other units were compiled for
    the old one. With `local` also static ones."""
    old, new = Dwarf.of(pre), Dwarf.of(post)
    before, after = _signatures(old, local), _signatures(new, local)
    return tuple(
        SignatureChange(name, *new.place(after[name][1]), before[name][0], after[name][0])
        for name in sorted(before.keys() & after.keys())
        if before[name][0] != after[name][0]
    )


def _types(dwarf: Dwarf) -> dict[str, Die]:
    """Each definition by scoped name; an anonymous one by its typedef. Of several with one name, the first."""
    found: dict[str, Die] = {}
    for die in dwarf.walk():
        if At.DECLARATION in die.attributes:
            continue
        if die.tag in DEFINED and die.name:
            found.setdefault(f"{KEYWORD[die.tag]} {scope_of(die)}{die.name}", die)
        elif die.tag == Tag.TYPEDEF and die.name:
            target = dwarf.reference(die)
            if target is not None and target.tag in DEFINED and not target.name:
                found.setdefault(scope_of(die) + die.name, target)
    return found


def _signatures(dwarf: Dwarf, local: bool) -> dict[str, tuple[str, Die]]:
    """Prototype and entry of each global function that is defined, by symbol name; with `local` of each static one
    too."""
    text = Speller(dwarf)
    found: dict[str, tuple[str, Die]] = {}
    for die in dwarf.walk():
        if die.tag != Tag.SUBPROGRAM or At.DECLARATION in die.attributes:
            continue
        source = dwarf.reference(die, At.ABSTRACT_ORIGIN) or die
        source = dwarf.reference(source, At.SPECIFICATION) or source
        if not (local or At.EXTERNAL in source.attributes) or not source.name:
            continue
        linkage = source.attributes.get(At.LINKAGE_NAME)
        name = linkage if isinstance(linkage, str) else source.name
        result = text.spell(dwarf.reference(source))
        found[name] = f"{result} {scope_of(source)}{source.name}({text.parameters(source)})", source
    return found


def _differences(old: Speller, before: Die, new: Speller, after: Die) -> list[str]:
    """What changed, in words; empty for equal layouts."""
    what = []
    if before.tag != after.tag and KEYWORD[before.tag] != KEYWORD[after.tag]:
        what.append(f"{KEYWORD[before.tag]} became {KEYWORD[after.tag]}")
    if size_of(before) != size_of(after):
        what.append(f"size {size_of(before)} -> {size_of(after)}")
    if before.tag == Tag.ENUM:
        values, kept = enumerators(before), enumerators(after)
        what += [f"enumerator {n} removed" for n in values if n not in kept]
        what += [f"enumerator {n} {v} -> {kept[n]}" for n, v in values.items() if n in kept and kept[n] != v]
        return what
    members, others = old.members(before), new.members(after)
    what += [f"member {n} added at offset {_place(m.at)}" for n, m in others.items() if n not in members]
    what += [f"member {n} removed from offset {_place(m.at)}" for n, m in members.items() if n not in others]
    for name, member in members.items():
        if name in others:
            what += _member_differences(name, member, others[name])
    return what


def _callbacks(old: Speller, before: Die, new: Speller, after: Die) -> tuple[str, ...]:
    """Members that differ, if all are pointers to functions of other types and nothing else differs."""
    if before.tag not in AGGREGATES or before.tag != after.tag or size_of(before) != size_of(after):
        return ()
    members, others = old.members(before), new.members(after)
    if list(members) != list(others):
        return ()
    pairs = {n: (m, others[n]) for n, m in members.items() if m != others[n]}
    fit = all(a.at == b.at and a.size == b.size and a.is_callback and b.is_callback for a, b in pairs.values())
    return tuple(pairs) if fit else ()


def _is_wrapped_otherwise(old: Speller, before: Die, new: Speller, after: Die) -> bool:
    """Whether members of the same names and types lie at the same places, only that a structure around some came or
    went."""
    alike = before.tag == after.tag == Tag.STRUCT and size_of(before) == size_of(after)
    return alike and bool(before.children) and old.leaves(before) == new.leaves(after)


def _renames(old: Speller, before: Die, new: Speller, after: Die) -> tuple[tuple[str, str], ...]:
    """Names that others have taken the place of, if nothing else differs; what is only added to an enumeration is no
    difference.
    """
    if before.tag != after.tag or size_of(before) != size_of(after):
        return ()
    if before.tag == Tag.ENUM:
        values, kept = enumerators(before), enumerators(after)
        fresh = {n: v for n, v in kept.items() if n not in values}
        held = [v for n, v in values.items() if n in kept]
        gone = {n: v for n, v in values.items() if n not in kept}
        pairs = [(n, [m for m, w in fresh.items() if w == v]) for n, v in gone.items()]
        fit = all(len(m) == 1 for _, m in pairs) and all(kept[n] == values[n] for n in values.keys() & kept.keys())
        fit = fit and len(set(gone.values())) == len(gone) and not set(gone.values()) & set(held)
        return tuple((n, m[0]) for n, m in pairs) if fit else ()
    members, others = old.members(before), new.members(after)
    if list(members.values()) != list(others.values()):
        return ()
    changed = [(n, m) for n, m in zip(members, others, strict=True) if n != m]
    fit = all(n not in others and m not in members for n, m in changed) and "(" not in "".join(
        x for p in changed for x in p
    )
    return tuple(changed) if fit else ()


def _told(what: Sequence[str]) -> str:
    """Differences for a person to read: where one member comes, all behind it move."""
    more = len(what) - _MOST_TOLD
    return "; ".join(what[:_MOST_TOLD]) + (f" (and {more} more)" if more > 0 else "")


def _member_differences(name: str, before: Member, after: Member) -> list[str]:
    what = []
    if before.at != after.at:
        what.append(f"member {name} moved from offset {_place(before.at)} to {_place(after.at)}")
    if before.type != after.type:
        what.append(f"type of member {name}: {before.type} -> {after.type}")
    elif before.size != after.size:
        what.append(f"size of member {name}: {before.size} -> {after.size} bits")
    return what


def _place(bits: int) -> str:
    return str(bits // 8) if bits % 8 == 0 else f"{bits // 8} bit {bits % 8}"


def _may_outlive(dwarf: Dwarf, offset: int, replaced: frozenset[str]) -> bool:
    """Whether an object of the type at `offset` may be met by other code than one run of a replaced function. All
    doubts say yes.

    `dwarf` is that of pre with function bodies. An enumeration's values are kept in plain integers too, so it always
    may.
    """
    die = dwarf.by_offset[offset]
    if die.tag == Tag.ENUM or not _is_inside(dwarf, die, replaced):
        return True
    users = dwarf.users
    todo, seen = [offset], {offset}
    while todo:
        for user in users.get(todo.pop(), ()):
            if user.tag in _INHERITS_USE:
                if user.offset not in seen:
                    seen.add(user.offset)
                    todo.append(user.offset)
            elif not _is_local_of(dwarf, user, replaced):
                return True
    return False


def _is_local_of(dwarf: Dwarf, user: Die, replaced: frozenset[str]) -> bool:
    """A variable that lives in a frame of a function in `replaced`."""
    location = user.attributes.get(At.LOCATION)
    if user.tag != Tag.VARIABLE or (isinstance(location, bytes) and location and location[0] not in _IN_FRAME):
        return False  # static, thread-local, or nothing known
    return At.EXTERNAL not in user.attributes and _is_inside(dwarf, user, replaced)


def _is_inside(dwarf: Dwarf, die: Die, replaced: frozenset[str]) -> bool:
    """Declared in the body of a function in `replaced` that is nowhere inlined."""
    above = die.parent
    while above is not None and above.tag == Tag.LEXICAL_BLOCK:
        above = above.parent
    if above is None or above.tag != Tag.SUBPROGRAM or At.INLINE in above.attributes:
        return False
    source = dwarf.reference(above, At.SPECIFICATION) or above
    linkage = source.attributes.get(At.LINKAGE_NAME)
    return (linkage if isinstance(linkage, str) else source.name) in replaced
