"""ELF tables as readelf and nm read them, and files that are damaged."""

from __future__ import annotations

import io
import random
import re
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.enums import ENUM_ST_INFO_BIND, ENUM_ST_INFO_TYPE, ENUM_ST_SHNDX, ENUM_ST_VISIBILITY

from suture.elf.file import BadElf, ElfFile, _Names, build_id_in
from suture.elf.object_writer import NewSection, write_object
from suture.error import Unsupported
from suture.match.run import Run
from suture.number import Vaddr

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


def test_every_field_of_symbols_and_relocations_is_that_of_another_reader(files: list[Path]) -> None:
    for path in files:
        mine, judge = ElfFile.read(path), ELFFile(io.BytesIO(path.read_bytes()))
        for name, symbols in ((".symtab", mine.symbols), (".dynsym", mine.dynamic_symbols)):
            table = judge.get_section_by_name(name)
            rows = list(table.iter_symbols()) if table else []
            assert [(s.name, s.st_value, s.st_size) for s in symbols] == [
                (r.name, r["st_value"], r["st_size"]) for r in rows
            ]
            assert [(s.index, s.bind << 4 | s.type, s.visibility) for s in symbols] == [
                (n, *info(r)) for n, r in enumerate(rows)
            ]
            assert [s.st_shndx for s in symbols] == [ENUM_ST_SHNDX.get(r["st_shndx"], r["st_shndx"]) for r in rows]
        for section in mine.sections:
            if section.sh_type == 4:
                wanted = [
                    (r["r_offset"], r["r_info_type"], r["r_info_sym"], r["r_addend"])
                    for r in judge.get_section(section.index).iter_relocations()
                ]
                assert [(r.r_offset, r.r_type, r.symbol, r.r_addend) for r in mine.relocations(section)] == wanted
        by_target = mine.relocations_by_section
        assert all(list(rows) == sorted(rows, key=lambda r: r.r_offset) for rows in by_target.values())
        for s, other in zip(mine.sections, judge.iter_sections(), strict=True):
            fields = ("sh_flags", "sh_link", "sh_info", "sh_addralign", "sh_entsize")
            assert [getattr(s, f) for f in fields] == [other[f] for f in fields]
        keys = ("p_flags", "p_offset", "p_vaddr", "p_filesz", "p_memsz", "p_align")
        assert [[getattr(s, k) for k in keys] for s in mine.segments] == [
            [o[k] for k in keys] for o in judge.iter_segments()
        ]


def info(row: Any) -> tuple[int, int]:
    types: dict[str, Any] = ENUM_ST_INFO_TYPE
    binds: dict[str, Any] = ENUM_ST_INFO_BIND
    visibilities: dict[str, Any] = ENUM_ST_VISIBILITY
    bind, kind = row["st_info"].bind, row["st_info"].type
    return binds.get(bind, bind) << 4 | types.get(kind, kind), visibilities[row["st_other"].visibility]


def test_bytes_at_an_address_are_those_of_its_segment(files: list[Path]) -> None:
    elf = ElfFile.read(files[1])
    loads = [s for s in elf.segments if s.p_type == 1]
    assert len(loads) >= 4
    for s in loads:
        whole = elf.data[s.p_offset : s.p_offset + s.p_filesz].ljust(s.p_memsz, b"\0")
        assert elf.read_at(s.p_vaddr, s.p_memsz) == whole
        assert elf.read_at(Vaddr(s.p_vaddr + 3), 5) == whole[3:8]
        assert elf.read_at(Vaddr(s.p_vaddr + s.p_memsz - 2), 2) == whole[-2:]
        for start, size in ((s.p_vaddr + s.p_memsz - 2, 3), (s.p_vaddr - 1, 2)):
            with pytest.raises(BadElf, match=f"address {start:#x} is not in a loaded segment"):
                elf.read_at(Vaddr(start), size)
    last = loads[-1]
    assert elf.read_at(Vaddr(last.p_vaddr + last.p_filesz - 3), 3 + last.p_memsz - last.p_filesz)[3:] == bytes(
        last.p_memsz - last.p_filesz
    )


def test_the_place_of_an_address_is_where_its_byte_lies_in_the_file(files: list[Path]) -> None:
    elf = ElfFile.read(files[1])
    loads = [s for s in elf.segments if s.p_type == 1]
    for s in loads:
        places = {elf.offset_of(Vaddr(s.p_vaddr + at)): s.p_offset + at for at in (0, s.p_filesz - 1)}
        assert all(found == at for found, at in places.items())
    last = loads[-1]
    assert last.p_memsz > last.p_filesz and elf.offset_of(Vaddr(last.p_vaddr + last.p_filesz)) is None
    assert elf.offset_of(Vaddr(1 << 40)) is None


def note(name: bytes, desc: bytes, kind: int) -> bytes:
    raw = struct.pack("<III", len(name), len(desc), kind) + name + bytes(-len(name) % 4) + desc
    return raw + bytes(-len(desc) % 4)


def test_a_build_id_is_found_among_other_notes(files: list[Path]) -> None:
    mine = note(b"GNU\0", b"\xab" * 20, 3)
    assert build_id_in(mine) == "ab" * 20
    assert (
        build_id_in(note(b"GNU\0", b"12345", 1) + note(b"odd\0\0\0", b"1", 3) + mine + note(b"z\0", b"", 9))
        == "ab" * 20
    )
    assert build_id_in(note(b"GNU\0", b"12345", 5) + note(b"GNX\0", b"12345", 3)) is None
    assert build_id_in(note(b"GNU\0", b"", 3)) is None
    assert build_id_in(mine[:-1]) is None and build_id_in(b"") is None and build_id_in(mine[:11]) is None
    assert build_id_in(note(b"GNU\0", b"\x01\x02\x03", 3) + mine) == "010203"
    # without sections, from the segments
    data = bytearray(files[1].read_bytes())
    struct.pack_into("<Q", data, 0x28, 0)
    struct.pack_into("<3H", data, 0x3A, 0, 0, 0)
    bare = ElfFile(bytes(data))
    assert bare.sections == () and bare.build_id == ElfFile.read(files[1]).build_id
    assert ElfFile.read(files[0]).build_id is None


MANY = """
int one(void) { return 1; } int old(void) { return 2; } int two(void) { return 3; }
    __asm__(".symver old,both@V1\\n.symver two,both@@V2");
extern char **environ; int puts(const char *); double pow(double, double); int pthread_kill(long, int);
long use(double d) { puts(*environ); pthread_kill(0, 0); return pow(d, d); }
"""


def test_versions_of_several_libraries_and_of_its_own_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(MANY)
    (tmp_path / "v.map").write_text("V1 { global: one; both; local: *; }; V2 { global: use; both; } V1;\n")
    argv = ["gcc", "-shared", "-fPIC", "-w", "a.c", "-o", "a.so", "-Wl,--version-script=v.map", "-lm"]
    subprocess.run(argv, check=True, cwd=tmp_path)
    found = {
        (s.name, s.version, s.hidden_version) for s in ElfFile.read(tmp_path / "a.so").dynamic_symbols if s.version
    }
    shown = set()
    for line in readelf("--dyn-syms", tmp_path / "a.so"):
        row = re.match(r"\s+\d+: .* (\w+)@(@?)(\S+)", line)
        if row:
            shown.add((row[1], row[3], row[2] == "" and " UND " not in line))
    assert {(n, v) for n, v, _ in found if n not in ("V1", "V2")} == {(n, v) for n, v, _ in shown}
    assert {(n, v, h) for n, v, h in found if n == "both"} == {("both", "V1", True), ("both", "V2", False)}
    assert len({v for _, v, _ in found}) >= 4


def test_names_are_bounded_one_by_one_and_together() -> None:
    names = _Names(b"\0one\0two", "f")
    assert [names.at(n) for n in (0, 1, 2, 5, 8, 99)] == ["", "one", "ne", "two", "", ""]
    assert _Names(b"\xff\0", "f").at(0) == "\ufffd"
    long = _Names(b"x" * (1 << 16) + b"\0", "f")
    with pytest.raises(BadElf, match="names that are longer than any are"):
        _Names(b"x" * ((1 << 16) + 1) + b"\0", "f").at(0)
    assert len(long.at(1)) == (1 << 16) - 1
    many = _Names(b"y" * 60000 + b"\0", "f")
    for n in range(9):
        assert len(many.at(n)) == 60000 - n
    with pytest.raises(BadElf, match="longer"):
        many.at(9)
    assert len(many.at(0)) == 60000  # what is known costs nothing


def test_files_of_other_machines_and_no_files_are_told_apart() -> None:
    good = bytearray(write_object([NewSection(".text", 6, b"x")], []))

    def with_byte(at: int, value: int) -> bytes:
        return bytes(good[:at]) + bytes([value]) + bytes(good[at + 1 :])

    assert ElfFile(bytes(good)).e_machine == 62 and ElfFile(bytes(good)).e_type == 1
    for raw in (bytes(good[:63]), with_byte(0, 0x7E), with_byte(3, 0)):
        with pytest.raises(BadElf, match="x: not an ELF file"):
            ElfFile(raw, "x")
    for at, value in ((4, 1), (5, 2)):
        with pytest.raises(Unsupported, match="not a 64-bit little-endian"):
            ElfFile(with_byte(at, value))
    with pytest.raises(Unsupported, match="machine 3 is not x86-64"):
        ElfFile(with_byte(18, 3))
    with pytest.raises(BadElf, match="section name table out of range"):
        _ = ElfFile(with_byte(62, 200)).sections
    odd = ElfFile(write_object([NewSection(".rela.x", 0, bytes(25), sh_type=4)], []))
    with pytest.raises(BadElf, match=r".rela.x has a broken size"):
        odd.relocations(odd.sections[1])
    table = ElfFile(write_object([NewSection(".odd", 0, bytes(25), sh_type=11)], []))
    with pytest.raises(BadElf, match=r".odd is malformed"):
        _ = table.dynamic_symbols


def test_more_sections_than_their_count_has_room_for() -> None:
    sections = [NewSection(f".s{n}", 2, b"x") for n in range(4)]
    data = bytearray(write_object(sections, []))
    at = struct.unpack_from("<Q", data, 0x28)[0]
    count, names = struct.unpack_from("<HH", data, 60)
    struct.pack_into("<HH", data, 60, 0, 0xFFFF)
    struct.pack_into("<Q", data, at + 32, count)
    struct.pack_into("<I", data, at + 40, names)
    assert [s.name for s in ElfFile(bytes(data)).sections][1:5] == [".s0", ".s1", ".s2", ".s3"]
    struct.pack_into("<Q", data, at + 32, (1 << 20) + 1)
    with pytest.raises(BadElf, match="1048577 sections"):
        _ = ElfFile(bytes(data)).sections
    struct.pack_into("<Q", data, at + 32, 1 << 20)
    with pytest.raises(BadElf, match="truncated: its section headers end at byte"):
        _ = ElfFile(bytes(data)).sections


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


def test_the_build_id_of_an_object_stands_in_a_section_of_notes_and_in_no_other(files: list[Path]) -> None:
    """As a kernel module has it, which has no segments."""
    raw = note(b"GNU\0", b"\xab" * 20, 3)
    assert ElfFile(write_object([NewSection(".note.gnu.build-id", 2, raw, 4, 7)], [])).build_id == "ab" * 20
    other = [NewSection(".data", 2, note(b"GNU\0", b"\xcd" * 20, 3), 4)]
    assert ElfFile(write_object(other, [])).build_id is None
    assert ElfFile(write_object([*other, NewSection(".n", 2, raw, 4, 7)], [])).build_id == "ab" * 20


def test_a_segment_that_is_none_is_not_loaded(files: list[Path]) -> None:
    """PT_NULL: the entry is unused (gABI, program header)."""
    data = bytearray(files[1].read_bytes())
    at, count = struct.unpack_from("<Q", data, 0x20)[0], struct.unpack_from("<H", data, 0x38)[0]
    last = max(n for n in range(count) if struct.unpack_from("<I", data, at + 56 * n)[0] == 1)
    address = ElfFile(bytes(data)).segments[last].p_vaddr
    assert ElfFile(bytes(data)).read_at(address, 1)
    struct.pack_into("<I", data, at + 56 * last, 0)
    with pytest.raises(BadElf, match="is not in a loaded segment"):
        ElfFile(bytes(data)).read_at(address, 1)


def with_size(data: bytes, name: str, size: int) -> ElfFile:
    """The file with another size of one section in its header."""
    section = ElfFile(data).section(name)
    assert section is not None
    headers = struct.unpack_from("<Q", data, 0x28)[0]
    changed = bytearray(data)
    struct.pack_into("<Q", changed, headers + 64 * section.index + 32, size)
    return ElfFile(bytes(changed))


@pytest.mark.parametrize("name", [".gnu.version_d", ".gnu.version_r"])
def test_of_a_table_of_versions_that_is_cut_off_the_whole_entries_are_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.c").write_text(MANY)
    (tmp_path / "v.map").write_text("V1 { global: one; both; local: *; }; V2 { global: use; both; } V1;\n")
    argv = ["gcc", "-shared", "-fPIC", "-w", "a.c", "-o", "a.so", "-Wl,--version-script=v.map", "-lm"]
    subprocess.run(argv, check=True, cwd=tmp_path)
    data = (tmp_path / "a.so").read_bytes()
    whole = ElfFile(data)._versions()
    section = ElfFile(data).section(name)
    assert section is not None
    told = []
    for size in range(section.sh_size + 1):
        found = with_size(data, name, size)._versions()
        assert found.keys() == whole.keys() and all(found[n] in (whole[n], ("", whole[n][1])) for n in found)
        told.append(sum(bool(v) for v, _ in found.values()))
    assert told == sorted(told) and told[-1] == sum(bool(v) for v, _ in whole.values()) > told[0]


def test_an_entry_of_a_table_of_versions_may_end_where_the_table_does() -> None:
    """Entries may stand in any order behind one another, and one inside the other (LSB, symbol versioning)."""
    define = struct.pack("<HHHHIII", 1, 0, 5, 1, 0, 12, 0)  # its name is told by its own last words
    need = struct.pack("<HHIII", 1, 1, 0, 0, 0)  # likewise
    sections = [NewSection(".d", 2, define, 4, 0x6FFFFFFD), NewSection(".r", 2, need, 4, 0x6FFFFFFE)]
    elf = ElfFile(write_object(sections, []))
    defined, needed = (replace(s, sh_info=1, sh_link=len(elf.sections) - 1) for s in elf.sections[1:3])
    assert [n for n, _ in elf._verdef(defined)] == [5]
    assert [n for n, _ in elf._verneed(needed)] == [0]
