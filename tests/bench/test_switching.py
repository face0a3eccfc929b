"""`bench/switching`: a library that can leave a stack is named, one that cannot is counted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SWITCHES = "#include <ucontext.h>\nint f(ucontext_t *a, ucontext_t *b) { return swapcontext(a, b); }\n"


@pytest.mark.parametrize("links", [(), ("-Wl,-z,noseparate-code",)])
def test_it_tells_the_library_that_can_from_those_that_cannot(tmp_path: Path, links: tuple[str, ...]) -> None:
    for name, text in (("able", SWITCHES), ("plain", "int f(int x) { return x * 3; }\n")):
        (tmp_path / f"{name}.c").write_text(text)
        command = ["gcc", "-O2", "-fPIC", "-shared", *links, "-o", f"lib{name}.so", f"{name}.c"]
        subprocess.run(command, check=True, cwd=tmp_path)
    (tmp_path / "liblink.so").symlink_to("libplain.so")
    (tmp_path / "libtext.so").write_text("INPUT(libplain.so)\n")
    done = subprocess.run(
        [sys.executable, ROOT / "bench/switching.py", tmp_path], check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [str(tmp_path / "libable.so"), "1 of 2 libraries cannot leave a stack"]
