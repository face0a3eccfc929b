"""Error codes in the machine code of gcc."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from suture.delta.atom import AtomObject
from suture.delta.error_code import error_codes
from suture.elf.file import ElfFile


@pytest.mark.parametrize("level", ["-O1", "-O2", "-Os"])
def test_what_a_function_returns_below_zero_is_found_and_what_it_passes_on_is_not(tmp_path: Path, level: str) -> None:
    source = tmp_path / "x.c"
    source.write_text(
        "int work(int, int); void done(void);\n"
        "int f(int a) { int r = -12; if (a == 1) return -22; if (a == 2) goto out;\n"
        "  r = work(a, -33); out: done(); return r; }\n"
        "long g(long a) { return a ? a : -1; }\nint h(int a) { return work(a, -44) + 5000; }\n"
    )
    subprocess.run(["gcc", level, "-ffunction-sections", "-c", "-o", tmp_path / "x.o", source], check=True)
    found = {n: error_codes(f) for n, f in AtomObject(ElfFile.read(tmp_path / "x.o")).functions.items()}
    assert found == {"f": {-12, -22}, "g": {-1}, "h": frozenset()}


def test_only_small_negative_constants_that_a_function_gives_back_are_error_codes(tmp_path: Path) -> None:
    """MAX_ERRNO is 4095 (include/linux/err.h)."""
    source = tmp_path / "x.c"
    source.write_text(
        "int last(void) { return -4095; }\nint beyond(void) { return -4096; }\nint far(void) { return -5000; }\n"
        "int plain(void) { return 7; }\nint masked(int a) { return a & -16; }\n"
        "int compared(int a) { return a == -22; }\nint none(void) { return 0; }\n"
    )
    subprocess.run(["gcc", "-O2", "-ffunction-sections", "-c", "-o", tmp_path / "x.o", source], check=True)
    found = {n: set(error_codes(f)) for n, f in AtomObject(ElfFile.read(tmp_path / "x.o")).functions.items()}
    assert found == {"last": {-4095}, "beyond": set(), "far": set(), "plain": set(), "masked": set()} | {
        "compared": set(),
        "none": set(),
    }
