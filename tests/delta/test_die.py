"""Tags and attributes have the numbers of the standard."""

from __future__ import annotations

from elftools.dwarf import enums

from suture.delta.die import At, Die, Tag


def test_numbers_are_those_of_the_standard() -> None:
    tags = {
        "ARRAY": "array_type",
        "CLASS": "class_type",
        "ENUM": "enumeration_type",
        "PARAMETER": "formal_parameter",
        "POINTER": "pointer_type",
        "REFERENCE": "reference_type",
        "STRUCT": "structure_type",
        "UNION": "union_type",
        "INLINED": "inlined_subroutine",
        "PTR_TO_MEMBER": "ptr_to_member_type",
        "SUBRANGE": "subrange_type",
        "BASE": "base_type",
        "CONST": "const_type",
        "VOLATILE": "volatile_type",
        "RESTRICT": "restrict_type",
        "RVALUE_REFERENCE": "rvalue_reference_type",
        "ATOMIC": "atomic_type",
    }
    assert {t.name: enums.ENUM_DW_TAG["DW_TAG_" + tags.get(t.name, t.name.lower())] for t in Tag} == {
        t.name: int(t) for t in Tag
    }
    assert {a.name: enums.ENUM_DW_AT["DW_AT_" + a.name.lower()] for a in At} == {a.name: int(a) for a in At}


def test_the_unit_of_an_entry_is_the_outermost_one_around_it() -> None:
    unit = Die(0, Tag.COMPILE_UNIT, {}, None)
    function = Die(1, Tag.SUBPROGRAM, {}, unit)
    variable = Die(2, Tag.VARIABLE, {}, function)
    assert variable.unit is function.unit is unit.unit is unit
