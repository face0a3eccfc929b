"""Patch files that are small to send and large or long to read: refused at a cost that their size bounds."""

from __future__ import annotations

import struct
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import pytest

from suture.elf.file import ElfFile
from suture.number import Vaddr
from suture.patch.file import MANIFEST_SECTION, parse_patch
from suture.patch.link import lay_out
from suture.patch.manifest import BadPatch, Group, RefusedFunction, Verdict
from suture.patch.record import MOST_FUNCTIONS
from suture.patch.seal import seal
from tests.patch.test_file import MANIFEST, SEALED, patch

PLAIN = patch()[:-SEALED]
SECTIONS = ElfFile(PLAIN).sections
TABLE = int.from_bytes(PLAIN[40:48], "little")


def index(name: str) -> int:
    return next(s.index for s in SECTIONS if s.name == name)


def moved(data: bytearray, name: str, contents: bytes) -> bytearray:
    """The file with other contents of a section, behind its end."""
    struct.pack_into("<QQ", data, TABLE + 64 * index(name) + 24, len(data), len(contents))
    return data + contents


def with_headers(more: bytes) -> bytearray:
    """The file with more section headers."""
    data = bytearray(PLAIN)
    struct.pack_into("<QH", data, 40, len(data), 0)
    struct.pack_into("<Q", data, 40, len(data))
    struct.pack_into("<H", data, 60, len(SECTIONS) + len(more) // 64)
    return data + PLAIN[TABLE : TABLE + 64 * len(SECTIONS)] + more


def many_symbols_of_one_endless_name() -> bytearray:
    data = moved(bytearray(PLAIN), ".strtab", b"A" * (1 << 20))
    table = ElfFile(PLAIN).bytes_of(SECTIONS[index(".symtab")])
    rows = b"".join(struct.pack("<IBBHQQ", n, 0, 0, 0xFFF1, 0, 0) for n in range(20_000))
    return moved(data, ".symtab", table + rows)


def many_sections_of_one_endless_name() -> bytearray:
    data = with_headers(b"".join(struct.pack("<IIQQQQIIQQ", n, 1, 0, 0, 0, 0, 0, 0, 1, 0) for n in range(20_000)))
    at = int.from_bytes(data[40:48], "little") + 64 * index(".shstrtab")
    struct.pack_into("<QQ", data, at + 24, len(data), 1 << 20)
    return data + b"A" * (1 << 20)


def relocations_many_times_over() -> bytearray:
    rows = struct.pack("<QQq", 0, 1 << 32 | 1, 0) * 20_000
    header = struct.pack("<IIQQQQIIQQ", 0, 4, 0, 0, 64, len(rows), index(".symtab"), index(".text"), 8, 24)
    data = with_headers(header * 5000)
    return data + rows


def memory_without_end() -> bytearray:
    return with_headers(struct.pack("<IIQQQQIIQQ", 0, 8, 3, 0, 0, 1 << 40, 0, 0, 8, 0))


def manifest(raw: bytes) -> Callable[[], bytearray]:
    return lambda: moved(bytearray(PLAIN), MANIFEST_SECTION, raw)


TEXT = MANIFEST.to_json()
FUNCTION = MANIFEST.functions[0]
EMPTY = [Group(f"g{n}", ()) for n in range(60_000)]
BOMBS: dict[str, Callable[[], bytearray]] = {
    "many symbols of one endless name": many_symbols_of_one_endless_name,
    "many sections of one endless name": many_sections_of_one_endless_name,
    "relocations many times over": relocations_many_times_over,
    "memory without end": memory_without_end,
    "60,000 empty groups": manifest(replace(MANIFEST, groups=(*MANIFEST.groups, *EMPTY)).to_json()),
    "more functions than any": manifest(
        replace(MANIFEST, groups=tuple(Group(f"g{n}",
        (replace(FUNCTION, address=Vaddr(4096 + 64 * n)),)) for n in range(MOST_FUNCTIONS + 1))).to_json()
    ),
    "deep": manifest(b"[" * 1_000_000),
    "deep objects": manifest(b'{"a":' * 1_000_000),
    "many values": manifest(b"[" + b"[]," * 5_000_000 + b"1]"),
    "a number without end": manifest(TEXT.replace(b"4096", b"9" * 1_000_000)),
    "a text without end": manifest(TEXT.replace(b'"lib.so"', b'"' + b"A" * 30_000_000 + b'"')),
    "a long name": manifest(TEXT.replace(b'"lib.so"', b'"' + b"A" * 30_000 + b'"')),
    "names given twice": manifest(TEXT[:-1] + b',"name":"other"}'),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_little_cost(name: str) -> None:
    data = seal(bytes(BOMBS[name]()))
    begin = time.process_time()
    tracemalloc.start()
    with pytest.raises(BadPatch) as caught:
        lay_out(parse_patch(data, "p"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.process_time() - begin < 10
    assert peak < 64 << 20, f"{peak >> 20} MiB"
    assert len(caught.value.what) < 1000


def test_as_many_functions_as_are_allowed_are_laid_out_in_moments() -> None:
    groups = tuple(Group(f"g{n}", (replace(FUNCTION, address=Vaddr(4096 + 64 * n)),)) for n in range(MOST_FUNCTIONS))
    begin = time.process_time()
    assert len(lay_out(parse_patch(patch(manifest=replace(MANIFEST, groups=groups)), "p")).stubs) == MOST_FUNCTIONS
    assert time.process_time() - begin < 10


def test_a_long_list_of_reasons_is_no_bomb() -> None:
    refused = tuple(RefusedFunction(f"f{n}", "x.c", n, "r" * 1000, "m") for n in range(3000))
    assert parse_patch(patch(manifest=replace(MANIFEST, verdict=Verdict(False, (), refused))), "p")
