"""Generated code is compared after the generators ran over the fixed source."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from suture.compile.generate import Generated, generated
from suture.compile.unit import Unit
from suture.error import Refused
from suture.source.fix import parse

ROOT = "/build/p-1"
UNIT = Unit("a.c", "a.o", f"{ROOT}/built", ("gcc", "-O2", "-c", "a.c"), "c")
INPUT = "@first@\nint second;\n@third@\n"


def generate(tree: Path) -> None:
    """The package's generator: drops lines with `@`, and writes a table that no input changes."""
    lines = (tree / "x.h.in").read_text().splitlines(keepends=True)
    (tree / "built").mkdir(exist_ok=True)
    (tree / "built/x.h").write_text("".join(x for x in lines if "@" not in x))
    (tree / "built/table.s").write_text("nop\n")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`source` as it was unpacked and `files` as it was configured."""
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "source").mkdir()
    (tmp_path / "source/x.h.in").write_text(INPUT)
    (tmp_path / "source/a.c").write_text('#include "x.h"\n')
    shutil.copytree(tmp_path / "source", tmp_path / "files")
    generate(tmp_path / "files")
    return tmp_path


def run(tree: Path, hunk: str, units: Sequence[Unit] = (UNIT,), extra: str = "") -> Generated:
    fix = parse(f"--- a/x.h.in\n+++ b/x.h.in\n@@ -1,3 +1,3 @@\n{hunk}", "x.patch")

    def remake(_: Path, target: Path) -> Sequence[Unit]:
        assert target.as_posix().endswith("upper" + ROOT)
        generate(target)
        if extra:
            (target / "built" / extra).write_text("fresh\n")
        return units

    built = frozenset(f.path for f in fix.files)
    return generated("key", tree / "source", tree / "files", ROOT, [UNIT], fix, built, remake)


def test_a_change_that_the_generator_drops_comes_to_nothing(tree: Path) -> None:
    found = run(tree, "-@first@\n+@other@\n int second;\n @third@\n")
    assert (found.files, found.gone, found.linked, found.commands) == ((), (), (), ())


def test_code_that_comes_out_differently_is_a_layer(tree: Path) -> None:
    found = run(tree, " @first@\n-int second;\n+long second;\n @third@\n")
    assert found.files == ("built/x.h",)
    assert (found.layer / ROOT.lstrip("/") / "built/x.h").read_text() == "long second;\n"
    assert (tree / "files/built/x.h").read_text() == "int second;\n"


def test_another_compile_command_and_another_linker_script_are_told(tree: Path) -> None:
    units = [replace(UNIT, argv=("gcc", "-O3", "-c", "a.c"))]
    found = run(tree, "-@first@\n+@other@\n int second;\n @third@\n", units, "exports.map")
    assert (found.commands, found.linked, found.files) == (("a.c",), ("built/exports.map",), ())


def test_a_hunk_that_does_not_fit_is_refused_and_nothing_stays(tree: Path) -> None:
    with pytest.raises(Refused, match=r"x\.h\.in"):
        run(tree, "-@absent@\n+@other@\n int second;\n @third@\n")
    assert not [p for p in (tree / "cache/post").iterdir() if p.is_dir()]
