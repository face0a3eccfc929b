"""Types are compared whatever debug information a build has: a structure that grows under live objects is refused."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from suture.compile import host
from suture.compile.unit import Variant
from suture.delta.layout import describes_types
from suture.elf.file import ElfFile
from suture.error import ExitCode
from tests.command import suture

HEADER = "struct rec { unsigned len; char data[60]; };\nint rec_read(struct rec *r, const char *from, unsigned len);\n"
SOURCE = """
#include <string.h>
#include "rec.h"
int rec_read(struct rec *r, const char *from, unsigned len) { r->len = len; memcpy(r->data, from, 8);
    return r->data[3]; }
"""
GROWN = """--- a/rec.h
+++ b/rec.h
@@ -1,2 +1,2 @@
-struct rec { unsigned len; char data[60]; };
+struct rec { unsigned len; unsigned cap; char data[60]; };
 int rec_read(struct rec *r, const char *from, unsigned len);
"""
FLAGS = (
    "", "-g", "-g0", "-g -g0", "-g1", "-ggdb1", "-g3", "-g -gsplit-dwarf", "-g -gz", "-gz=zlib -g1",
    "-g -gdwarf-2 -gstrict-dwarf", "-g -fdebug-types-section",
    "-g -Wa,--compress-debug-sections", "-g -gno-record-gcc-switches",
)  # fmt: skip


def project(root: Path, flags: str, compiler: str = "gcc") -> Path:
    root.mkdir()
    (root / "rec.h").write_text(HEADER)
    (root / "rec.c").write_text(SOURCE)
    (root / "Makefile").write_text(
        "librec.so: rec.o\n\tgcc -shared -Wl,--build-id -o $@ rec.o\n"
        f"rec.o: rec.c rec.h\n\t{compiler} -O2 -fPIC {flags} -c rec.c -o rec.o\n"
    )
    (root.parent / "grown.patch").write_text(GROWN)
    suture("record", "--", "make", cwd=root, check=True)
    subprocess.run(["strip", "librec.so"], cwd=root, check=True)
    return root


def made(root: Path) -> Any:
    words = ["--tree", ".", "--binary", "librec.so", "--fix", "../grown.patch", "--output", "../out", "--json"]
    done = suture("make", *words, cwd=root)
    assert done.returncode == ExitCode.REFUSED, done.stdout + done.stderr
    assert not list((root.parent / "out").glob("*"))
    return json.loads(done.stdout)


@pytest.mark.parametrize("flags", FLAGS)
def test_a_structure_that_grows_is_refused_whatever_the_flags(
    flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    (refused,) = made(project(tmp_path / "tree", flags))["refused"]
    assert "struct rec" in refused["reason"] and "size 64 -> 68" in refused["reason"], refused


def test_without_type_information_there_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that takes the flag away: nothing is known, and nothing is taken for equal."""
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    wrapper = tmp_path / "bare"
    wrapper.write_text('#!/bin/sh\nexec gcc "$@" -g0\n')
    wrapper.chmod(0o755)
    root = project(tmp_path / "tree", "-g")
    database = root / "compile_commands.json"
    database.write_text(database.read_text().replace('"gcc"', json.dumps(str(wrapper))))
    (refused,) = made(root)["refused"]
    assert "type information" in refused["reason"] and refused["function"] == "rec_read"


@pytest.mark.parametrize("flags", FLAGS)
def test_the_flags_for_types_change_no_code(flags: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The object of the match has the code of the tree's own, and the one with type information that of the one
    without."""
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    root = project(tmp_path / "tree", flags)
    tree = host.open_tree(root, root / "librec.so")
    plain, sections = (o.path for o in tree.compile([(tree.units[0], v) for v in (Variant.PLAIN, Variant.SECTIONS)]))
    assert code(plain) == code(root / "rec.o")
    bare = tmp_path / "bare.o"
    own = [w for w in tree.units[0].command if not w.startswith("-g") or w == "gcc"]
    subprocess.run([*own, *Variant.SECTIONS.value, "-g0", "-c", "-o", bare], cwd=root, check=True)
    assert code(sections) == code(bare)
    assert describes_types(ElfFile.read(sections)) and not describes_types(ElfFile.read(bare))


def code(path: Path) -> str:
    """All instructions, with their relocations, as objdump shows them."""
    out = subprocess.run(["objdump", "-dr", path], capture_output=True, text=True, check=True).stdout
    return out.split("\n", 3)[3]
