"""Builds that cannot be patched are refused with the true reason, and the remedy works."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from suture.error import ExitCode
from tests.command import suture

SOURCE = """
#include <string.h>
static int seen;
int rec_read(char *to, const char *s, unsigned n) { seen++; memcpy(to, s, n); return seen + to[3]; }
"""
FIX = """--- a/rec.c
+++ b/rec.c
@@ -2,3 +2,3 @@
 #include <string.h>
 static int seen;
-int rec_read(char *to, const char *s, unsigned n) { seen++; memcpy(to, s, n); return seen + to[3]; }
+int rec_read(char *to, const char *s, unsigned n) { seen++; if (n > 9) n = 9; memcpy(to, s, n); return seen + to[3]; }
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "tree"
    root.mkdir()
    (root / "rec.c").write_text(SOURCE)
    (root / "Makefile").write_text(
        "librec.so: rec.o\n\tgcc $(CFLAGS) -shared $(LDFLAGS) -o $@ rec.o\n"
        "rec.o: rec.c\n\tgcc $(CFLAGS) -c rec.c -o rec.o\n"
    )
    (tmp_path / "fix.patch").write_text(FIX)
    return root


def built(root: Path, cflags: str = "-O2 -fPIC", ldflags: str = "-Wl,--build-id") -> None:
    command = ["make", "--always-make", f"CFLAGS={cflags}", f"LDFLAGS={ldflags}"]
    suture("record", "--", *command, cwd=root, check=True)
    subprocess.run(["strip", "librec.so"], cwd=root, check=True)


def make(root: Path, code: ExitCode) -> Any:
    words = ["--tree", ".", "--binary", "librec.so", "--fix", "../fix.patch", "--output", "../out", "--json"]
    done = suture("make", *words, cwd=root)
    assert done.returncode == code, done.stdout + done.stderr
    assert code is ExitCode.OK or not list((root.parent / "out").glob("*"))
    return json.loads(done.stdout)


@pytest.mark.parametrize("flag", ["-flto", "-flto=auto", "-fno-lto -flto=1 -g"])
def test_link_time_optimization_is_named_and_leaving_it_out_helps(tree: Path, flag: str) -> None:
    built(tree, f"-O2 -fPIC {flag}")
    said = make(tree, ExitCode.UNSUPPORTED)
    assert "-flto" in said["error"] and "rec.c" in said["error"] and "-fno-lto" in said["remedy"]
    built(tree, f"-O2 -fPIC {flag} -fno-lto")
    assert make(tree, ExitCode.OK)["patches"]


def test_an_object_with_both_kinds_of_code_is_named_when_the_binary_holds_the_other(tree: Path) -> None:
    """Fat objects match where the linker took their code, and not where it made its own."""
    both = "-O2 -fPIC -flto -ffat-lto-objects"
    (tree / "more.c").write_text('__attribute__((visibility("hidden"))) int more(int x) { return x * 3 + 1; }\n')
    (tree / "rec.c").write_text(
        SOURCE.replace(
            "static int seen;", 'static int seen;\n__attribute__((visibility("hidden"))) int more(int);'
        ).replace("seen + to[3]", "more(seen + to[3])")
    )
    fix = FIX.replace(
        " static int seen;", ' static int seen;\n __attribute__((visibility("hidden"))) int more(int);'
    ).replace("seen + to[3]", "more(seen + to[3])")
    (tree.parent / "fix.patch").write_text(fix.replace("@@ -2,3 +2,3 @@", "@@ -2,4 +2,4 @@"))
    (tree / "Makefile").write_text(
        "librec.so: rec.o more.o\n\tgcc $(CFLAGS) -shared $(LDFLAGS) -o $@ rec.o more.o\n"
        "%.o: %.c\n\tgcc $(CFLAGS) -c $< -o $@\n"
    )
    built(tree, both, "-Wl,--build-id,-Bsymbolic")
    said = make(tree, ExitCode.REFUSED)
    assert "-ffat-lto-objects" in json.dumps(said) and "-fno-lto" in json.dumps(said)
    built(tree, both, "-Wl,--build-id -fno-lto")
    assert make(tree, ExitCode.OK)["patches"]


@pytest.mark.parametrize("file", ["rec.c", "size.h"])
def test_a_tree_that_was_edited_after_its_build_is_told_so(tree: Path, file: str) -> None:
    (tree / "size.h").write_text("#define ADDED 3\n")
    source = SOURCE.replace("\nstatic int seen", '\n#include "size.h"\nstatic int seen').replace("to[3]", "to[ADDED]")
    (tree / "rec.c").write_text(source)
    header = ' #include <string.h>\n #include "size.h"\n'
    fix = FIX.replace(" #include <string.h>\n", header).replace("to[3]", "to[ADDED]")
    (tree.parent / "fix.patch").write_text(fix.replace("@@ -2,3 +2,3 @@", "@@ -2,4 +2,4 @@"))
    built(tree)
    (tree / file).write_text((tree / file).read_text().replace("ADDED 3", "ADDED 30").replace("seen++", "seen += 77"))
    (tree.parent / "fix.patch").write_text(
        (tree.parent / "fix.patch").read_text().replace("seen++", "seen += 77" if file == "rec.c" else "seen++")
    )
    said = json.dumps(make(tree, ExitCode.REFUSED))
    assert f"{file} was changed after rec.o was built" in said


def test_a_binary_without_section_headers_is_told_so(tree: Path) -> None:
    built(tree)
    library = tree / "librec.so"
    data = bytearray(library.read_bytes())
    data[40:48] = bytes(8)  # e_shoff
    data[58:64] = bytes(6)  # e_shentsize, e_shnum, e_shstrndx
    library.write_bytes(data)
    assert "section headers" in make(tree, ExitCode.UNSUPPORTED)["error"]


@pytest.mark.parametrize(
    ("flag", "what"),
    [("-Wl,--build-id=none", "no build-id"), ("-Wl,--build-id=0x0000000000000000",
    "others may have too"), ("-Wl,--build-id=0xabcdef", "3 bytes"), ("-Wl,--build-id=0x" + "ab" * 120, "120 bytes")],
)  # fmt: skip
def test_a_binary_without_a_usable_build_id_gets_no_patch(tree: Path, flag: str, what: str) -> None:
    built(tree, ldflags=flag)
    said = make(tree, ExitCode.REFUSED)
    assert what in said["error"] and "-Wl,--build-id" in said["remedy"]
    built(tree, ldflags=f"{flag} -Wl,--build-id")
    assert make(tree, ExitCode.OK)["patches"]
