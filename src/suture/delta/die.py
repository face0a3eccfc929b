"""One entry of .debug_info, and the tags and attributes that are looked at, under their names (DWARF 5, 7.5)."""

from __future__ import annotations

from enum import IntEnum

Value = int | bytes | str


class Tag(IntEnum):
    """`DW_TAG_*`, as far as they are looked at."""

    ARRAY = 0x01
    CLASS = 0x02
    ENUM = 0x04
    PARAMETER = 0x05
    LEXICAL_BLOCK = 0x0B
    MEMBER = 0x0D
    POINTER = 0x0F
    REFERENCE = 0x10
    COMPILE_UNIT = 0x11
    STRUCT = 0x13
    SUBROUTINE_TYPE = 0x15
    TYPEDEF = 0x16
    UNION = 0x17
    UNSPECIFIED_PARAMETERS = 0x18
    INHERITANCE = 0x1C
    INLINED = 0x1D
    PTR_TO_MEMBER = 0x1F
    SUBRANGE = 0x21
    BASE = 0x24
    CONST = 0x26
    ENUMERATOR = 0x28
    SUBPROGRAM = 0x2E
    VARIABLE = 0x34
    VOLATILE = 0x35
    RESTRICT = 0x37
    RVALUE_REFERENCE = 0x42
    ATOMIC = 0x47


class At(IntEnum):
    """`DW_AT_*`, as far as they are looked at."""

    SIBLING = 0x01
    LOCATION = 0x02
    NAME = 0x03
    BYTE_SIZE = 0x0B
    BIT_OFFSET = 0x0C
    BIT_SIZE = 0x0D
    STMT_LIST = 0x10
    CONST_VALUE = 0x1C
    INLINE = 0x20
    PRODUCER = 0x25
    PROTOTYPED = 0x27
    UPPER_BOUND = 0x2F
    ABSTRACT_ORIGIN = 0x31
    COUNT = 0x37
    DATA_MEMBER_LOCATION = 0x38
    DECL_FILE = 0x3A
    DECL_LINE = 0x3B
    DECLARATION = 0x3C
    ENCODING = 0x3E
    EXTERNAL = 0x3F
    SPECIFICATION = 0x47
    TYPE = 0x49
    DATA_BIT_OFFSET = 0x6B
    LINKAGE_NAME = 0x6E


class Die:
    """One entry. `attributes` holds references as offsets in .debug_info and strings decoded."""

    __slots__ = ("attributes", "children", "offset", "parent", "tag")

    def __init__(self, offset: int, tag: int, attributes: dict[int, Value], parent: Die | None) -> None:
        self.offset = offset
        self.tag = tag
        self.attributes = attributes
        self.parent = parent
        self.children: list[Die] = []

    @property
    def name(self) -> str:
        value = self.attributes.get(At.NAME, "")
        return value if isinstance(value, str) else ""

    def number(self, attribute: At) -> int | None:
        value = self.attributes.get(attribute)
        return value if isinstance(value, int) else None

    @property
    def unit(self) -> Die:
        die = self
        while die.parent is not None:
            die = die.parent
        return die
