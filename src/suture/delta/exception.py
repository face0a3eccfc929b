"""Functions that a C++ exception, or the cleanup of a cancelled thread, may have to pass through.

The C++ runtime finds a frame's handlers by unwind tables, and those of code that the loader did not load are not known to it:
an exception that reaches such a frame ends the program (std::terminate). So these functions are told apart here.
"""

from __future__ import annotations

import posixpath

import capstone

from suture.compile.unit import LANGUAGES
from suture.delta.atom import AtomKind, AtomObject, Function

_TABLE = ".gcc_except_table"


def may_unwind(obj: AtomObject, function: Function, source: str) -> bool:
    """Whether a function has handlers or cleanups of its own, or is C++ that exceptions are on for and calls something."""
    if any(a.index in _with_handlers(obj) for a in function.atoms):
        return True
    is_cxx = LANGUAGES.get(posixpath.splitext(source)[1]) == "c++"
    return is_cxx and not _exceptions_are_off(obj) and any(_calls(a.data) for a in function.atoms)


def _with_handlers(obj: AtomObject) -> frozenset[int]:
    """Code sections whose entry in .eh_frame names a language-specific data area: code first, then the table (LSB, .eh_frame)."""
    found: set[int] = set()
    for section in obj.elf.sections:
        if section.name != ".eh_frame":
            continue
        current: int | None = None
        for row in obj.elf.relocations_by_section.get(section.index, ()):
            symbol = obj.elf.symbols[row.symbol]
            if not symbol.has_section:
                continue
            target = obj.elf.sections[symbol.st_shndx]
            atom = obj.atoms.get(target.index)
            if atom is not None and atom.kind is AtomKind.CODE:
                current = target.index
            elif target.name.startswith(_TABLE) and current is not None:
                found.add(current)
    return frozenset(found)


def _exceptions_are_off(obj: AtomObject) -> bool:
    """From the compiler's flags, which gcc records in the debug information (-grecord-gcc-switches)."""
    return any(
        b"-fno-exceptions" in obj.elf.bytes_of(s)
        for s in obj.elf.sections
        if s.name in (".debug_str", ".debug_line_str", ".debug_info")
    )


def _calls(code: bytes) -> bool:
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    return any(mnemonic.split()[-1] == "call" for _, _, mnemonic, _ in engine.disasm_lite(code, 0))
