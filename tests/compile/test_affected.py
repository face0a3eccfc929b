"""What each changed file is to a tree, with a stand-in for the tree that tells who reads what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from suture.compile.affected import Affected, affected
from suture.compile.generate import Generated
from suture.compile.unit import Unit
from suture.error import Refused
from suture.source.fix import Fix, parse

HUNK = "@@ -1 +1 @@\n-a\n+b\n"


def unit(name: str) -> Unit:
    return Unit(name, f"{name}.o", "/build/x", ("gcc", name), "c")


@dataclass
class FakeTree:
    """`readers` are units by the files that they read; a file that is in none is there all the same, unless it is in
    `absent`."""

    readers: dict[str, tuple[str, ...]]
    is_prepared: bool = True
    after: dict[str, tuple[str, ...]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    bytes_taken: tuple[str, ...] = ()
    makes: Generated | None = None
    applied: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    asked_ahead: list[str] = field(default_factory=list)
    unpaired: tuple[str, ...] = ()
    unheld: tuple[str, ...] = ()

    def may_be_in_unpaired(self, path: str) -> bool:
        return path in self.unheld

    def ask_ahead(self, paths: Iterable[str]) -> None:
        self.asked_ahead += paths

    def units_of(self, path: str) -> tuple[Unit, ...]:
        return tuple(unit(n) for n in self.readers.get(path, ()))

    def has(self, path: str) -> bool:
        return path not in self.absent

    def takes_in(self, path: str) -> bool:
        return path in self.bytes_taken

    def post(self, fix: Fix, generators: Generated | None = None) -> FakeTree:
        self.applied = [f.path for f in fix.files]
        return FakeTree(self.after or self.readers)

    def anew(self, _: Any, fix: Fix) -> Generated | None:
        self.asked = [f.path for f in fix.files]
        return self.makes


def nothing(**given: tuple[str, ...]) -> Generated:
    facts: dict[str, tuple[str, ...]] = {"files": (), "gone": (), "linked": (), "commands": (), **given}
    return Generated(Path("/nowhere"), **facts)


def ask(tree: FakeTree, *paths: str, text: str = "") -> Affected:
    whole = text or "".join(f"--- a/{p}\n+++ b/{p}\n{HUNK}" for p in paths)
    given: Any = tree
    return affected(given, [parse(whole, "x.patch")], generators=tree.anew)


def test_who_reads_a_file_makes_it_code_whatever_it_is_called() -> None:
    tree = FakeTree({"a.c": ("a.c",), "doc/table.txt": ("a.c", "b.c"), "tests/x.c": ("c.c",)})
    found = ask(tree, "a.c", "doc/table.txt", "tests/x.c", "README")
    assert {p: [u.source for u in units] for p, units in found.readers.items()} == {
        "a.c": ["a.c"],
        "doc/table.txt": ["a.c", "b.c"],
        "tests/x.c": ["c.c"],
    }
    assert (
        list(found.no_code) == ["README"]
        and not found.missing
        and [u.source for u in found.units] == ["a.c", "b.c", "c.c"]
    )
    assert tree.asked_ahead == ["a.c", "doc/table.txt", "tests/x.c", "README"], "one entry of the room, not one a file"
    assert tree.applied == ["a.c", "doc/table.txt", "tests/x.c"], "a changelog that does not apply is in nobody's way"


@pytest.mark.parametrize(
    "path", ["lost.c", "lost.h", "odd.json", "errcodes.txt", "gen.y", "Makefile.am", "debian/rules"]
)
def test_a_file_that_no_unit_reads_is_proved_by_generating_anew_or_missing(path: str) -> None:
    proved = ask(FakeTree({"a.c": ("a.c",)}, makes=nothing()), "a.c", path)
    assert list(proved.same) == [path] and not proved.missing
    own = ask(FakeTree({"a.c": ("a.c",)}, is_prepared=False), "a.c", path)
    assert list(own.missing) == [path] and not own.same
    failed = ask(FakeTree({"a.c": ("a.c",)}), "a.c", path)
    assert list(failed.missing) == [path] and "can't be made anew" in failed.missing[path].reason


def test_units_that_read_what_is_generated_otherwise_are_readers_of_the_input() -> None:
    tree = FakeTree({"built/gen.h": ("a.c", "b.c")}, makes=nothing(files=("built/gen.h",)))
    found = ask(tree, "gen.h.in")
    assert [u.source for u in found.readers["gen.h.in"]] == ["a.c", "b.c"] and not found.missing and not found.same
    for kind, word in (("gone", "removes"), ("linked", "linker"), ("commands", "compiled or linked")):
        found = ask(FakeTree({}, makes=nothing(**{kind: ("built/gen.c",)})), "gen.h.in")
        assert word in found.missing["gen.h.in"].reason and "built/gen.c" in found.missing["gen.h.in"].reason


def test_an_input_of_a_generator_that_a_unit_reads_as_well_is_both() -> None:
    tree = FakeTree(
        {"list.tbl": ("a.c",), "x.awk": ("b.c",), "built/gen.h": ("c.c",)}, makes=nothing(files=("built/gen.h",))
    )
    assert [u.source for u in ask(tree, "x.awk").readers["x.awk"]] == ["b.c", "c.c"]


def test_a_new_file_is_read_by_those_that_include_it_after_the_fix() -> None:
    text = "--- /dev/null\n+++ b/new.h\n@@ -0,0 +1 @@\n+b\n" + f"--- a/a.c\n+++ b/a.c\n{HUNK}"
    tree = FakeTree({"a.c": ("a.c",)}, after={"a.c": ("a.c",), "new.h": ("a.c",)})
    assert [u.source for u in ask(tree, text=text).readers["new.h"]] == ["a.c"]


GONE = "--- a/a.h\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"
MOVED = "diff --git a/old.c b/a.c\nrename from old.c\nrename to a.c\n"
BINARY = "diff --git a/a.c b/a.c\nindex 1..2\nGIT binary patch\nliteral 1\nx\n\n"


@pytest.mark.parametrize(
    ("text", "word"), [(GONE, "deletes"), (MOVED, "makes this file out of old.c"), (BINARY, "binary file")]
)
def test_a_change_that_can_not_be_compiled_is_missing(text: str, word: str) -> None:
    found = ask(FakeTree({"a.c": ("a.c",), "a.h": ("a.c",)}), text=text)
    (refusal,) = found.missing.values()
    assert word in refusal.reason and not found.readers


def test_a_mode_is_no_code_and_bytes_for_assembly_and_patches_of_the_package_are_missing() -> None:
    found = ask(FakeTree({"a.c": ("a.c",)}), text="diff --git a/a.c b/a.c\nold mode 100644\nnew mode 100755\n")
    assert found.no_code == {"a.c": "only its mode changes"}
    found = ask(FakeTree({}, bytes_taken=("blob.txt",)), "blob.txt", "debian/patches/x.patch", "debian/changelog")
    assert ".incbin" in found.missing["blob.txt"].reason and "series" in found.missing["debian/patches/x.patch"].reason
    assert list(found.no_code) == ["debian/changelog"]


def test_a_file_that_is_not_there_is_refused_unless_it_is_a_document() -> None:
    tree = FakeTree({"a.c": ("a.c",)}, absent=("b.c", "NEWS"))
    assert list(ask(tree, "a.c", "NEWS").no_code) == ["NEWS"]
    with pytest.raises(Refused, match=r"b\.c: the source has no such file"):
        ask(tree, "a.c", "b.c")


def test_what_only_leaves_out_is_missing_unless_it_is_no_code() -> None:
    fix = parse("".join(f"--- a/{p}\n+++ b/{p}\n{HUNK}" for p in ("a.c", "b.c", "README")), "x").only(["a.c"])
    tree: Any = FakeTree({"a.c": ("a.c",), "b.c": ("b.c",)})
    found = affected(tree, [fix], generators=tree.anew)
    assert list(found.missing) == ["b.c"] and list(found.no_code) == ["README"]


def test_code_that_may_be_in_a_binary_of_unknown_make_is_missing_and_not_proved_to_be_none() -> None:
    tree = FakeTree({"a.c": ("a.c",), "both.c": ("both.c",)}, makes=nothing(), unpaired=("x.so",), unheld=("both.c",))
    found = ask(tree, "a.c", "both.c", "plugin.c", "README", "Makefile.am")
    assert list(found.readers) == ["a.c"] and list(found.same) == ["Makefile.am"]
    assert found.missing.keys() == {"both.c", "plugin.c"}
    assert all("x.so" in r.reason for r in found.missing.values())
