"""Types spelled out, so that equal text means equal layout.

Typedefs, const and volatile are seen through. A named structure is its name, because it is compared itself; an
anonymous one is its typedef's name, or all of its members.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from suture.delta.die import At, Die, Tag
from suture.delta.dwarf import Dwarf

AGGREGATES = frozenset({Tag.STRUCT, Tag.UNION, Tag.CLASS})
DEFINED = AGGREGATES | {Tag.ENUM}
TRANSPARENT = frozenset({Tag.TYPEDEF, Tag.CONST, Tag.VOLATILE, Tag.RESTRICT, Tag.ATOMIC})
KEYWORD: Mapping[int, str] = {Tag.STRUCT: "struct", Tag.CLASS: "struct", Tag.UNION: "union", Tag.ENUM: "enum"}


def scope_of(die: Die) -> str:
    """The namespaces, classes and functions around an entry, each with `::` behind it."""
    names = []
    above = die.parent
    while above is not None and above.tag != Tag.COMPILE_UNIT:
        if above.tag != Tag.LEXICAL_BLOCK:
            names.append(above.name or "(anonymous)")
        above = above.parent
    return "".join(f"{n}::" for n in reversed(names))


@dataclass(frozen=True)
class Member:
    """`at` and `size` are bits; `type` is the spelled type, with the layout of anonymous ones spelled out."""

    at: int
    size: int
    type: str

    @property
    def is_callback(self) -> bool:
        """Whether it is a pointer to a function."""
        return self.type.endswith(") *") and not self.type.endswith("(recursive) *")


class Speller:
    """Spells types so that equal text means equal layout, but for named structures."""

    def __init__(self, dwarf: Dwarf) -> None:
        self._dwarf = dwarf
        self._known: dict[int, str] = {}
        self._typedef_of: dict[int, str] = {}
        for die in dwarf.walk():
            if die.tag == Tag.TYPEDEF:
                target = die.number(At.TYPE)
                if target is not None:
                    self._typedef_of.setdefault(target, scope_of(die) + die.name)

    def spell(self, die: Die | None) -> str:
        if die is None:
            return "void"
        if die.offset not in self._known:
            self._known[die.offset] = "(recursive)"
            self._known[die.offset] = self._spell(die)
        return self._known[die.offset]

    def _spell(self, die: Die) -> str:
        target = self._dwarf.reference(die)
        if die.tag in TRANSPARENT:
            return self.spell(target)
        if die.tag in DEFINED:
            name = scope_of(die) + die.name if die.name else self._typedef_of.get(die.offset, "")
            return f"{KEYWORD[die.tag]} {name}" if name else f"{KEYWORD[die.tag]} {{{self._body(die)}}}"
        if die.tag == Tag.POINTER:
            return f"{self.spell(target)} *"
        if die.tag in (Tag.REFERENCE, Tag.RVALUE_REFERENCE):
            return f"{self.spell(target)} &"
        if die.tag == Tag.PTR_TO_MEMBER:
            return f"{self.spell(target)} ::*"
        if die.tag == Tag.ARRAY:
            return self.spell(target) + "".join(f"[{_count(c)}]" for c in die.children if c.tag == Tag.SUBRANGE)
        if die.tag == Tag.SUBROUTINE_TYPE:
            return f"{self.spell(target)} ({self.parameters(die)})"
        return die.name or f"type {die.tag:#x} of {die.number(At.BYTE_SIZE)} bytes"

    def parameters(self, die: Die) -> str:
        spelled = [
            "..." if c.tag == Tag.UNSPECIFIED_PARAMETERS else self.spell(self._dwarf.reference(c))
            for c in die.children
            if c.tag in (Tag.PARAMETER, Tag.UNSPECIFIED_PARAMETERS)
        ]
        return ", ".join(spelled) or "void"

    def _body(self, die: Die) -> str:
        if die.tag == Tag.ENUM:
            return ", ".join(f"{name} = {value}" for name, value in enumerators(die).items())
        members = ", ".join(f"{m.type} {n} at {m.at} bits {m.size}" for n, m in self.members(die).items())
        return f"{size_of(die)} bytes: {members}"

    def members(self, die: Die) -> dict[str, Member]:
        """Members by name; those without a name by their place in the order. Bases and the virtual table's pointer are
        members."""
        found: dict[str, Member] = {}
        for number, child in enumerate(c for c in die.children if c.tag in (Tag.MEMBER, Tag.INHERITANCE)):
            if At.EXTERNAL in child.attributes or At.DECLARATION in child.attributes:
                continue  # a static member of a class
            target = self._dwarf.reference(child)
            spelled = self.spell(target)
            name = child.name or (f"base {spelled}" if child.tag == Tag.INHERITANCE else f"(unnamed {number})")
            found[name] = Member(_bit_offset(child), self._bits(child, target), spelled)
        return found

    def leaves(self, die: Die) -> list[tuple[str, Member]]:
        """Members by their last name, those of structures within in the place of these: what the bytes of an object
        mean, whatever they are wrapped into."""
        found: list[tuple[str, Member]] = []
        children = [c for c in die.children if c.tag in (Tag.MEMBER, Tag.INHERITANCE)]
        for child, (name, member) in zip(children, self.members(die).items(), strict=False):
            target = self._dwarf.reference(child)
            while target is not None and target.tag in TRANSPARENT:
                target = self._dwarf.reference(target)
            if len(children) == len(self.members(die)) and target is not None and target.tag == Tag.STRUCT:
                found += [(n, replace(m, at=member.at + m.at)) for n, m in self.leaves(target)]
            else:
                found.append((name, member))
        return found

    def _bits(self, member: Die, target: Die | None) -> int:
        bits = member.number(At.BIT_SIZE)
        return bits if bits is not None else 8 * self.size(target)

    def size(self, die: Die | None) -> int:
        """Bytes of a type; 0 when not known, such as a flexible array."""
        while die is not None and die.tag in TRANSPARENT:
            die = self._dwarf.reference(die)
        if die is None:
            return 0
        if die.tag == Tag.ARRAY and At.BYTE_SIZE not in die.attributes:
            total = self.size(self._dwarf.reference(die))
            for dimension in (c for c in die.children if c.tag == Tag.SUBRANGE):
                total *= _count(dimension) or 0
            return total
        return size_of(die)


def size_of(die: Die) -> int:
    """Bytes that an entry itself tells; a pointer without a size has 8."""
    return die.number(At.BYTE_SIZE) or (8 if die.tag == Tag.POINTER else 0)


def _count(subrange: Die) -> int | None:
    count, upper = subrange.number(At.COUNT), subrange.number(At.UPPER_BOUND)
    if count is not None:
        return count
    return upper + 1 if upper is not None else None


def _bit_offset(member: Die) -> int:
    """Bits from the start of the structure (DWARF 5 section 5.7.6; DWARF 4 counts bit fields from the storage unit's
    top)."""
    at = member.attributes.get(At.DATA_MEMBER_LOCATION, 0)
    if isinstance(at, bytes | str):
        return (
            int.from_bytes(at if isinstance(at, bytes) else at.encode(), "little") << 32
        )  # an expression, as a virtual base has
    bits = member.number(At.DATA_BIT_OFFSET)
    if bits is not None:
        return bits + 8 * at
    top = member.number(At.BIT_OFFSET)
    if top is not None:
        return 8 * at + 8 * (member.number(At.BYTE_SIZE) or 0) - top - (member.number(At.BIT_SIZE) or 0)
    return 8 * at


def enumerators(die: Die) -> dict[str, int]:
    """Values by name."""
    return {c.name: c.number(At.CONST_VALUE) or 0 for c in die.children if c.tag == Tag.ENUMERATOR}
