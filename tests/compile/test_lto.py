"""Objects for link-time optimization, as gcc writes them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from suture.compile.lto import is_fat, is_for_later
from suture.elf.file import ElfFile


@pytest.mark.parametrize(
    ("flags", "later", "fat"),
    [
        ((), False, False),
        (("-flto", "-fno-fat-lto-objects"), True, False),
        (("-flto", "-ffat-lto-objects"), False, True),
    ],
    ids=["plain", "for later", "both"],
)
def test_an_object_holds_code_now_or_later_or_both(
    tmp_path: Path, flags: tuple[str, ...], later: bool, fat: bool
) -> None:
    out = tmp_path / "u.o"
    subprocess.run(
        ["gcc", "-O2", *flags, "-c", "-x", "c", "-o", str(out), "-"], input=b"int f;int g(){return f;}", check=True
    )
    assert (is_for_later(out.read_bytes(), "u.o"), is_fat(ElfFile.read(out))) == (later, fat)


def test_an_object_of_data_alone_is_not_for_later(tmp_path: Path) -> None:
    out = tmp_path / "u.o"
    subprocess.run(["gcc", "-c", "-x", "c", "-o", str(out), "-"], input=b"int f = 3;", check=True)
    assert not is_for_later(out.read_bytes(), "u.o") and not is_fat(ElfFile.read(out))


def test_bitcode_of_llvm_is_for_later() -> None:
    assert is_for_later(b"BC\xc0\xde" + bytes(100), "u.o")
