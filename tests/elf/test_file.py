"""ELF tables as readelf and nm read them, and files that are damaged."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest

from suture.elf.file import BadElf, ElfFile
from suture.error import Unsupported
from suture.match.run import Run

SOURCE = """
#include <stdlib.h>
#include <string.h>
static __thread int t;
int shown = 5; static int zeroed[100];
long f(long x) { t++; return atol("4") + x + strlen(getenv("HOME")) + zeroed[x]; }
__attribute__((visibility("hidden"))) long h(long x) { return f(x) * 2; }
long (*const table[])(long) = {f, h};
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("elf")
    (folder / "a.c").write_text(SOURCE)
    (folder / "v.map").write_text("V1 { global: f; local: *; };\n")
    subprocess.run(
        ["gcc", "-O2", "-g", "-fPIC", "-ffunction-sections", "-c", "a.c", "-o", "a.o"], check=True, cwd=folder
    )
    subprocess.run(
        ["gcc", "-shared", "a.o", "-Wl,--build-id", "-Wl,--version-script=v.map", "-o", "a.so"], check=True, cwd=folder
    )
    return [folder / "a.o", folder / "a.so"]


def readelf(option: str, path: Path) -> list[str]:
    return subprocess.run(
        ["readelf", option, "-W", str(path)], check=True, capture_output=True, text=True
    ).stdout.splitlines()


def test_sections_are_those_of_readelf(files: list[Path]) -> None:
    for path in files:
        rows = [
            m
            for line in readelf("-S", path)
            if (m := re.match(r"\s+\[ *(\d+)\] (\S*)\s+(\S+)\s+([0-9a-f]{16}) ([0-9a-f]+) ([0-9a-f]+)", line))
        ]
        expected = [(int(m[1]), m[2], int(m[4], 16), int(m[5], 16), int(m[6], 16)) for m in rows if m[1] != "0"]
        assert [
            (s.index, s.name, s.sh_addr, s.sh_offset, s.sh_size) for s in ElfFile.read(path).sections[1:]
        ] == expected


def test_symbols_and_versions_are_those_of_readelf(files: list[Path]) -> None:
    found = ElfFile.read(files[1])
    rows = [line.split() for line in readelf("--dyn-syms", files[1]) if re.match(r"\s+\d+: ", line)]
    expected = {r[7]: (int(r[1], 16), int(r[2], 0)) for r in rows if len(r) > 7}
    shown = {}
    expected.pop("V1", None)  # the symbol of the version itself, which readelf shows without one
    for s in found.dynamic_symbols[1:]:
        if s.name == "V1":
            continue
        version = f"{'@' if s.hidden_version or not s.is_defined else '@@'}{s.version}" if s.version else ""
        shown[s.name + version] = (s.st_value, s.st_size)
    assert shown == {re.sub(r"@@(?=.*_UNDEF)", "@", k): v for k, v in expected.items()}


def test_relocations_are_those_of_readelf(files: list[Path]) -> None:
    for path in files:
        elf = ElfFile.read(path)
        expected = sorted(
            int(m[1], 16)
            for line in readelf("-r", path)
            if (m := re.match(r"([0-9a-f]{16})\s+[0-9a-f]{16} R_X86", line))
        )
        assert sorted(r.r_offset for s in elf.sections if s.sh_type == 4 for r in elf.relocations(s)) == expected


def test_the_build_id_is_that_of_readelf(files: list[Path]) -> None:
    assert f"Build ID: {ElfFile.read(files[1]).build_id}" in "\n".join(readelf("-n", files[1]))


def everything(data: bytes) -> None:
    run = Run(ElfFile(data))
    elf = run.elf
    for s in elf.sections:
        if s.has_bits:
            elf.bytes_of(s)
        if s.sh_type == 4:
            elf.relocations(s)
    _ = (elf.segments, elf.symbols, elf.dynamic_symbols, elf.build_id, elf.relocations_by_section)
    _ = (run.code, run.slots, run.plt, run.exports, run.is_symbolic, run.slots_of)


def test_damaged_files_cost_an_error_and_no_more(files: list[Path]) -> None:
    rng = random.Random(3)
    refused = 0
    for path in files:
        data = path.read_bytes()
        tables = [*range(64), *range(len(data) - 2400, len(data))]
        for n in range(1500):
            damaged = bytearray(data)
            for _ in range(rng.randrange(1, 4)):
                at = rng.choice(tables) if n % 2 else rng.randrange(len(data))
                damaged[at] = rng.choice((0, 1, 0x7F, 0xFF, rng.randrange(256)))
            cut = rng.randrange(len(data)) if n % 5 == 0 else len(data)
            try:
                everything(bytes(damaged[:cut]))
            except (BadElf, Unsupported):
                refused += 1
    assert refused > 300


def test_zeros_behind_the_file_part_of_a_segment_and_nothing_behind_a_truncated_file(files: list[Path]) -> None:
    data = files[1].read_bytes()
    elf = ElfFile(data)
    bss = elf.section(".bss")
    assert bss is not None and bss.sh_size and elf.read_at(bss.sh_addr, bss.sh_size) == bytes(bss.sh_size)
    text = elf.section(".text")
    assert text is not None
    headers = bytearray(data[: text.sh_offset + 4])
    with pytest.raises(BadElf):
        ElfFile(bytes(headers)).read_at(text.sh_addr, 16)
