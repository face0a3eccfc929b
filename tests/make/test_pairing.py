"""Which link became which shipped file: by SONAME and name where they tell, by code where they do not."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from suture.compile.host import HostRoom
from suture.compile.tree import Output, Tree
from suture.compile.unit import Unit
from suture.error import NotFound
from suture.make import pairing
from suture.make.pairing import Pairing, Shape, _with_binaries, by_name, is_little, is_most, pair
from suture.match.run import Run
from suture.source.archive import SourceVersion
from suture.source.packages import ShippedFile

LIBRARY = Output("build/.libs/libx.so.1.0.2", "libx.so.1", True, frozenset({"a.o"}))
STATIC = Output("udeb/.libs/libx.so.1.0.2", "libx.so.1", True, frozenset({"u/a.o"}))
PROGRAM = Output("build/x", "", False, frozenset({"main.o"}))
PLUGIN = Output("build/mod/x.so", "", True, frozenset({"mod.o"}))


def shipped(file: str) -> ShippedFile:
    return ShippedFile("p", file, Path("/nowhere") / file)


def never(_: ShippedFile, __: Output) -> float:
    raise AssertionError("the names leave no choice")


def test_a_library_is_known_by_its_soname_whatever_its_file_is_called() -> None:
    renamed = Output("build/libother.so", "libx.so.1", True, frozenset({"a.o"}))
    assert by_name(Shape("libx.so.1.0.2", "libx.so.1", False), [renamed, PROGRAM, PLUGIN]) == (renamed,)


def test_a_library_whose_soname_was_given_in_a_way_that_is_not_seen_is_known_by_its_name() -> None:
    unnamed = Output("build/libx.so.1.0.2", "", True, frozenset({"a.o"}))
    assert by_name(Shape("libx.so.1.0.2", "libx.so.1", False), [unnamed, PLUGIN]) == (unnamed,)


def test_a_program_is_not_taken_for_a_library_of_the_same_name() -> None:
    plugin = Output("mods/x", "", True, frozenset({"m.o"}))
    assert by_name(Shape("x", "", True), [plugin, PROGRAM]) == (PROGRAM,)


def test_the_program_that_libtool_links_for_the_build_tree_counts() -> None:
    early = Output("build/.libs/lt-x", "", False, frozenset({"main.o"}))
    assert by_name(Shape("x", "", True), [early]) == (early,)


def test_names_that_leave_no_choice_are_not_checked_by_code() -> None:
    files = [(shipped("usr/bin/x"), Shape("x", "", True)), (shipped("usr/lib/p/x.so"), Shape("x.so", "", False))]
    found = pair(files, [PROGRAM, PLUGIN, LIBRARY], never)
    assert [(f.file, o) for f, o in found.pairs] == [("usr/bin/x", "build/x"), ("usr/lib/p/x.so", "build/mod/x.so")]
    assert found.left == ()


def test_of_two_builds_of_one_library_the_one_whose_code_is_in_the_file_is_taken() -> None:
    file = shipped("usr/lib/libx.so.1.0.2")
    found = pair([(file, Shape("libx.so.1.0.2", "libx.so.1", False))], [STATIC, LIBRARY], lambda _, o: o is LIBRARY)
    assert found.pairs == ((file, LIBRARY.path),)


def test_of_two_flavours_that_have_functions_in_common_the_one_with_more_in_the_file_is_taken() -> None:
    """imagemagick builds its modules twice, with pixels of integers and of floats; what registers a module is the
    same."""
    file = shipped("usr/lib/libx.so.1.0.2")
    shares = {STATIC.path: 0.3, LIBRARY.path: 1.0}
    for order in ([STATIC, LIBRARY], [LIBRARY, STATIC]):
        shape = Shape("libx.so.1.0.2", "libx.so.1", False)
        assert pair([(file, shape)], order, lambda _, o: shares[o.path]).pairs == ((file, LIBRARY.path),)


def test_two_links_of_the_same_objects_are_one() -> None:
    again = Output("build/.libs/libx.so.1.0.2T", "libx.so.1", True, LIBRARY.objects)
    file = shipped("usr/lib/libx.so.1.0.2")
    assert pair([(file, Shape("libx.so.1.0.2", "libx.so.1", False))], [LIBRARY, again], never).pairs


def test_a_program_that_is_installed_under_another_name_is_found_by_its_code() -> None:
    file = shipped("usr/sbin/x-daemon")
    tried: list[str] = []

    def holds(_: ShippedFile, output: Output) -> bool:
        tried.append(output.path)
        return output is PROGRAM

    found = pair([(file, Shape("x-daemon", "", True))], [LIBRARY, PLUGIN, PROGRAM], holds)
    assert found.pairs == ((file, PROGRAM.path),)
    assert tried == [PROGRAM.path], "a library is no program"


def test_of_several_links_whose_code_is_in_a_file_the_one_with_most_objects_is_taken() -> None:
    """A program may hold all of another one's objects, and be installed under a third name."""
    part = Output("deps/part", "", False, frozenset({"part.o"}))
    whole = Output("src/whole", "", False, frozenset({"part.o", "main.o"}))
    file = shipped("usr/bin/check")
    found = pair([(file, Shape("check", "", True))], [part, whole], lambda *_: True)
    assert found.pairs == ((file, "src/whole"),)


def test_an_output_that_another_file_has_by_name_is_not_offered_by_code() -> None:
    files = [(shipped("usr/bin/x"), Shape("x", "", True)), (shipped("usr/bin/y"), Shape("y", "", True))]
    found = pair(files, [PROGRAM], lambda *_: True)
    assert [f.file for f in found.left] == ["usr/bin/y"]


def test_what_no_link_made_is_left() -> None:
    file = shipped("usr/bin/of-another-language")
    found = pair([(file, Shape("of-another-language", "", True))], [PROGRAM], lambda *_: False)
    assert found.left == (file,) and not found.pairs


def test_sources_of_no_known_binary_may_be_in_a_file_that_is_left(tmp_path: Path) -> None:
    units = tuple(Unit(f"{x}.c", f"{x}.o", "/b", ("gcc", "-c", f"{x}.c"), "c") for x in ("main", "mod", "test"))
    tree = Tree(
        "x", "1", units, (), "gcc", "k", "/b", tmp_path, tmp_path, HostRoom("/b"), {}, outputs=(PROGRAM, PLUGIN)
    )
    known = (shipped("usr/bin/x"), PROGRAM.path), (shipped("usr/lib/x.so"), PLUGIN.path)
    whole = _with_binaries(tree, Pairing(known, ()))
    assert [u.source for u in whole.units] == ["main.c", "mod.c"] and not whole.unpaired and not whole.unheld
    partly = _with_binaries(tree, Pairing(known[:1], (shipped("usr/lib/x.so"),)))
    assert partly.unpaired == ("x.so",) and partly.unheld == {"mod.c", "test.c"}


def test_a_recipe_that_does_not_fit_a_version_is_not_in_the_way_of_its_own_rules(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = SourceVersion("x", "1-1", "bullseye", tmp_path / "x.dsc", tmp_path)
    told: list[str] = []

    def prepare(*_: object) -> Tree:
        raise NotFound("x 1-1: the build links no build_shared/libx.so.3", "correct the recipe")

    def derived(*_: object) -> str:
        return "the tree of its rules"

    def neither(*_: object) -> str:
        raise NotFound("nothing that ships is linked", "write a recipe")

    monkeypatch.setattr(pairing, "has_recipe", lambda _: True)
    monkeypatch.setattr(pairing, "prepare", prepare)
    monkeypatch.setattr(pairing, "_derived", derived)
    archive: Any = None
    assert pairing.open_source(source, archive, told.append) == "the tree of its rules"
    assert "libx.so.3" in told[0]
    monkeypatch.setattr(pairing, "_derived", neither)
    with pytest.raises(NotFound, match=r"libx\.so\.3"):
        pairing.open_source(source, archive)


def test_a_small_part_of_a_file_is_not_what_it_was_linked_from() -> None:
    assert is_most([30_000, 10_000], 40, 1_000_000)
    assert not is_most([30_000, 10_000], 20, 1_000_000)
    assert not is_most([], 20, 0)


def test_a_unit_that_is_tables_alone_says_nothing_against_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "tree"
    root.mkdir()
    rows = ", ".join(str(n) for n in range(500))
    (root / "table.c").write_text(f"const int table[] = {{{rows}}};\n")
    (root / "main.c").write_text("extern const int table[];\nint main(int n, char **v) { return table[n * 3]; }\n")
    names = ("main", "table")
    for name in names:
        subprocess.run(["gcc", "-O2", "-c", f"{name}.c", "-o", f"{name}.o"], check=True, cwd=root)
    subprocess.run(["gcc", "-o", "x", "main.o", "table.o"], check=True, cwd=root)
    units = tuple(Unit(f"{x}.c", f"{x}.o", str(root), ("gcc", "-O2", "-c", f"{x}.c"), "c") for x in names)
    room = HostRoom(str(root))
    tree = Tree("x", "1", units, (), "gcc", "k", str(root), root, tmp_path / "place", room, {})
    output = Output("x", "", False, frozenset({"main.o", "table.o"}))
    monkeypatch.setattr(
        pairing, "is_most", lambda *_: True
    )  # a program of so few lines is mostly that of the C library
    assert pairing._share(tree, Run.read(root / "x"), shipped("usr/bin/y"), output)


def test_small_programs_that_cannot_be_told_apart_do_not_take_a_real_build() -> None:
    programs = [(False, 300)] * 3
    assert is_little(programs, [False] * 3 + [True], 100_000)
    assert not is_little(programs, [False] * 2 + [True], 100_000), "a link is missing"
    assert not is_little([(True, 300)], [False], 100_000), "a library is no program"
    assert not is_little([*programs, (False, 9000)], [False] * 4, 100_000), "much of the code is of unknown make"
    assert is_little([], [], 0)
