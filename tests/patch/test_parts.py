"""Which patches belong together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from suture.patch.file import PatchFile, read_patch
from suture.patch.parts import parts_of_fixes
from tests.process.conftest import LIBRARY, NEW, gcc, make_patch


def test_a_fix_that_two_patches_have_a_part_of_joins_them(tmp_path: Path) -> None:
    library = gcc(tmp_path / "libanswer.so", LIBRARY, "-fPIC", "-shared")
    made = read_patch(Path(make_patch(tmp_path, library, NEW, {"answer": ["answer"]}).object.name))

    def with_fixes(identity: str, *digests: str) -> PatchFile:
        (fix,) = made.manifest.fixes
        fixes = tuple(replace(fix, sha256=d) for d in digests)
        return replace(made, id=identity, manifest=replace(made.manifest, fixes=fixes))

    one, two, three = with_fixes("1", "a"), with_fixes("2", "b"), with_fixes("3", "c")
    assert [[p.id for p in row] for row in parts_of_fixes([one, two, three, one])] == [["1"], ["2"], ["3"]]
    bridge = with_fixes("4", "c", "a")
    assert [[p.id for p in row] for row in parts_of_fixes([one, two, three, bridge])] == [["2"], ["1", "3", "4"]]
    assert parts_of_fixes([]) == []
