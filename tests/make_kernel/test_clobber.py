"""Why the kernel needs no check of clobbered registers: with the tracer's calls gcc lets no caller rely on a callee's
registers."""

from __future__ import annotations

import subprocess
from pathlib import Path

_TEXT = """
static __attribute__((noinline)) long callee(long a) { asm volatile("" : "+a"(a)); return a; }
long caller(long a, long b) { return callee(a) + b; }
"""


def keeps_in_a_saved_register(tmp_path: Path, *flags: str) -> bool:
    (tmp_path / "unit.c").write_text(_TEXT)
    command = ["gcc", "-O2", "-fno-pic", *flags, "-S", "-o", "-", str(tmp_path / "unit.c")]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    body = text.partition("caller:")[2].partition(".size")[0]
    return "push" in body


def test_a_caller_saves_what_it_needs_when_functions_are_traced(tmp_path: Path) -> None:
    assert not keeps_in_a_saved_register(tmp_path), (
        "gcc without tracing relies on the callee: the test shows the danger"
    )
    assert keeps_in_a_saved_register(tmp_path, "-pg", "-mfentry", "-mrecord-mcount")
