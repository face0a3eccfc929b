"""`make` of a fix after which nothing writes a variable: the process keeps what it has, or there is no patch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from suture.error import ExitCode
from tests.command import suture

SOURCE = """#include <stdio.h>
static int limit = 10;
int set_limit(int x)
{
  limit = x;
  return printf("%d\\n", x);
}
int get_limit(int x)
{
  return limit + x;
}
"""
FIX = """--- a/a.c
+++ b/a.c
@@ -3,5 +3,4 @@
 int set_limit(int x)
 {
-  limit = x;
   return printf("%d\\n", x);
 }
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "tree"
    root.mkdir()
    (root / "a.c").write_text(SOURCE)
    (tmp_path / "fix.patch").write_text(FIX)
    make = "liba.so: a.o\n\tgcc -shared -Wl,--build-id -o $@ a.o\na.o: a.c\n\tgcc -O2 -fPIC -c a.c -o a.o\n"
    (root / "Makefile").write_text(make)
    suture("record", "--", "make", cwd=root, check=True)
    return root


def make(root: Path) -> tuple[int, Any]:
    words = ["--tree", ".", "--binary", "liba.so", "--fix", "../fix.patch", "--output", "../out", "--json"]
    done = suture("make", *words, cwd=root)
    return done.returncode, json.loads(done.stdout)


def test_only_the_function_that_wrote_it_changes(tree: Path) -> None:
    code, answer = make(tree)
    assert code == ExitCode.OK, answer
    (patch,) = answer["patches"]
    assert patch["functions"] == ["set_limit"]


def test_a_compiler_that_cannot_be_told_to_keep_it_gets_no_patch(tree: Path, tmp_path: Path) -> None:
    wrapper = tmp_path / "old"
    wrapper.write_text(
        '#!/bin/sh\ncase "$*" in *reference-addressable*) echo "error: unknown option"; exit 1;; esac\nexec gcc "$@"\n'
    )
    wrapper.chmod(0o755)
    database = tree / "compile_commands.json"
    database.write_text(database.read_text().replace('"gcc"', json.dumps(str(wrapper))))
    code, answer = make(tree)
    assert code == ExitCode.REFUSED
    (refused,) = answer["refused"]
    assert (
        "limit" in refused["reason"] and "stored there would be lost" in refused["reason"] and refused["file"] == "a.c"
    )
