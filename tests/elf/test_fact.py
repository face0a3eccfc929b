from __future__ import annotations

from suture.elf.abi import SectionFlag, SectionType, SymbolType
from suture.elf.fact import Section, Symbol
from suture.number import FileOffset, Vaddr


def section(flags: int = 0, sh_type: int = SectionType.PROGBITS) -> Section:
    return Section(1, "s", sh_type, flags, Vaddr(0), FileOffset(0), 0, 0, 0, 0, 0)


def test_each_flag_says_one_thing() -> None:
    said = {
        "is_alloc": SectionFlag.ALLOC,
        "is_code": SectionFlag.EXECINSTR,
        "is_writable": SectionFlag.WRITE,
        "is_merge": SectionFlag.MERGE,
        "in_group": SectionFlag.GROUP,
    }
    for name, flag in said.items():
        assert getattr(section(flag), name) is True
        assert getattr(section(~flag & 0xFFF), name) is False
    both = SectionFlag.MERGE | SectionFlag.STRINGS
    assert [section(f).is_strings for f in (both, SectionFlag.MERGE, SectionFlag.STRINGS, 0)] == [
        True,
        False,
        False,
        False,
    ]
    assert section().has_bits and not section(0, SectionType.NOBITS).has_bits


def symbol(shndx: int, kind: int = SymbolType.NOTYPE) -> Symbol:
    return Symbol(1, "f", 0, 0, kind, 0, 0, shndx)


def test_where_a_symbol_is() -> None:
    assert [symbol(n).is_defined for n in (0, 1, 0xFFF1, 0xFFF2)] == [False, True, True, True]
    assert [symbol(n).has_section for n in (0, 1, 0xFEFF, 0xFF00, 0xFFF1, 0xFFFF)] == [
        False,
        True,
        True,
        False,
        False,
        False,
    ]
    assert [symbol(1, k).is_function for k in range(11)] == [k in (2, 10) for k in range(11)]
    assert (symbol(1).version, symbol(1).hidden_version) == ("", False)
