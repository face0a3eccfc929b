"""What DWARF tells about a function's use of argument and return registers. Source: x86-64 psABI, section 3.2.3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from suture.delta.die import At, Die, Tag
from suture.delta.dwarf import Dwarf
from suture.delta.liveness import INTEGER_ARGUMENTS, RAX, RETURN_REGISTERS, VECTOR_ARGUMENTS
from suture.elf.file import ElfFile

_ADDRESS = frozenset({Tag.POINTER, Tag.REFERENCE, Tag.RVALUE_REFERENCE})
_TRANSPARENT = frozenset({Tag.TYPEDEF, Tag.CONST, Tag.VOLATILE, Tag.RESTRICT, Tag.ATOMIC})
_FLOAT_ENCODINGS = frozenset({0x04})


# Called by gcc itself, with no declaration (GCC internals, "Soft float library routines" and "Library calls"):
# arguments, all in integer registers.
_IMPLICIT = {
    "memcpy": 3,
    "memmove": 3,
    "memset": 3,
    "memcmp": 3,
    "__stack_chk_fail": 0,
    "__tls_get_addr": 1,
    "abort": 0,
}


@dataclass(frozen=True)
class Prototype:
    """`returns`: registers that may hold the result. `reads`: registers that hold arguments; None when that cannot be
    told."""

    returns: int
    reads: int | None


def prototypes(elf: ElfFile) -> Mapping[str, Prototype]:
    """For each function that the object's DWARF defines or declares. Of two different ones of a name, neither is
    told."""
    dwarf = Dwarf.of(elf)
    found: dict[str, Prototype | None] = {}
    for name, count in _IMPLICIT.items():
        found[name] = Prototype(RETURN_REGISTERS, sum(INTEGER_ARGUMENTS[:count]))
    for die in dwarf.walk():
        if die.tag != Tag.SUBPROGRAM:
            continue
        source = dwarf.reference(die, At.ABSTRACT_ORIGIN) or dwarf.reference(die, At.SPECIFICATION) or die
        linkage = source.attributes.get(At.LINKAGE_NAME)
        name = linkage if isinstance(linkage, str) else source.name
        prototype = _prototype(dwarf, source)
        if not name or name in _IMPLICIT or (source.attributes.get(At.DECLARATION) and prototype.reads is None):
            continue  # a built-in function has a second declaration, without parameters
        if found.setdefault(name, prototype) != prototype:
            found[name] = None
    return {name: prototype for name, prototype in found.items() if prototype is not None}


def _prototype(dwarf: Dwarf, die: Die) -> Prototype:
    reads: int | None = 0
    integers, vectors = iter(INTEGER_ARGUMENTS), iter(VECTOR_ARGUMENTS)
    result = dwarf.reference(die)
    returns = RETURN_REGISTERS
    if At.TYPE not in die.attributes:
        returns = 0
    elif (kind := _kind(dwarf, result)) is not None:
        returns = RAX if kind == "integer" else VECTOR_ARGUMENTS[0]
    else:
        return Prototype(returns, None)  # a result in memory takes an argument register
    known = bool(die.attributes.get(At.PROTOTYPED)) or any(c.tag == Tag.PARAMETER for c in die.children)
    for child in die.children:
        if child.tag == Tag.UNSPECIFIED_PARAMETERS:
            return Prototype(returns, None)
        if child.tag != Tag.PARAMETER or reads is None:
            continue
        kind = _kind(dwarf, dwarf.reference(child))
        if kind is None:
            reads = None
        else:
            reads |= next(integers if kind == "integer" else vectors, 0)
    return Prototype(returns, reads if known else None)


def _kind(dwarf: Dwarf, die: Die | None) -> str | None:
    """ "integer" or "float" for a value in one register of that class, None for any other."""
    while die is not None and die.tag in _TRANSPARENT:
        die = dwarf.reference(die)
    if die is None:
        return None
    if die.tag in _ADDRESS or die.tag == Tag.ENUM:
        return "integer"
    size = die.number(At.BYTE_SIZE) or 0
    if die.tag != Tag.BASE or size > 8:
        return None
    encoding = die.number(At.ENCODING)
    if encoding in _FLOAT_ENCODINGS:
        return "float" if size in (4, 8) else None
    return "integer" if encoding in (0x02, 0x05, 0x06, 0x07, 0x08, 0x10) else None
