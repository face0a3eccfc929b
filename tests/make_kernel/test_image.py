"""What a module's file tells."""

from __future__ import annotations

from pathlib import Path

from suture.make_kernel.image import read_depends
from tests.make_kernel.test_match import compile_c


def test_the_modules_that_one_needs_are_named_as_the_kernel_names_them(tmp_path: Path) -> None:
    text = '__attribute__((section(".modinfo"), used)) static const char needed[] = "depends=dm-mod,nf_tables";\n'
    assert read_depends(compile_c(tmp_path, "unit", text)) == ("dm_mod", "nf_tables")
