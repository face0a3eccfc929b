"""Objects for link-time optimization: they hold what the compiler goes on with when it links, and no machine code."""

from __future__ import annotations

from suture.elf.file import ElfFile

REASON = (
    "it is compiled with -flto, so its object holds no machine code: that is made when the binary is linked, out of "
    "all units at once"
)
REMEDY = (
    "build without it (-fno-lto after the other flags), run that binary, and record its build: suture record -- make"
)
FAT_REASON = (
    "it is compiled with -flto and -ffat-lto-objects, and the binary does not hold the code of its object: that was "
    "made anew when the binary was linked, out of all units at once"
)
_BITCODE = b"BC\xc0\xde"  # LLVM, "Bitcode Magic numbers"
_SECTIONS = (".gnu.lto_", ".llvm.lto")  # gcc internals, "LTO file sections"; clang, -ffat-lto-objects


def is_for_later(data: bytes, name: str) -> bool:
    """Whether the bytes of an object hold no machine code because of -flto. One with both (-ffat-lto-objects) has
    some."""
    if data.startswith(_BITCODE):
        return True
    elf = ElfFile(data, name)
    return _has_sections(elf) and not any(s.is_code and s.sh_size for s in elf.sections)


def is_fat(elf: ElfFile) -> bool:
    """Whether an object holds both machine code and what the linker may make other code from."""
    return _has_sections(elf) and any(s.is_code and s.sh_size for s in elf.sections)


def _has_sections(elf: ElfFile) -> bool:
    return any(s.name.startswith(_SECTIONS) for s in elf.sections)
