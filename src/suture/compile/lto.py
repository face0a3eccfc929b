"""Objects for link-time optimization: they hold what the compiler goes on with when it links, and no machine code."""

from __future__ import annotations

from suture.elf.file import ElfFile

REASON = "it is compiled with -flto, so its object holds no machine code: that is made when the binary is linked, out of all units at once"
REMEDY = (
    "build without it (-fno-lto after the other flags), run that binary, and record its build: suture record -- make"
)
_BITCODE = b"BC\xc0\xde"  # LLVM, "Bitcode Magic numbers"
_SECTIONS = ".gnu.lto_"  # gcc internals, "LTO file sections"


def is_for_later(data: bytes, name: str) -> bool:
    """Whether the bytes of an object hold no machine code because of -flto. One with both (-ffat-lto-objects) has some."""
    if data.startswith(_BITCODE):
        return True
    sections = ElfFile(data, name).sections
    return any(s.name.startswith(_SECTIONS) for s in sections) and not any(s.is_code and s.sh_size for s in sections)
