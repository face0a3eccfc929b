"""A name that the binary never used before: what a library exports, what nobody does, and what the loader chooses."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from suture.compile.host import HostRoom
from suture.compile.tree import Tree
from suture.compile.unit import Binary, Unit
from suture.make.elsewhere import OtherUnits
from suture.make.resolve import Unresolvable
from suture.match.run import Run


@pytest.fixture
def elsewhere(tmp_path: Path) -> OtherUnits:
    """For a library that needs libc alone."""
    (tmp_path / "x.c").write_text("#include <stdlib.h>\nint f(const char *s) { return atoi(s); }\n")
    library = tmp_path / "libx.so"
    subprocess.run(["gcc", "-O2", "-fPIC", "-shared", "-o", str(library), str(tmp_path / "x.c")], check=True)
    room = HostRoom(str(tmp_path))
    tree = Tree("x", "1", (), (), "gcc", "key", str(tmp_path), tmp_path, tmp_path, room, {})
    return OtherUnits(tree, Binary("x", "libx.so", frozenset()), Run.read(library))


def test_needed_libraries_are_those_that_readelf_lists(elsewhere: OtherUnits, tmp_path: Path) -> None:
    listed = subprocess.run(
        ["readelf", "-dW", str(tmp_path / "libx.so")], check=True, capture_output=True, text=True
    ).stdout
    assert elsewhere.run.needed == tuple(x.split("[")[1].rstrip("]") for x in listed.splitlines() if "(NEEDED)" in x)
    assert elsewhere.run.needed == ("libc.so.6",)


def test_what_a_needed_library_exports_is_an_import(elsewhere: OtherUnits) -> None:
    assert elsewhere.find("strtok_r") is None


def test_what_no_unit_and_no_library_defines_is_refused(elsewhere: OtherUnits) -> None:
    with pytest.raises(Unresolvable, match="ossl_made_by_a_macro"):
        elsewhere.find("ossl_made_by_a_macro")


def test_what_the_loader_chooses_is_an_import_where_the_library_itself_calls_it(elsewhere: OtherUnits) -> None:
    assert elsewhere.find("strpbrk") is None
    assert elsewhere.find("atoi") is None


def test_what_the_loader_chooses_is_refused_where_nothing_shows_the_choice(elsewhere: OtherUnits) -> None:
    with pytest.raises(Unresolvable, match="IFUNC"):
        elsewhere.find("__memcpy_chk")


def test_a_library_that_needs_none_gets_the_c_library_from_its_process(elsewhere: OtherUnits, tmp_path: Path) -> None:
    (tmp_path / "n.c").write_text("int f(int x) { return x; }\n")
    command = ["gcc", "-O2", "-fPIC", "-shared", "-nostdlib", "n.c", "-o", "libn.so"]
    subprocess.run(command, check=True, cwd=tmp_path)
    found = OtherUnits(elsewhere.tree, elsewhere.binary, Run.read(tmp_path / "libn.so"))
    assert found.run.needed == ()
    assert found.find("getenv") is None
    with pytest.raises(Unresolvable, match="__memcpy_chk"):
        found.find("__memcpy_chk")
    with pytest.raises(Unresolvable, match="not_of_libc"):
        found.find("not_of_libc")


def test_a_program_gets_nothing_that_it_does_not_need(elsewhere: OtherUnits, tmp_path: Path) -> None:
    (tmp_path / "p.c").write_text("void _start(void) { for (;;); }\n")
    command = ["gcc", "-O2", "-nostdlib", "-static", "p.c", "-o", "p"]
    subprocess.run(command, check=True, cwd=tmp_path)
    with pytest.raises(Unresolvable, match="getenv"):
        OtherUnits(elsewhere.tree, elsewhere.binary, Run.read(tmp_path / "p")).find("getenv")


@pytest.fixture
def module(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A module that calls its program, and two programs that export a function: its own, and one that does not know
    it."""
    texts = {
        "own": "int given(int x) { return x; } int offered(int x) { return x + 1; } int main(void) { return 0; }\n",
        "stranger": "int strange(int x) { return x; } int main(void) { return 0; }\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.c").write_text(text)
        subprocess.run(["gcc", "-O2", "-rdynamic", "-o", tmp_path / name, tmp_path / f"{name}.c"], check=True)
    (tmp_path / "m.c").write_text("int given(int); int f(int x) { return given(x) + 3; }\n")
    subprocess.run(["gcc", "-O2", "-fPIC", "-shared", "-o", tmp_path / "m.so", tmp_path / "m.c"], check=True)
    return tmp_path / "m.so", [tmp_path / "m.so", tmp_path / "stranger", tmp_path / "own"]


def test_what_the_program_that_loads_a_module_exports_is_an_import(
    elsewhere: OtherUnits, module: tuple[Path, list[Path]]
) -> None:
    path, beside = module
    found = OtherUnits(elsewhere.tree, elsewhere.binary, Run.read(path), lambda: beside)
    assert found.find("offered") is None
    with pytest.raises(Unresolvable, match="strange"):
        found.find("strange")
    with pytest.raises(Unresolvable, match="offered"):
        OtherUnits(elsewhere.tree, elsewhere.binary, Run.read(path)).find("offered")


def test_what_its_own_unit_does_not_show_is_where_the_calls_of_others_lead(tmp_path: Path) -> None:
    """The code of the unit that defines it is not what the binary has, that of a caller is."""
    hidden = '__attribute__((visibility("hidden"))) int told(int x)'
    (tmp_path / "a.c").write_text(f"extern {hidden};\nint f(int x) {{ return told(x + 1) * 7 + 3; }}\n")
    (tmp_path / "b.c").write_text(f"{hidden} {{ int y = x * 5; return y ^ 9; }}\n")
    for name, level in (("a", "-O2"), ("b", "-O0")):
        command = ["gcc", level, "-fPIC", "-c", f"{name}.c", "-o", f"{name}.o"]
        subprocess.run(command, check=True, cwd=tmp_path)
    subprocess.run(["gcc", "-shared", "-Wl,--build-id", "-o", "liby.so", "a.o", "b.o"], check=True, cwd=tmp_path)
    nm = subprocess.run(["nm", "liby.so"], check=True, cwd=tmp_path, capture_output=True, text=True).stdout
    address = next(int(row.split()[0], 16) for row in nm.splitlines() if row.endswith(" told"))
    subprocess.run(["strip", "liby.so"], check=True, cwd=tmp_path)
    argv = ("gcc", "-O2", "-fPIC", "-c")
    units = tuple(Unit(f"{x}.c", f"{x}.o", str(tmp_path), (*argv, f"{x}.c"), "c") for x in "ab")
    place = tmp_path / "place"
    tree = Tree("y", "1", units, (), "gcc", "key", str(tmp_path), tmp_path, place, HostRoom(str(tmp_path)), {})
    found = OtherUnits(tree, Binary("y", "liby.so", frozenset({"a.o", "b.o"})), Run.read(tmp_path / "liby.so"))
    told = found.find("told")
    assert told is not None and told.address == address
    with pytest.raises(Unresolvable, match="other"):
        found.find("other")
