"""Where functions and variables of a unit stand in its source, from the object's debug information."""

from __future__ import annotations

from functools import cached_property

from suture.delta.die import At, Tag
from suture.delta.dwarf import Dwarf
from suture.elf.file import ElfFile
from suture.make_kernel.prepare import ROOT


def in_tree(file: str) -> str:
    """A path of debug information, relative to the tree's root."""
    return file.removeprefix(f"{ROOT}/").removeprefix("./")


class DeclarationLines:
    """File and line of declarations by name; parsed when first asked."""

    def __init__(self, elf: ElfFile) -> None:
        self._elf = elf

    @cached_property
    def _places(self) -> dict[str, tuple[str, int]]:
        found: dict[str, tuple[str, int]] = {}
        dwarf = Dwarf.of(self._elf)
        for die in dwarf.walk():
            if die.tag in (Tag.SUBPROGRAM, Tag.VARIABLE) and die.name and At.DECLARATION not in die.attributes:
                file, line = dwarf.place(die)
                found.setdefault(die.name, (in_tree(file), line))
        return found

    def place(self, name: str) -> tuple[str, int]:
        """File and line; an empty name and 0 where nothing is known."""
        return self._places.get(name.partition(".")[0], ("", 0))
