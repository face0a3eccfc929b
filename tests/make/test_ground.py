"""What is known of a shipped binary without a fix is worked out once."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from suture.compile import database, host
from suture.compile.tree import Tree
from suture.compile.unit import Unit, Variant
from suture.elf.file import ElfFile
from suture.make import ground
from suture.make.ground import Ground, Shipped
from suture.match.correlate import correlate
from suture.match.match import Match, NoMatch

CODE = "int table[64];\nint f(int x) { for (int i = 0; i < 64; i++) x += table[(i * x) & 63] ^ i; return x; }\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "tree"
    root.mkdir()
    (root / "f.c").write_text(CODE)
    (root / "main.c").write_text("int f(int);\nint main(int c, char **v) { (void)v; return f(c); }\n")
    database.build(["sh", "-c", "gcc -O2 -c f.c; gcc -O2 -c main.c; gcc -o prog *.o"], root)
    return host.open_tree(root, root / "prog")


def objects(tree: Tree, unit: Unit) -> tuple[ElfFile, ElfFile]:
    plain, sectioned = tree.compile([(unit, Variant.PLAIN), (unit, Variant.SECTIONS)])
    return ElfFile.read(plain.path), ElfFile.read(sectioned.path)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def counting(source: str, *more: Any) -> Match:
        asked.append(source)
        return correlate(source, *more)

    monkeypatch.setattr(ground, "correlate", counting)
    return asked


def test_a_unit_is_looked_for_once_and_found_where_nm_says(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = counted(monkeypatch)
    one = Ground(tree, Shipped(tree.binaries[0], tree.files / "prog", ""))
    unit = next(u for u in tree.units if u.source == "f.c")
    found = [one.match(unit, *objects(tree, unit)) for _ in range(3)]
    assert asked == ["f.c"] and found[0] is found[2]
    said = subprocess.run(["nm", str(tree.files / "prog")], check=True, capture_output=True, text=True).stdout
    assert f"{found[0].address_of('f'):016x} T f" in said


def test_a_unit_that_is_not_there_is_said_to_be_absent_each_time(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = counted(monkeypatch)
    one = Ground(tree, Shipped(tree.binaries[0], tree.files / "prog", ""))
    unit = next(u for u in tree.units if u.source == "f.c")
    other = tree.with_texts({"f.c": CODE.replace("^ i", "+ 7 * i").encode()})
    for _ in range(2):
        with pytest.raises(NoMatch):
            one.match(unit, *objects(other, unit))
    assert asked == ["f.c"]
