"""Where the source defines a function or variable, from DWARF: used only where a refusal has to name the place."""

from __future__ import annotations

from suture.delta.die import Tag
from suture.delta.dwarf import Dwarf
from suture.elf.file import ElfFile

_KINDS = frozenset({Tag.SUBPROGRAM, Tag.VARIABLE})


def line_of(elf: ElfFile, name: str) -> int:
    """The declaring line of a name in an object with debug information; 0 where there is none."""
    wanted = name.split(".")[0]
    dwarf = Dwarf.of(elf)
    for die in dwarf.walk():
        if die.tag in _KINDS and die.name == wanted:
            line = dwarf.place(die)[1]
            if line:
                return line
    return 0
