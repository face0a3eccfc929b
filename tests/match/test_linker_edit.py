"""What is read back from fields that ld edited; nm of the copy that is not stripped is the judge."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from suture.elf.file import ElfFile
from suture.match.correlate import Match, correlate
from suture.match.linker_edit import Kind
from suture.match.run import Run

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
    "shared": ("-shared",), "symbolic": ("-shared", "-Wl,-Bsymbolic"), "pie": ("-pie",), "fixed": ("-no-pie",),
    "static": ("-static",), "static-pie": ("-static-pie",), "now": ("-shared", "-Wl,-z,now"), "relr": ("-pie", "-Wl,-z,pack-relative-relocs"),
}  # fmt: skip


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
            assert value == real[name] or run.slots[run.plt[value]].symbol == name
        elif kind is Kind.SLOT:
            slot = run.slots.get(value)
            held = slot.value if slot is not None else int.from_bytes(run.elf.read_at(value, 8), "little")
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
