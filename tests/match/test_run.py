"""The shipped binary: what cannot be matched says why."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from suture.elf.file import BadElf
from suture.error import Unsupported
from suture.match.run import Run


@pytest.fixture
def library(tmp_path: Path) -> Path:
    (tmp_path / "a.c").write_text("int f(int x) { return x + 1; }\n")
    out = tmp_path / "liba.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(out), str(tmp_path / "a.c")], check=True)
    return out


def test_a_file_without_section_headers_is_refused_for_that_reason(library: Path) -> None:
    data = bytearray(library.read_bytes())
    struct.pack_into("<Q", data, 0x28, 0)
    struct.pack_into("<3H", data, 0x3A, 0, 0, 0)
    library.write_bytes(data)
    with pytest.raises(Unsupported, match="no section headers"):
        Run.read(library)


def test_section_headers_behind_the_end_of_the_file_are_named(library: Path) -> None:
    data = bytearray(library.read_bytes())
    struct.pack_into("<Q", data, 0x28, len(data) + 4096)
    library.write_bytes(data)
    with pytest.raises(BadElf, match="section headers end at byte"):
        Run.read(library)
