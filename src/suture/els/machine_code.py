"""Which functions of a linked file differ between two builds, whatever the linker did about their places.

Functions are found by `.symtab`, which Debian keeps in a package of debug symbols beside the stripped file. What their
instructions refer to outside of the function is left aside, since a change anywhere moves it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import capstone

from suture.elf import abi
from suture.elf.fact import Symbol
from suture.elf.file import ElfFile
from suture.number import Vaddr

MovedLines = frozenset[tuple[int, int]]
"""Numbers of lines before and after, of lines that are the same."""
_Masked = list[list[tuple[str, str]]]
_CONSTANT = re.compile(r"(.*, )(0x[0-9a-f]+|[0-9]+)\Z")
_ADDRESS = re.compile(r"0x[0-9a-f]+\Z")
_RELATIVE = re.compile(r"\[rip [+-] 0x[0-9a-f]+\]")
_PARTS = re.compile(r"\.(?:cold|part|isra|constprop|lto_priv)\b.*")


@dataclass(frozen=True)
class ChangedFunction:
    """A function whose code differs; `by_lines` if nothing but the numbers of source lines in it does."""

    name: str
    by_lines: bool


def changed_functions(
    old: ElfFile, old_names: ElfFile, new: ElfFile, new_names: ElfFile, moved: MovedLines = frozenset()
) -> tuple[ChangedFunction, ...]:
    """The functions whose code differs, that came, or that went; clones of the compiler's under the name of what they
    were made from. The second of each pair of files has the symbols of the first; `moved` are lines that stand
    elsewhere in the new source."""
    before, after = _functions(old, old_names), _functions(new, new_names)
    found: dict[str, bool] = {}
    for name in dict.fromkeys([*before, *after]):
        mine, theirs = before.get(name, []), after.get(name, [])
        if [d for _, d in mine] == [d for _, d in theirs]:
            continue
        a, b = _masked(mine), _masked(theirs)
        if a != b:
            plain = _PARTS.sub("", name)
            found[plain] = found.get(plain, True) and _is_by_lines(a, b, moved)
    return tuple(ChangedFunction(name, by_lines) for name, by_lines in found.items())


def _is_by_lines(old: _Masked, new: _Masked, moved: MovedLines) -> bool:
    """Whether all that differs are constants that are put somewhere (mov), each the number of a line that has moved:
    assert() and macros that log have __LINE__ in them."""
    if [len(f) for f in old] != [len(f) for f in new]:
        return False
    for (word, mine), (other, theirs) in zip(chain(*old), chain(*new), strict=True):
        if (word, mine) == (other, theirs):
            continue
        a, b = _CONSTANT.match(mine), _CONSTANT.match(theirs)
        if word != "mov" or other != "mov" or a is None or b is None or a[1] != b[1]:
            return False
        if (int(a[2], 0), int(b[2], 0)) not in moved:
            return False
    return True


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


def _masked(functions: Sequence[tuple[int, bytes]]) -> _Masked:
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
