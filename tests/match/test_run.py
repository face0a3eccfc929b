"""The shipped binary: what cannot be matched says why."""

from __future__ import annotations

import re
import struct
import subprocess
from pathlib import Path

import pytest

from suture.elf.file import BadElf, ElfFile
from suture.elf.object_writer import NewSection, write_object
from suture.error import Unsupported
from suture.match.run import Run, SlotKind, _relr
from suture.number import Vaddr


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


SOURCE = """
#include <stdlib.h>
#include <stdio.h>
extern int outside(int); extern int far_data; static __thread int mine; extern __thread int theirs;
static int seven(int x) { return x + 7; }
int shown = 5; static int zeroed[9]; int (*table[])(int) = {seven, outside}; int *pointer = &far_data;
    char *words[] = {"one", "two"};
__attribute__((visibility("hidden"))) int hidden(int x) { return x * 3; }
int f(int x) { mine += x; theirs += x; zeroed[x] = x; return outside(x) + far_data + (int)strtol("7", 0,
    10) + shown + mine + hidden(x) + table[0](x); }
static int a(void) { return 1; } static void *choose(void) { return a; }
int chosen(void) __attribute__((ifunc("choose"))); int calls_chosen(void) { return chosen(); }
"""
OTHER = "int outside(int x) { return x; } int far_data = 3; __thread int theirs;"
MAIN = "int f(int); int main(int argc, char **argv) { return f(argc); }"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library, a program in three forms, and the same with packed relative relocations."""
    folder = tmp_path_factory.mktemp("run")
    for name, text in (("a.c", SOURCE), ("o.c", OTHER), ("m.c", MAIN)):
        (folder / name).write_text(text)

    def gcc(out: str, *arguments: str) -> None:
        subprocess.run(["gcc", "-O1", "-o", out, *arguments], check=True, cwd=folder)

    gcc("libo.so", "-shared", "-fPIC", "o.c")
    gcc("liba.so", "-shared", "-fPIC", "a.c", "-L.", "-lo")
    gcc("now.so", "-shared", "-fPIC", "-Wl,-z,now", "-Wl,-z,ibtplt", "-fcf-protection", "a.c", "-L.", "-lo")
    gcc("symbolic.so", "-shared", "-fPIC", "-Wl,-Bsymbolic", "o.c")
    gcc("pie", "m.c", "a.c", "o.c", "-pie", "-fPIE")
    gcc("fixed", "m.c", "a.c", "o.c", "-no-pie", "-fno-pie")
    gcc("static", "m.c", "a.c", "o.c", "-static")
    gcc("relr", "m.c", "a.c", "o.c", "-pie", "-fPIE", "-Wl,-z,pack-relative-relocs")
    return folder


def tool(*argv: str | Path) -> str:
    return subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=True).stdout


def addresses(file: Path) -> dict[str, int]:
    rows = (line.split() for line in tool("nm", file).splitlines())
    return {r[2]: int(r[0], 16) for r in rows if len(r) == 3}


FILES = ["liba.so", "now.so", "pie", "fixed", "static", "relr"]


@pytest.mark.parametrize("name", FILES)
def test_slots_are_those_of_readelf(made: Path, name: str) -> None:
    run = Run.read(made / name)
    kinds = {
        "RELATIVE": SlotKind.RELATIVE,
        "RELATIV": SlotKind.RELATIVE,
        "GLOB_DAT": SlotKind.SYMBOL,
        "GLOB_DA": SlotKind.SYMBOL,
        "JUMP_SLOT": SlotKind.SYMBOL,
        "JUMP_SLO": SlotKind.SYMBOL,
        "64": SlotKind.SYMBOL,
        "TPOFF64": SlotKind.THREAD_OFFSET,
        "DTPMOD64": SlotKind.MODULE,
        "DTPOFF64": SlotKind.MODULE_OFFSET,
        "IRELATIV": SlotKind.INDIRECT,
        "IRELATIVE": SlotKind.INDIRECT,
    }
    wanted, known = {}, addresses(made / name)
    listing = tool("readelf", "-rW", made / name)
    for line in listing.splitlines():
        row = re.match(r"([0-9a-f]{16})  [0-9a-f]{16} R_X86_64_(\w+) +(.*)$", line)
        if row and row[2] != "COPY":
            last = row[3].split()
            symbol, _, version = (last[1] if len(last) > 2 else "").partition("@")
            value = (known[last[0][:-2]] if last[0].endswith("()") else int(last[0], 16)) + (
                int(last[3], 16) if len(last) > 3 else 0
            )
            wanted[int(row[1], 16)] = (kinds[row[2]], symbol, version.lstrip("@"), value, row[2].startswith("JUMP"))
    mine = {a: (s.kind, s.symbol, s.version, s.value, s.jump) for a, s in run.slots.items() if a in wanted}
    assert mine == wanted
    packed = {a: s for a, s in run.slots.items() if a not in wanted}
    assert bool(packed) == (name == "relr")
    assert all(s.kind is SlotKind.RELATIVE and not s.got and not s.jump and s.address == a for a, s in packed.items())
    got = {a for a, s in run.slots.items() if s.got}
    loaded = {int(m[1], 16) for m in re.finditer(r"^(\w{16})  \w{16} R_X86_64_GLOB_DAT", listing, re.MULTILINE)}
    assert {a for a in got if run.slots[a].kind is not SlotKind.INDIRECT} == loaded
    sections = [s for s in run.elf.sections if s.name.startswith(".got")]
    assert all(any(s.sh_addr <= a < s.sh_addr + s.sh_size for s in sections) for a in got)


def test_packed_relocations_say_the_same_as_plain_ones(made: Path) -> None:
    plain, packed = (Run.read(made / n) for n in ("pie", "relr"))
    for run in (plain, packed):
        known = addresses(made / ("pie" if run is plain else "relr"))
        assert [run.pointer_at(Vaddr(known["table"] + 8 * n)) for n in range(2)] == [known["seven"], known["outside"]]
        assert run.pointer_at(Vaddr(known["pointer"])) == known["far_data"]
        assert [run.data_at(run.pointer_at(Vaddr(known["words"] + 8 * n)) or Vaddr(0), 4) for n in range(2)] == [
            b"one\0",
            b"two\0",
        ]
        assert run.pointer_at(Vaddr(known["shown"])) is None


def test_bitmaps_of_packed_relocations() -> None:
    words = struct.pack("<5Q", 0x1000, 0b1011, (1 << 63 | 1), 0x9000, 0b101)
    assert _relr(words) == [0x1000, 0x1008, 0x1018, 0x1008 + 63 * 8 + 62 * 8, 0x9000, 0x9010]
    assert _relr(words[:20]) == [0x1000, 0x1008, 0x1018]
    assert _relr(b"") == []


def test_pointers_of_a_program_at_a_fixed_address_are_plain_numbers(made: Path) -> None:
    run, known = Run.read(made / "fixed"), addresses(made / "fixed")
    assert run.pointer_at(Vaddr(known["pointer"])) == known["far_data"]
    assert run.pointer_at(Vaddr(0x10)) is None
    library, inside = Run.read(made / "liba.so"), addresses(made / "liba.so")
    assert library.pointer_at(Vaddr(inside["table"])) == inside["seven"]
    assert library.pointer_at(Vaddr(inside["table"] + 8)) is None  # another library's


@pytest.mark.parametrize("name", FILES)
def test_plt_entries_lead_to_their_slots(made: Path, name: str) -> None:
    run = Run.read(made / name)
    shown = {}
    for line in tool("objdump", "-d", made / name).splitlines():
        found = re.match(r"\s*([0-9a-f]+):.*jmp +\*0x[0-9a-f]+\(%rip\) +# ([0-9a-f]+) ", line)
        if found and int(found[2], 16) in run.slots:
            shown[int(found[2], 16)] = int(found[1], 16)
    assert {slot for slot in run.plt.values()} <= shown.keys()
    assert all(0 <= shown[slot] - entry < 8 for entry, slot in run.plt.items())
    section_of = {s.sh_addr: s for s in run.elf.sections if s.name.startswith(".plt")}
    assert all(any(s.sh_addr <= e < s.sh_addr + s.sh_size for s in section_of.values()) for e in run.plt)
    if name == "liba.so":
        assert {run.slots[s].symbol for s in run.plt.values()} >= {"outside", "strtol", "f"} - {"f"}


def test_code_is_that_of_executable_sections_without_plts(made: Path) -> None:
    run = Run.read(made / "liba.so")
    assert {c.name for c in run.code} == {".text", ".init", ".fini"} and run.code[0].name == ".text"
    text = run.code[0]
    assert run.code_at(text.address, len(text.data)) == text.data
    assert run.code_at(Vaddr(text.address + 3), 4) == text.data[3:7]
    assert run.code_at(Vaddr(text.address + 3), len(text.data)) is None
    assert run.code_at(Vaddr(text.address - 1), 4) in (None, *(c.data[-1:] + text.data[:3] for c in run.code))
    assert run.code_at(Vaddr(0), 4) is None


def test_names_that_are_exported_imported_and_known(made: Path) -> None:
    run, known = Run.read(made / "liba.so"), addresses(made / "liba.so")
    assert {n: [s.st_value for s in run.exports[n]] for n in ("f", "shown", "table")} == {
        n: [known[n]] for n in ("f", "shown", "table")
    }
    assert (
        "hidden" not in run.exports
        and "seven" not in run.exports
        and "outside" not in run.exports
        and "theirs" not in run.exports
    )
    assert {"outside", "far_data", "strtol", "theirs"} <= run.imports and not {"f", ""} & run.imports
    assert [s.st_value for s in run.symbols["seven"]] == [known["seven"]] and "outside" not in run.symbols
    assert {s.symbol for rows in run.slots_of.values() for s in rows} >= {"far_data", "outside"}
    assert all(s.got or s.jump for rows in run.slots_of.values() for s in rows)
    table = known["table"] + 8
    assert table in run.slots and table not in {s.address for s in run.slots_of["outside"]}
    assert "__thread" not in run.exports and "mine" not in run.exports


def test_what_an_ifunc_chose_goes_into_slots(made: Path) -> None:
    run, known = Run.read(made / "pie"), addresses(made / "pie")
    assert run.resolvers == {known["chosen"]}
    assert list(run.chosen) == [known["chosen"]] and all(
        run.slots[a].kind is SlotKind.INDIRECT for a in run.chosen[Vaddr(known["chosen"])]
    )
    assert run.chosen[Vaddr(known["chosen"])] == tuple(sorted(run.chosen[Vaddr(known["chosen"])]))
    assert Run.read(made / "libo.so").resolvers == frozenset()


def test_where_main_is(made: Path) -> None:
    for name in ("pie", "fixed", "relr"):
        assert Run.read(made / name).main == addresses(made / name)["main"], name
    assert Run.read(made / "liba.so").main is None
    assert Run.read(made / "static").main in (None, addresses(made / "static")["main"])


def test_what_kind_of_file_it_is(made: Path) -> None:
    said = {
        n: (r.is_dynamic, r.is_program, r.is_symbolic)
        for n in (*FILES, "libo.so", "symbolic.so")
        for r in (Run.read(made / n),)
    }
    library = (True, False, False)
    assert said == {
        "liba.so": library,
        "now.so": library,
        "libo.so": library,
        "symbolic.so": (True, False, True),
        "pie": (True, True, True),
        "relr": (True, True, True),
        "fixed": (True, True, True),
        "static": (False, True, True),
    }
    assert Run.read(made / "liba.so").needed == ("libo.so", "libc.so.6", "ld-linux-x86-64.so.2")
    assert Run.read(made / "static").needed == ()


@pytest.mark.parametrize("name", FILES)
def test_every_jump_of_a_plt_through_a_slot_is_an_entry(made: Path, name: str) -> None:
    run = Run.read(made / name)
    plts = [s for s in run.elf.sections if s.name.startswith(".plt")]
    shown = set()
    for line in tool("objdump", "-d", made / name).splitlines():
        found = re.match(r"\s*([0-9a-f]+):.*jmp +\*0x[0-9a-f]+\(%rip\) +# ([0-9a-f]+) ", line)
        if found and any(s.sh_addr <= int(found[1], 16) < s.sh_addr + s.sh_size for s in plts):
            shown.add(int(found[2], 16))
    assert set(run.plt.values()) == shown & run.slots.keys() and (len(run.plt) > 1 or name == "static")


def test_main_may_lie_before_the_start(made: Path, tmp_path: Path) -> None:
    for shape in ("-pie", "-no-pie"):
        argv = [
            "gcc",
            "-O2",
            shape,
            "-fPIE" if shape == "-pie" else "-fno-pie",
            "m.c",
            "a.c",
            "o.c",
            "-o",
            tmp_path / "main",
        ]
        subprocess.run(argv, check=True, cwd=made)
        known = addresses(tmp_path / "main")
        assert known["main"] < known["_start"], "gcc puts main into .text.startup"
        assert Run.read(tmp_path / "main").main == known["main"]


def dynamic(*rows: tuple[int, int], more: bytes = b"") -> Run:
    """A file whose dynamic section has these entries, and no name for anything."""
    data = b"".join(struct.pack("<QQ", *row) for row in rows) + more
    return Run(ElfFile(write_object([NewSection(".dynamic", 3, data, 8)], [])))


@pytest.mark.parametrize(
    ("rows", "is_symbolic", "is_program"),
    [
        ([(21, 0), (16, 0)], True, False),
        ([(21, 0), (30, 2)], True, False),
        ([(21, 0), (30, 8)], False, False),
        ([(30, 0), (31, 2)], False, False),
        ([(21, 0), (0x6FFFFFFB, 0x08000001)], True, True),
        ([(21, 0), (0x6FFFFFFB, 1)], False, False),
        ([], True, False),
    ],
)
def test_flags_of_the_dynamic_section(rows: list[tuple[int, int]], is_symbolic: bool, is_program: bool) -> None:
    for more in (b"", b"1234567"):
        run = dynamic(*rows, more=more)
        assert (run.is_symbolic, run.is_program) == (is_symbolic, is_program)


def test_a_relocation_against_a_symbol_that_is_not_there_names_none(made: Path) -> None:
    data = bytearray((made / "liba.so").read_bytes())
    elf = ElfFile(bytes(data))
    section = elf.section(".rela.plt")
    assert section is not None
    offset, info, addend = struct.unpack_from("<QQq", data, section.sh_offset)
    for number, name in ((len(elf.dynamic_symbols) - 1, elf.dynamic_symbols[-1].name), (len(elf.dynamic_symbols), "")):
        struct.pack_into("<QQq", data, section.sh_offset, offset, number << 32 | info & 0xFFFFFFFF, addend)
        slot = Run(ElfFile(bytes(data))).slots[offset]
        assert (slot.symbol, slot.jump) == (name, True)
