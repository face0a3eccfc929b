"""Which hunks of a kernel file's difference belong to one change."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

_FILE = Path(__file__).resolve().parents[2] / "bench" / "kernel_change.py"
FILLER = "\n".join(f"static int filler_{{}}_{n};" for n in range(8)) + "\n"
OLD = (
    "int one(int x)\n{\n\tint y = x;\n\n" + "\tstep(y);\n" * 8 + "\treturn y;\n}\n" + FILLER.format(1,
    1, 1, 1, 1, 1, 1, 1)
    + "int two(int x)\n{\n\treturn x;\n}\n" + FILLER.format(2, 2, 2, 2, 2, 2, 2, 2)
    + "int three(int x)\n{\n\treturn x * 3;\n}\n"
)  # fmt: skip


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kernel_change", _FILE)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules["kernel_change"] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def parts(module: ModuleType, new: str) -> list[str]:
    lines = difflib.unified_diff(OLD.splitlines(True), new.splitlines(True), "a/f.c", "b/f.c")
    found: list[str] = module.single_changes("".join(lines), OLD, new)
    assert all(p.startswith("--- a/f.c\n+++ b/f.c\n@@") for p in found)
    return found


def test_changes_of_two_functions_are_two(module: ModuleType) -> None:
    found = parts(module, OLD.replace("return x;", "return x + x;").replace("x * 3", "x * x"))
    assert [p.count("@@ -") for p in found] == [1, 1]
    assert "x + x" in found[0] and "x * x" in found[1]


def test_two_hunks_of_one_function_are_one(module: ModuleType) -> None:
    new = OLD.replace("int y = x;", "int y = x ^ x;").replace("\treturn y;", "\treturn y ^ y;")
    (found,) = parts(module, new)
    assert found.count("@@ -") == 2


def test_a_name_that_comes_or_goes_joins_its_hunks(module: ModuleType) -> None:
    new = OLD.replace("int one(int x)", "static int limit;\nint one(int x)").replace("x * 3", "x * limit")
    (found,) = parts(module, new.replace("return x;", "return limit;"))
    assert found.count("@@ -") == 3
    (gone,) = parts(module, OLD.replace("static int filler_1_3;\n", "").replace("x * 3", "x"))[:1]
    assert gone.count("@@ -") == 1


def test_words_of_comments_join_nothing(module: ModuleType) -> None:
    new = OLD.replace("return x;", "return x + x; /* carefully */").replace("x * 3", "x * x /* carefully */")
    assert len(parts(module, new)) == 2
