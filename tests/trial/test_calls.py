"""Calls of functions, counted by the kernel."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from suture.elf.file import ElfFile
from suture.trial import calls
from suture.trial.calls import counted

PROGRAM = """
#include <stdio.h>
__attribute__((noinline)) int often(int a) { __asm__ volatile (""); return a + 1; }
__attribute__((noinline)) int never(int a) { __asm__ volatile (""); return a - 1; }
int main(int argc, char **argv) {
  getchar();
  for (int n = 0; n < 7; n++) argc = often(argc);
  return argc > 99 ? never(1) : 0;
}
"""


def run(folder: Path) -> dict[str, int]:
    (folder / "x.c").write_text(PROGRAM)
    subprocess.run(["gcc", "-O1", "-o", folder / "x", folder / "x.c"], check=True)
    symbols = {s.name: s.st_value for s in ElfFile.read(folder / "x").symbols}
    functions = [SimpleNamespace(name=n, address=symbols[n]) for n in ("often", "never")]
    manifest: Any = SimpleNamespace(groups=[SimpleNamespace(functions=functions)])
    process = subprocess.Popen([folder / "x"], stdin=subprocess.PIPE)
    with counted(process.pid, folder / "x", manifest) as counters:
        process.communicate(b"go\n")
        return {name: counter() for name, counter in counters.items()}


def test_each_function_has_the_number_of_its_calls(tmp_path: Path) -> None:
    if not calls._KIND.exists():
        pytest.skip("this kernel has no uprobes")
    assert run(tmp_path) == {"often": 7, "never": 0}


def test_where_the_kernel_cannot_count_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_KIND", tmp_path / "none")
    assert run(tmp_path) == {}
