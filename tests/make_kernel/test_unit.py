"""One unit of the kernel: the modules that hold it, and how its compile errors are quoted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from suture.compile.job import CompileFailed, RejectedUnit
from suture.delta.layout import LayoutChange
from suture.make_kernel import make, overlay, unit
from suture.make_kernel.affected import KernelAffected
from suture.make_kernel.prepare import KernelTree
from suture.make_kernel.request import KernelReady


def test_a_unit_may_be_part_of_two_modules(tmp_path: Path) -> None:
    (tmp_path / "unit.json").write_text(json.dumps(["gcc", "one-half:other", []]))
    found = unit._read("net/x.c", tmp_path)
    assert isinstance(found, unit.KernelUnit) and found.modules == ("one_half", "other")
    (tmp_path / "unit.json").write_text(json.dumps(["gcc", "", []]))
    assert cast(unit.KernelUnit, unit._read("net/x.c", tmp_path)).modules == ()


def test_what_the_compiler_rejects_is_quoted_from_the_file_as_the_fix_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marked, plain = tmp_path / "marked", tmp_path / "plain"

    def compile_sections(tree: object, chosen: object, layer: Path, key: str) -> list[Path]:
        raise CompileFailed([RejectedUnit("net/x.c", "net/x.o", f"quoted from {layer.name} {key}")])

    monkeypatch.setattr(unit, "compile_sections", compile_sections)
    monkeypatch.setattr(overlay, "layer", lambda tree, fixes, keep_lines=True: (marked if keep_lines else plain, "key"))
    ready = cast(KernelReady, SimpleNamespace(tree=None, fixes=()))
    with pytest.raises(CompileFailed, match="quoted from plain key"):
        make._compile_post(ready, (), marked, "marked key")


def test_all_units_that_the_compiler_rejects_are_named_and_the_objects_of_the_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Room:
        def enter(self, script: str, directory: str, outputs: Sequence[tuple[Path, str]]) -> None:
            (folder, _) = outputs[0]
            (folder / "1.o").write_bytes(b"object")
            for number in (0, 2):
                (folder / f"{number}.log").write_text(f"error: in {number}\n")

    units = [unit.KernelUnit(f"net/{n}.c", "gcc -c -o x.o x.c", (), (), tmp_path / "none") for n in "abc"]
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    tree = cast(KernelTree, SimpleNamespace(room=Room(), key="key"))
    with pytest.raises(
        CompileFailed, match=r"net/a.c: the compiler rejects it\nerror: in 0\nand 1 more: net/c.c"
    ) as raised:
        unit.compile_sections(tree, units, None, "")
    assert [r.source for r in raised.value.rejected] == ["net/a.c", "net/c.c"]
    (kept,) = unit.compile_sections(tree, units[1:2], None, "")
    assert kept.read_bytes() == b"object"


def test_callbacks_with_other_parameters_are_left_to_the_transition_where_all_that_write_them_are_compiled() -> None:
    callback = LayoutChange("struct ops", "include/net/ops.h", 3, "type of member dump", True, ("dump",))
    size = LayoutChange("struct other", "include/net/ops.h", 9, "size 4 -> 8", True)
    left, notes = make._followed({0: (callback, size)}, KernelAffected(names=frozenset({".dump", "f"})))
    assert left == {0: (size,)} and notes == (
        "struct ops: modules from elsewhere that have dump were compiled for other parameters",
    )
    for names in (frozenset({"dump"}), frozenset[str]()):
        assert make._followed({0: (callback,)}, KernelAffected(names=names)) == ({0: (callback,)}, ())
    local = replace(callback, file="net/x.c")
    assert make._followed({0: (local,)}, KernelAffected())[0] == {0: ()}, (
        "who includes a C file is compiled in any case"
    )


def test_a_type_of_which_only_names_change_is_the_same_where_each_use_is_renamed() -> None:
    row = LayoutChange("enum op", "include/net/op.h", 3, "enumerator A removed", True, renames=(("A", "B"),))
    size = LayoutChange("struct other", "include/net/ops.h", 9, "size 4 -> 8", True)
    left, notes = make._renamed({0: (row, size), 1: (row,)}, [("use(A);\n", "use(B);\n")])
    assert left == {0: (size,), 1: ()} and notes == ("enum op: A is called B, and means the same",)
    left, notes = make._renamed({0: (row, size)}, [("use(A);\n", "use(B, 1);\n")])
    assert left == {0: (row, size)} and notes == ()
