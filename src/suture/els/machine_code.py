"""Which functions of a linked file differ between two builds, whatever the linker did about their places.

Functions are found by `.symtab`, which Debian keeps in a package of debug symbols beside the stripped file. What their
instructions refer to outside of the function is left aside, since a change anywhere moves it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import capstone

from suture.elf import abi
from suture.elf.fact import Symbol
from suture.elf.file import ElfFile
from suture.number import Vaddr

_ADDRESS = re.compile(r"0x[0-9a-f]+\Z")
_RELATIVE = re.compile(r"\[rip [+-] 0x[0-9a-f]+\]")
_PARTS = re.compile(r"\.(?:cold|part|isra|constprop|lto_priv)\b.*")


def changed_functions(old: ElfFile, old_names: ElfFile, new: ElfFile, new_names: ElfFile) -> tuple[str, ...]:
    """The functions whose code differs, that came, or that went; clones of the compiler's under the name of what they
    were made from. The second of each pair of files has the symbols of the first."""
    before, after = _functions(old, old_names), _functions(new, new_names)
    found: dict[str, None] = {}
    for name in dict.fromkeys([*before, *after]):
        mine, theirs = before.get(name, []), after.get(name, [])
        if [d for _, d in mine] != [d for _, d in theirs] and _masked(mine) != _masked(theirs):
            found[_PARTS.sub("", name)] = None
    return tuple(found)


def _functions(file: ElfFile, names: ElfFile) -> dict[str, list[tuple[int, bytes]]]:
    """Address and bytes of each function by name; several of a name in the order of their addresses."""
    found: dict[str, list[tuple[int, bytes]]] = defaultdict(list)
    for symbol in sorted(names.symbols, key=lambda s: s.st_value):
        if symbol.is_function and symbol.is_defined and symbol.st_size:
            found[symbol.name].append((symbol.st_value, _code_of(file, symbol)))
    return found


def _code_of(file: ElfFile, symbol: Symbol) -> bytes:
    if file.e_type != abi.ET_REL:
        return file.read_at(Vaddr(symbol.st_value), symbol.st_size)
    whole = file.bytes_of(file.sections[symbol.st_shndx])
    return whole[symbol.st_value : symbol.st_value + symbol.st_size]


def _masked(functions: Sequence[tuple[int, bytes]]) -> list[list[tuple[str, str]]]:
    """Instructions without addresses: a place in the function counts from its start."""
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    return [
        [(mnemonic, _operands(words, start, len(data))) for _, _, mnemonic, words in decoder.disasm_lite(data, start)]
        for start, data in functions
    ]


def _operands(words: str, start: int, size: int) -> str:
    if _ADDRESS.match(words):
        place = int(words, 16) - start
        return str(place) if 0 <= place < size else "elsewhere"
    return _RELATIVE.sub("[rip]", words)
