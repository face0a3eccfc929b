"""The binary packages of a source version, and the ELF files in them that may be patched."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from debian.deb822 import Deb822

from suture.elf import abi
from suture.elf.file import BadElf, ElfFile
from suture.error import NotFound, Unsupported
from suture.source import cache
from suture.source.archive import Archive, SourceVersion

_ARCHITECTURES = frozenset({"any", "amd64", "linux-any", "any-amd64", "linux-amd64"})


@dataclass(frozen=True)
class ShippedFile:
    """An ELF file of a binary package: its path in the package, and where it lies here."""

    package: str
    file: str
    path: Path


def binary_packages(source: SourceVersion) -> tuple[str, ...]:
    """Names of the packages with code for x86-64 that a source version builds (dsc(5), Package-List), sorted; those
    with debug symbols and those for the installer are left out."""
    text = source.dsc.read_text(errors="surrogateescape")
    found = re.search(r"^Format:", text, re.M)
    fields = Deb822(text[found.start() :] if found else text)
    names = []
    for line in str(fields.get("Package-List", "")).splitlines():
        words = line.split()
        options = dict(w.partition("=")[::2] for w in words[4:])
        fits = not _ARCHITECTURES.isdisjoint(options.get("arch", "any").split(","))
        if len(words) >= 4 and words[1] == "deb" and fits and not words[0].endswith(("-dbg", "-dbgsym")):
            names.append(words[0])
    return tuple(sorted(names))


def shipped_files(source: SourceVersion, archive: Archive) -> tuple[ShippedFile, ...]:
    """Every program and loadable library of the packages, links and copies by link left out. A package that the archive
    does not have (built under a profile, or gone) is passed over; `NotFound` is raised when it has none of them."""
    found: list[ShippedFile] = []
    missing: list[NotFound] = []
    names = binary_packages(source)
    for name in names:
        try:
            root = archive.built_from(name, source.version)
        except NotFound as gone:
            missing.append(gone)
            continue
        for path in sorted(root.rglob("*")):
            if cache.is_plain(path) and _is_code(path):
                found.append(ShippedFile(name, str(path.relative_to(root)), path))
    if not found and missing:
        raise missing[0]
    return tuple(found)


def _is_code(path: Path) -> bool:
    """Whether a file is a program or library with code for x86-64; debug files, objects and kernel modules are none."""
    with path.open("rb") as file:
        if file.read(4) != abi.ELFMAG:
            return False
    try:
        elf = ElfFile.read(path)
        return elf.e_type in (abi.ET_EXEC, abi.ET_DYN) and any(
            s.is_code and s.has_bits and s.sh_size for s in elf.sections
        )
    except (BadElf, Unsupported):
        return False
