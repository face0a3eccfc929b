"""Where the source defines a function or variable, from DWARF: used only where a refusal has to name the place."""

from __future__ import annotations

import io

from elftools.common.exceptions import DWARFError, ELFError
from elftools.elf.elffile import ELFFile

from suture.elf.file import ElfFile

_KINDS = frozenset({"DW_TAG_subprogram", "DW_TAG_variable"})


def line_of(elf: ElfFile, name: str) -> int:
    """The declaring line of a name in an object with debug information; 0 where there is none."""
    wanted = name.split(".")[0].encode()
    try:
        reader = ELFFile(io.BytesIO(elf.data))  # type: ignore[no-untyped-call]
        if not reader.has_dwarf_info():  # type: ignore[no-untyped-call]
            return 0
        for unit in reader.get_dwarf_info(relocate_dwarf_sections=True).iter_CUs():  # type: ignore[no-untyped-call]
            for die in unit.iter_DIEs():
                if (
                    die.tag in _KINDS
                    and "DW_AT_name" in die.attributes
                    and die.attributes["DW_AT_name"].value == wanted
                ):
                    line = die.attributes.get("DW_AT_decl_line")
                    if line is not None:
                        return int(line.value)
    except (DWARFError, ELFError):
        return 0  # pyelftools does not apply the relocations of thread-local variables
    return 0
