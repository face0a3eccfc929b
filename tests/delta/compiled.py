"""Units of C compiled as the maker compiles them, and what a fix changes in one. Objects are kept for a run of
mutation testing."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from suture.delta.atom import AtomObject
from suture.delta.change import UnitChange
from suture.delta.compare import difference
from suture.elf.file import ElfFile
from suture.match.book import Book
from suture.match.linker_edit import Kind
from suture.match.match import Match
from suture.match.proof import MatchedUnit

FLAGS = ("-O2", "-fPIC", "-ffunction-sections", "-fdata-sections", "-fcf-protection=none", "-w")
STEP = 0x1000
"""Section number n of pre runs at link-time address n * STEP."""


@cache
def object_of(text: str, *flags: str, suffix: str = ".c") -> bytes:
    """The object file that gcc makes of a text."""
    kept = os.environ.get("SUTURE_KEPT_OBJECTS")
    name = hashlib.sha256(repr((text, flags, suffix)).encode()).hexdigest()
    if kept and (Path(kept) / name).exists():
        return (Path(kept) / name).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / f"a{suffix}", Path(folder) / "a.o"
        source.write_text(text)
        argv = ["gcc", *FLAGS, *flags, "-c", source.name, "-o", out.name]
        subprocess.run(argv, check=True, cwd=folder)
        data = out.read_bytes()
    if kept:
        Path(kept).mkdir(exist_ok=True)
        (Path(kept) / f"{name}.{os.getpid()}").write_bytes(data)
        (Path(kept) / f"{name}.{os.getpid()}").rename(Path(kept) / name)
    return data


def unit(text: str, *flags: str, suffix: str = ".c") -> AtomObject:
    return AtomObject(ElfFile(object_of(text, *flags, suffix=suffix), "a.o"))


def changed(pre: str, post: str, *flags: str, suffix: str = ".c", unproved: tuple[str, ...] = ()) -> UnitChange:
    """A unit before and after; all of it runs at known addresses, but for what `unproved` names."""
    before, after = unit(pre, *flags, suffix=suffix), unit(post, *flags, suffix=suffix)
    book = Book("a.c")
    for atom in before.atoms.values():
        if atom.label not in unproved:
            book.add(Kind.ADDRESS, f"sectioned:{atom.section.name}#{atom.index}", STEP * atom.index, "the test")
    match = Match(MatchedUnit("a.c", "a.o", True, (), ()), book)
    return UnitChange(f"a{suffix}", "a.o", before, after, difference(before, after), match)
