"""Static programs with a copy of a library's code of their own: found by the old code, and only while it is the old
code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from suture.error import ExitCode
from suture.match.pattern import Pattern
from suture.patch.file import PatchFile
from suture.process.see.scan import scan
from suture.report.row import Row
from suture.report.standing import Disk, Memory, Standing

BODY = (
    "long %s(long x) { long r = x; for (long n = 1; n < x; n++) { r = r * 31 + (r >> 3) + n * 5 - %d; r ^= "
    "outside(r) + state; } return r; }\n"
)
SOURCE = "extern long outside(long); static long state = 3;\n" + BODY % ("f", 77) + BODY % ("g", 99)
OUTSIDE = "long outside(long x) { return x ^ 0x55aa; }\n"
WAIT = (
    '#include <unistd.h>\nlong f(long), g(long), outside(long);\nint main(int c, char **v) { write(1, "up\\n'
    '", 3); pause(); return %s; }\n'
)
Start = Callable[..., int]


@pytest.fixture
def made(package: Any) -> Any:
    sources = {"a.c": SOURCE, "b.c": OUTSIDE}
    return package(sources, {"a.c": SOURCE.replace("- 77", "- 78 + (n & 3)")}, "f g")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Links a program and starts it; its pid."""
    running: list[subprocess.Popen[str]] = []

    def start(name: str, objects: list[Path], uses: str, *flags: str) -> int:
        (tmp_path / f"{name}.c").write_text(WAIT % uses)
        words = [
            "gcc",
            "-O2",
            "-w",
            *flags,
            "-o",
            str(tmp_path / name),
            str(tmp_path / f"{name}.c"),
            *map(str, objects),
        ]
        subprocess.run(words, check=True)
        process = subprocess.Popen([str(tmp_path / name)], stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        return process.pid

    yield start
    for process in running:
        process.kill()
        process.communicate()


def rows_of(pid: int, patch: PatchFile) -> list[Row]:
    return [r for r in scan([patch]).rows if r.pid == pid]


@pytest.mark.parametrize("flags", [("-static",), ("-static-pie",), ("-static", "-Wl,--build-id=none")], ids=" ".join)
def test_the_old_code_in_a_static_program_is_exposed(made: Any, start: Start, flags: tuple[str, ...]) -> None:
    patch = made.patch()
    objects = [made.compile("pre", "b.c"), made.folder / "pre" / "a.c.shipped.o"]
    pid = start("holder", objects, "f(c) + g(c)", *flags)
    (row,) = rows_of(pid, patch)
    assert (
        row.standing == Standing(Memory.OPEN, Disk.SAME)
        and row.cves == ("CVE-2099-0001",)
        and row.file.endswith("/holder")
    )
    assert "1 of 1 functions" in row.why and "libshipped.so" in row.why and "rebuild the program" in row.why
    listed = subprocess.run(["nm", row.file], check=True, capture_output=True, text=True).stdout.splitlines()
    address = next(int(x.split()[0], 16) for x in listed if x.endswith(" T f"))
    assert int(row.why.partition("(f at ")[2].partition(")")[0], 16) & 0xFFF == address & 0xFFF


def test_the_fixed_code_an_innocent_program_and_a_dynamic_one_are_not_reported(made: Any, start: Start) -> None:
    patch = made.patch()
    old = [made.compile("pre", "b.c"), made.folder / "pre" / "a.c.shipped.o"]
    fixed = [old[0], made.compile("post", "a.c", tag="fixed")]
    pids = [
        start("fixed", fixed, "f(c) + g(c)", "-static"),
        start("innocent", [old[0]], "outside(c)", "-static"),
        start("dynamic", [made.shipped], "f(c)", f"-Wl,-rpath,{made.folder}"),
    ]
    assert [r.why for p in pids for r in rows_of(p, patch) if "copy" in r.why] == []
    assert [r.standing for r in rows_of(pids[2], patch)] == [Standing(Memory.OPEN, Disk.OPEN)]


def test_a_change_that_only_a_field_of_the_linker_tells_is_never_taken_for_the_old_code(package: Any) -> None:
    source = SOURCE + "extern long other(long);\n" + BODY % ("h", 55)
    last = source.rindex("outside(r)")
    sources = {"a.c": source, "b.c": OUTSIDE + OUTSIDE.replace("outside", "other")}
    made = package(sources, {"a.c": source[:last] + source[last:].replace("outside", "other")}, "f g h")
    (function,) = made.patch().manifest.functions
    assert function.name == "h" and function.code == ""


def test_the_command_prints_it(made: Any, start: Start, tmp_path: Path) -> None:
    patch = made.patch()
    folder = tmp_path / "patches"
    folder.mkdir()
    (folder / "p.suture.o").write_bytes(patch.object.data)
    pid = start("holder", [made.compile("pre", "b.c"), made.folder / "pre" / "a.c.shipped.o"], "f(c) + g(c)", "-static")
    words = [os.path.join(os.path.dirname(sys.executable), "suture"), "scan", "--patches", str(folder), "--json"]
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    said = json.loads(done.stdout)
    assert done.returncode == (ExitCode.PARTIAL if said["unread"] else ExitCode.OK)
    (process,) = [r for r in said["processes"] if r["pid"] == pid]
    (row,) = process["binaries"]
    assert row["memory"] == "not fixed" and "linked statically" in row["causes"][0]["text"]


def test_a_pattern_is_read_back_as_it_was_written() -> None:
    pattern = Pattern.of(bytes(range(40)), [(3, 7), (38, 40)])
    assert str(pattern) == bytes(range(3)).hex() + "." * 8 + bytes(range(7, 38)).hex() + "...."
    again = Pattern.parse(str(pattern))
    assert again.open == pattern.open and all(again.data[a:b] == pattern.data[a:b] for a, b in pattern.fixed)
    with pytest.raises(ValueError):
        Pattern.parse("0x")
