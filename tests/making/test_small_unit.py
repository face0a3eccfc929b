"""Units whose own bytes are too few to prove their place, or stand there several times: who refers to them proves
it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from suture.elf.file import ElfFile
from suture.match.correlate import correlate
from suture.match.match import NoMatch
from suture.match.run import Run

PADDING = (
    "long padding(long x) { long r = x; for (long n = 1; n < x; n++) r = r * 31 + (r >> 3) + n * 5 - 77; return r; }\n"
)
TWIN = "static long state = %d;\nlong %s(long x) { state += x; return state; }\n"
USER = (
    "long first(long), second(long), third(long);\n"
    "long f(long x) { return first(x) * 100 + second(x); }\nlong g(long x) { return third(x); }\n" + PADDING
)
TWINS = {"a.c": TWIN % (1, "first"), "b.c": TWIN % (2, "second"), "c.c": TWIN % (3, "third"), "user.c": USER}


@pytest.mark.parametrize("shape", ["pie", "fixed"])
@pytest.mark.parametrize("level", ["-O0", "-O2"])
def test_a_unit_that_stands_there_several_times_is_told_from_the_others_by_its_callers(
    package: Any, shape: str, level: str
) -> None:
    made = package(TWINS, {"b.c": TWINS["b.c"].replace("state += x;", "state += x + 40;")}, "f g", shape, (level,))
    target = made.start()
    assert (target.ask("f", 1), target.ask("g", 1)) == (203, 4)
    target.apply(made.patch())
    assert (target.ask("f", 1), target.ask("g", 1)) == (300 + 3 + 41, 5)


def test_a_unit_that_stands_there_several_times_and_that_no_other_unit_refers_to_is_refused(package: Any) -> None:
    """The program's own file of callers is no unit of the package."""
    only_twins = {name: text for name, text in TWINS.items() if name != "user.c"}
    made = package(only_twins, {"b.c": TWINS["b.c"].replace("state += x;", "state += x + 40;")}, "second", "pie")
    with pytest.raises(NoMatch, match="found 3 times"):
        made.match("b.c")


MAIN = """
#include <stdio.h>
#include <unistd.h>
%s
int main(void) { %s }
"""
SMALL = {
    "calls": ("extern void greet(void);\nvoid local(void) { greet(); }", "while (1) { local(); sleep(1); }"),
    "main-alone": ("", "return 3;"),
}


def linked(folder: Path, text: str, flags: list[str]) -> Run:
    (folder / "m.c").write_text(text)
    (folder / "g.c").write_text("void greet(void) { }\n")
    (folder / "more.c").write_text("int more(int x) { return x; }\nint other(void) { return 3; }\n")
    subprocess.run(["gcc", "-shared", "-fPIC", "g.c", "-o", "libg.so"], check=True, cwd=folder)
    for name, extra in (("m", []), ("s", ["-ffunction-sections", "-fdata-sections"])):
        subprocess.run(["gcc", *flags, *extra, "-c", "m.c", "-o", f"{name}.o"], check=True, cwd=folder)
    command = ["gcc", *flags, "m.o", "more.c", "-Wl,--no-as-needed", "-L.", "-lg", "-o", "m"]
    subprocess.run(command, check=True, cwd=folder)
    subprocess.run(["strip", "-o", "stripped", "m"], check=True, cwd=folder)
    return Run.read(folder / "stripped")


@pytest.mark.parametrize("flags", [["-fPIE", "-pie"], ["-fno-pie", "-no-pie"]], ids=["pie", "fixed"])
@pytest.mark.parametrize("level", ["-O0", "-O2"])
@pytest.mark.parametrize("kind", SMALL)
def test_a_small_program_is_proved_by_what_its_start_calls_and_by_names_of_what_it_calls(
    tmp_path: Path, kind: str, level: str, flags: list[str]
) -> None:
    run = linked(tmp_path, MAIN % SMALL[kind], [level, *flags])
    rows = subprocess.run(["nm", tmp_path / "m"], check=True, capture_output=True, text=True).stdout.splitlines()
    address = {r.split()[-1]: int(r.split()[0], 16) for r in rows if len(r.split()) == 3}
    assert run.main == address["main"]
    plain, sectioned = (ElfFile.read(tmp_path / f"{n}.o") for n in "ms")
    match = correlate("m.c", "m.o", plain, sectioned, run)
    assert match.functions["main"].address == address["main"]
    if kind == "calls" and level == "-O0":  # at -O2 it is five bytes that nothing refers to
        assert match.functions["local"].address == address["local"]


def test_a_small_unit_that_nothing_leads_to_is_refused(tmp_path: Path) -> None:
    run = linked(tmp_path, MAIN % SMALL["main-alone"], ["-O2", "-fPIE", "-pie"])
    for name, extra in (("p", []), ("q", ["-ffunction-sections"])):
        command = ["gcc", "-O2", "-fPIE", *extra, "-c", "more.c", "-o", f"{name}.o"]
        subprocess.run(command, check=True, cwd=tmp_path)
    with pytest.raises(NoMatch, match=r"too short to be proved by one hit|found . times"):
        correlate("more.c", "more.o", ElfFile.read(tmp_path / "p.o"), ElfFile.read(tmp_path / "q.o"), run)
