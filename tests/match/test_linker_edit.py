"""What is read back from fields that ld edited; nm of the copy that is not stripped is the judge."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest

from suture.elf.abi import R
from suture.elf.file import ElfFile
from suture.match.correlate import correlate
from suture.match.linker_edit import Implied, Kind, implied, open_range, swallowed_until
from suture.match.match import Match
from suture.match.run import Run
from suture.number import Vaddr

PLACE, FIELD = 0x401000, 8
"""Link-time address of the field, and its offset in the pieces of code below, which stand in eight bytes and more."""


def field(value: int) -> str:
    return struct.pack("<i", value).hex()


def read(
    r_type: int,
    before: str,
    after: str,
    value: int,
    rest: str = "",
    old: str = "00000000",
    addend: int = -4,
    new: str = "",
) -> Implied | None:
    """What a field of `value` implies whose instruction had the bytes `before` and has `after`."""
    data = bytes(FIELD - len(before) // 2) + bytes.fromhex(before + old + rest)
    run = bytes(FIELD - len(after) // 2) + bytes.fromhex(after + field(value) + (new or rest))
    return implied(data, run, FIELD, r_type, addend, PLACE)


def test_plain_fields_are_read_back() -> None:
    assert read(R.PC32, "e8", "e8", 0x123) == Implied(Kind.ADDRESS, PLACE + 0x127)
    assert read(R.PC32, "e8", "e8", -0x123, addend=7) == Implied(Kind.ADDRESS, PLACE - 0x123 - 7)
    assert read(R.PLT32, "e8", "e8", 0x123) == Implied(Kind.CALL, PLACE + 0x127)
    assert read(R.R_32S, "b8", "b8", -8, addend=8) == Implied(Kind.ADDRESS, -16)
    assert read(R.R_32, "b8", "b8", -8, addend=8) == Implied(Kind.ADDRESS, (1 << 32) - 16)
    assert read(R.R_64, "48b8", "48b8", 0x10, rest="01000000", addend=3) == Implied(Kind.ADDRESS, (1 << 32) + 13)
    assert read(R.PC64, "48b8", "48b8", 0x10, rest="ffffffff", addend=3) == Implied(
        Kind.ADDRESS, PLACE + 13 - (1 << 32)
    )
    assert read(R.TPOFF32, "b8", "b8", -40, addend=4) == Implied(Kind.THREAD_OFFSET, -44)
    assert read(R.DTPOFF32, "b8", "b8", 40, addend=4) == Implied(Kind.MODULE_OFFSET, 36)
    for other in (R.NONE, R.COPY, R.R_16, R.GOTOFF64, R.TLSDESC):
        assert read(other, "b8", "b8", 40) is None
    assert implied(bytes(12), bytes(10), FIELD, R.NONE, 0, PLACE) is None


GOT = [R.GOTPCREL, R.GOTPCRELX]
LATER = PLACE + 3  # a branch made shorter begins one byte earlier: the distance counts from one byte earlier too


@pytest.mark.parametrize("r_type", GOT)
def test_a_call_or_jump_through_a_slot_may_become_direct(r_type: int) -> None:
    assert read(r_type, "ff15", "ff15", 0x123) == Implied(Kind.SLOT, PLACE + 0x127)
    assert read(r_type, "ff15", "67e8", 0x123) == Implied(Kind.CALL, PLACE + 0x127)
    moved = bytes(FIELD - 2) + bytes.fromhex("e8" + field(0x123) + "90")
    old = bytes(FIELD - 2) + bytes.fromhex("ff1500000000")
    assert implied(old, moved, FIELD, r_type, -4, PLACE) == Implied(Kind.CALL, LATER + 0x123)
    assert implied(old, moved[:-1] + b"\x91", FIELD, r_type, -4, PLACE) is None
    assert read(r_type, "ff15", "67e9", 0x123) is None
    assert read(r_type, "ff15", "66e8", 0x123) is None
    jump = bytes(FIELD - 2) + bytes.fromhex("ff2500000000")
    gone = bytes(FIELD - 2) + bytes.fromhex("e9" + field(-0x123) + "90")
    assert implied(jump, gone, FIELD, r_type, -4, PLACE) == Implied(Kind.CALL, LATER - 0x123)
    assert implied(jump, gone[:-1] + b"\0", FIELD, r_type, -4, PLACE) is None
    assert implied(jump, moved, FIELD, r_type, -4, PLACE) is None
    assert read(r_type, "ff25", "ff25", 0x123) == Implied(Kind.SLOT, PLACE + 0x127)
    assert read(r_type, "ff25", "67e9", 0x123) is None


LOADS = [
    (R.GOTPCRELX, "8b3d", "8d3d", Kind.ADDRESS, True),  # mov to lea
    (R.REX_GOTPCRELX, "488b3d", "488d3d", Kind.ADDRESS, True),
    (R.REX_GOTPCRELX, "4c8b25", "4c8d25", Kind.ADDRESS, True),
    (R.REX_GOTPCRELX, "488b3d", "488b3d", Kind.SLOT, True),
    (R.GOTPCRELX, "8b3d", "c7c7", Kind.ADDRESS, False),  # mov $x, %edi
    (R.REX_GOTPCRELX, "488b3d", "48c7c7", Kind.ADDRESS, False),
    (R.REX_GOTPCRELX, "4c8b25", "49c7c4", Kind.ADDRESS, False),  # r12: REX.R becomes REX.B
    (R.REX_GOTPCRELX, "488505"[:6], "48f7c0", Kind.ADDRESS, False),  # test %rax
    (R.REX_GOTPCRELX, "4c8505", "49f7c0", Kind.ADDRESS, False),
    (R.REX_GOTPCRELX, "480305", "4881c0", Kind.ADDRESS, False),  # add
    (R.REX_GOTPCRELX, "480b0d", "4881c9", Kind.ADDRESS, False),  # or
    (R.REX_GOTPCRELX, "481315", "4881d2", Kind.ADDRESS, False),  # adc
    (R.REX_GOTPCRELX, "481b1d", "4881db", Kind.ADDRESS, False),  # sbb
    (R.REX_GOTPCRELX, "482335", "4881e6", Kind.ADDRESS, False),  # and
    (R.REX_GOTPCRELX, "4c2b0d", "4981e9", Kind.ADDRESS, False),  # sub
    (R.REX_GOTPCRELX, "48333d", "4881f7", Kind.ADDRESS, False),  # xor
    (R.REX_GOTPCRELX, "483b3d", "4881ff", Kind.ADDRESS, False),  # cmp
    (R.GOTPCRELX, "3b3d", "81ff", Kind.ADDRESS, False),
]


@pytest.mark.parametrize(("r_type", "before", "after", "kind", "relative"), LOADS)
def test_a_load_from_a_slot_may_become_an_address(
    r_type: int, before: str, after: str, kind: Kind, relative: bool
) -> None:
    assert read(r_type, before, after, 0x123) == Implied(kind, PLACE + 0x127 if relative else 0x123)
    raw = bytes.fromhex(after)
    for n in range(len(raw)):  # no other bytes are such an edit
        for bit in (1, 2, 4, 8, 16, 32, 64, 128):
            other = bytes([*raw[:n], raw[n] ^ bit, *raw[n + 1 :]]).hex()
            if not any(b == before and a == other for _, b, a, _, _ in LOADS) and other != before:
                assert read(r_type, before, other, 0x123) is None, other


def test_other_loads_are_never_edited() -> None:
    assert read(R.REX_GOTPCRELX, "488d3d", "48c7c7", 1) is None
    assert read(R.REX_GOTPCRELX, "48893d", "48c7c7", 1) is None
    assert read(R.REX_GOTPCRELX, "48313d", "4881f7", 1) is None
    assert read(R.REX_GOTPCRELX, "48893d", "48893d", 1) == Implied(Kind.SLOT, PLACE + 5)


LOAD_FS0 = "64488b042500000000"


def test_general_dynamic_becomes_a_slot_or_an_offset() -> None:
    head, call = "66488d3d", "666648e8"
    old = bytes(FIELD - 4) + bytes.fromhex(head + field(0) + call + field(0))

    def edited(text: str, data: bytes = old) -> Implied | None:
        return implied(data, bytes(FIELD - 4) + bytes.fromhex(text), FIELD, R.TLSGD, -4, PLACE)

    assert edited(LOAD_FS0 + "488d80" + field(-40)) == Implied(Kind.THREAD_OFFSET, -40)
    assert edited(LOAD_FS0 + "480305" + field(0x100)) == Implied(Kind.THREAD_SLOT, PLACE + 12 + 0x100)
    assert edited(LOAD_FS0 + "480306" + field(0x100)) is None
    assert edited(head + field(0x100) + call + field(7)) == Implied(Kind.MODULE_SLOT, PLACE + 0x104)
    assert edited("66488d3e" + field(0x100) + call + field(7)) is None
    assert edited(head + field(0x100) + "666648e9" + field(7)) is None
    indirect = bytes(FIELD - 4) + bytes.fromhex(head + field(0) + "66" + "48ff15" + field(0))
    for call, known in (
        ("6648ff15", True),
        ("664867e8", True),
        ("6648e800", True),
        ("6648ff25", False),
        ("664866e8", False),
    ):
        found = edited(head + field(0x100) + call + field(7), indirect)
        assert found == (Implied(Kind.MODULE_SLOT, PLACE + 0x104) if known else None), call
    assert (
        swallowed_until(old, bytes(FIELD - 4) + bytes.fromhex(LOAD_FS0 + "488d80" + field(0)), FIELD, R.TLSGD)
        == FIELD + 12
    )
    assert swallowed_until(old, old, FIELD, R.TLSGD) == 0
    relaxed = bytes(FIELD - 4) + bytes.fromhex(LOAD_FS0 + "488d80" + field(0))
    assert swallowed_until(old, relaxed, FIELD, R.PC32) == 0


def test_local_dynamic_becomes_a_slot_or_nothing() -> None:
    for call, pad in (("e8", "666666"), ("ff15", "66666666")):
        old = bytes(FIELD - 3) + bytes.fromhex("488d3d" + field(0) + call + field(0) + "90")
        relaxed = bytes(FIELD - 3) + bytes.fromhex(pad + LOAD_FS0 + "90")
        assert implied(old, relaxed, FIELD, R.TLSLD, -4, PLACE) == Implied(Kind.LOCAL_MODULE_SLOT, 0)
        end = FIELD + (10 if call == "ff15" else 9)
        assert swallowed_until(old, relaxed, FIELD, R.TLSLD) == end
        assert open_range(old, FIELD, R.TLSLD) == (FIELD - 3, end)
        kept = bytes(FIELD - 3) + bytes.fromhex("488d3d" + field(0x100) + call + field(7) + "90")
        assert implied(old, kept, FIELD, R.TLSLD, -4, PLACE) == Implied(Kind.LOCAL_MODULE_SLOT, PLACE + 0x104)
        assert swallowed_until(old, kept, FIELD, R.TLSLD) == 0
        wrong = bytes(FIELD - 3) + bytes.fromhex("488d3e" + field(0x100) + call + field(7) + "90")
        assert implied(old, wrong, FIELD, R.TLSLD, -4, PLACE) is None
        other = bytes(FIELD - 3) + bytes.fromhex(
            "488d3d" + field(0x100) + ("e9" if call == "e8" else "ff25") + field(7) + "90"
        )
        assert implied(old, other, FIELD, R.TLSLD, -4, PLACE) is None


INITIAL = [
    ("488b05", "48c7c0"),
    ("4c8b2d", "49c7c5"),
    ("480305", "4881c0"),
    ("4c0325", "4981c4"),
    ("480315", "488d92"),
    ("4c030d", "4d8d89"),
]


@pytest.mark.parametrize(("before", "after"), INITIAL)
def test_initial_exec_becomes_an_offset(before: str, after: str) -> None:
    assert read(R.GOTTPOFF, before, after, -40) == Implied(Kind.THREAD_OFFSET, -40)
    assert read(R.GOTTPOFF, before, before, 0x100) == Implied(Kind.THREAD_SLOT, PLACE + 0x104)
    raw = bytes.fromhex(after)
    for n in range(3):
        for bit in (1, 2, 4, 8, 16, 32, 64, 128):
            other = bytes([*raw[:n], raw[n] ^ bit, *raw[n + 1 :]]).hex()
            if other != before and (before, other) not in INITIAL:
                assert read(R.GOTTPOFF, before, other, -40) is None, other
    assert read(R.GOTTPOFF, "480b05", "4881c0", -40) is None


def test_what_the_linker_may_write_is_left_open() -> None:
    data = bytes(30)
    assert open_range(data, FIELD, R.PC32) == (FIELD, FIELD + 4)
    assert open_range(data, FIELD, R.R_64) == (FIELD, FIELD + 8)
    assert open_range(data, FIELD, R.REX_GOTPCRELX) == (FIELD - 3, FIELD + 4)
    assert open_range(data, FIELD, R.GOTPCRELX) == open_range(data, FIELD, R.GOTPCREL) == (FIELD - 2, FIELD + 4)
    assert open_range(data, FIELD, R.TLSGD) == (FIELD - 4, FIELD + 12)
    assert open_range(data, FIELD, R.GOTTPOFF) == (FIELD - 3, FIELD + 4)
    assert open_range(data, FIELD, R.TPOFF32) == (FIELD, FIELD + 4)


UNIT = """
#include <stdlib.h>
extern long other(long), far_var, *volatile sink;
extern __thread long elsewhere, far_thread;
static __thread long mine = 3, second;
__thread long shown = 9;
long local_var = 4;
long call(long x) { return other(x) + far_var + atol("7"); }
long tail(long x) { return other(x + 1); }
void address(long *p) { sink = &far_var; sink = p == &far_var ? p : &local_var; }
long sums(long x) { return (long)&far_var + x - (long)&local_var * x; }
int tested(void) { return &far_var == 0; }
void *pointer(void) { return (void *)other; }
long threads(long x) { mine += x; second -= mine; shown++; elsewhere += x; return mine + second + shown + elsewhere; }
long *thread_address(int x) { return x ? &far_thread : &mine; }
"""
OTHER = """
long other(long x) { return x * 5; }
long far_var = 6, *volatile sink;
__thread long elsewhere = 1, far_thread = 2;
"""
MAIN = "int main(void) { return 0; }\n"
MODELS = [
    (),
    ("-fno-plt",),
    ("-ftls-model=initial-exec",),
    ("-ftls-model=local-dynamic",),
    ("-O3",),
    ("-fcf-protection", "-fno-plt"),
    ("-mcmodel=small", "-O1"),
]
LINKS = {
    "shared": ("-shared",),
    "symbolic": ("-shared", "-Wl,-Bsymbolic"),
    "pie": ("-pie",),
    "fixed": ("-no-pie",),
    "static": ("-static",),
    "static-pie": ("-static-pie",),
    "now": ("-shared", "-Wl,-z,now"),
    "relr": ("-pie", "-Wl,-z,pack-relative-relocs"),
}


def linked(folder: Path, flags: tuple[str, ...], link: tuple[str, ...], pic: str) -> tuple[Path, Match]:
    for name, text in (("unit.c", UNIT), ("other.c", OTHER), ("main.c", MAIN)):
        (folder / name).write_text(text)

    def compile(unit: str, out: str, *extra: str) -> Path:
        subprocess.run(["gcc", "-O2", pic, *flags, *extra, "-c", unit, "-o", out], check=True, cwd=folder)
        return folder / out

    objects = [compile("unit.c", "unit.o"), compile("other.c", "other.o")]
    if "-shared" not in link:
        objects.append(compile("main.c", "main.o"))
    sections = compile("unit.c", "sections.o", "-ffunction-sections", "-fdata-sections")
    full = folder / "full"
    subprocess.run(["gcc", *link, *map(str, objects), "-o", str(full)], check=True, cwd=folder)
    shipped = folder / "shipped"
    subprocess.run(["strip", "-o", str(shipped), str(full)], check=True)
    run = Run.read(shipped)
    return full, correlate("unit.c", "unit.o", ElfFile.read(objects[0]), ElfFile.read(sections), run)


def nm(path: Path) -> dict[str, int]:
    out = subprocess.run(["nm", str(path)], check=True, capture_output=True, text=True).stdout
    return {r[2]: int(r[0], 16) for line in out.splitlines() if len(r := line.split()) == 3}


def thread_block(path: Path) -> tuple[int, int]:
    """Address of the thread-local template and its size rounded up to its alignment, as readelf shows the segment."""
    out = subprocess.run(["readelf", "-lW", str(path)], check=True, capture_output=True, text=True).stdout
    row = next(line.split() for line in out.splitlines() if line.split()[:1] == ["TLS"])
    size, align = int(row[5], 16), int(row[-1], 16)
    return int(row[2], 16), (size + align - 1) // align * align


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("flags", MODELS, ids=lambda f: "".join(f) or "plain")
def test_all_that_is_read_back_agrees_with_the_symbols_of_the_link(
    tmp_path: Path, link: str, flags: tuple[str, ...]
) -> None:
    shared = "-shared" in LINKS[link]
    full, match = linked(tmp_path, flags, LINKS[link], "-fPIC")
    real, run = nm(full), Run.read(full)
    _, size = thread_block(full)
    assert match.unit.whole
    seen = set()
    for kind, name, value, places in match.book.items():
        if name not in real or kind is Kind.LOCAL_MODULE_SLOT:
            continue
        seen.add((kind, name))
        if kind is Kind.ADDRESS:
            assert value == real[name], (name, places)
        elif kind is Kind.CALL:
            assert value == real[name] or run.slots[run.plt[Vaddr(value)]].symbol == name
        elif kind is Kind.SLOT:
            slot = run.slots.get(Vaddr(value))
            held = slot.value if slot is not None else int.from_bytes(run.elf.read_at(Vaddr(value), 8), "little")
            assert (slot is not None and slot.symbol == name) or held == real[name]
        elif kind is Kind.THREAD_OFFSET:
            assert value == real[name] - size, (name, places)
        elif kind is Kind.MODULE_OFFSET:
            assert value == real[name] - (0 if shared else size)
        elif kind in (Kind.MODULE_SLOT, Kind.THREAD_SLOT):
            assert value in run.slots or not shared
    for placed in match.functions.values():
        assert placed.address == real[placed.name]
    names = {n for _, n in seen}
    assert {"other", "far_var", "mine", "shown", "elsewhere", "far_thread"} <= names


@pytest.mark.parametrize("link", ["pie", "fixed"])
def test_code_that_was_compiled_for_a_program_agrees_too(tmp_path: Path, link: str) -> None:
    full, match = linked(tmp_path, (), LINKS[link], {"pie": "-fPIE", "fixed": "-fno-pie"}[link])
    real = nm(full)
    assert {n: match.book.get(Kind.ADDRESS, n) for n in ("far_var", "local_var", "sink")} == {
        n: real[n] for n in ("far_var", "local_var", "sink")
    }
    _, size = thread_block(full)
    assert match.book.get(Kind.THREAD_OFFSET, "mine") == real["mine"] - size
