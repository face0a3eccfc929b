"""Functions that a C++ exception, or the cleanup of a cancelled thread, may have to pass through.

The C++ runtime must find the unwind tables of their new code in any process that gets it; for other functions it need
not.
"""

from __future__ import annotations

import posixpath

import capstone

from suture.compile.unit import LANGUAGES
from suture.delta.atom import AtomFunction, AtomObject


def may_unwind(obj: AtomObject, function: AtomFunction, source: str) -> bool:
    """Whether a function has handlers or cleanups of its own, or is C++ that exceptions are on for and calls
    something."""
    if obj.strange_frames or obj.tables_of(function):
        return True
    is_cxx = LANGUAGES.get(posixpath.splitext(source)[1]) == "c++"
    return is_cxx and not _exceptions_are_off(obj) and any(_calls(a.data) for a in function.atoms)


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
