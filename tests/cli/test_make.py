"""`suture make` through the command, from a fix to what a running process answers."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from suture.error import ExitCode
from suture.source.archive import archive_for
from tests.command import suture


def run(*argv: object, cwd: Path | None = None, code: int = 0) -> Any:
    """The answer of a verb as JSON; it must end with `code`."""
    done = suture(*map(str, argv), "--json", cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


@contextlib.contextmanager
def running(*argv: object) -> Iterator[subprocess.Popen[bytes]]:
    """A program that answers each line with a line."""
    process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ask(process: subprocess.Popen[bytes], line: str) -> str:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{line}\n".encode())
    process.stdin.flush()
    return process.stdout.readline().decode().strip()


SERVER = """
#include <stdio.h>
#include <stdlib.h>
#include "limit.h"
/* caf\xe9: not UTF-8 */
__attribute__((noinline)) static long allowed(long x) { return x <= LIMIT ? x * 2 : -1; }
__attribute__((noinline)) long handle(const char *line) { long x = atol(line); return allowed(x) + 1000; }
int main(void) { char l[64]; setvbuf(stdout, 0, _IOLBF, 0); while (fgets(l, 64, stdin)) printf("%ld\\n", handle(l));
    return 0; }
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of a user's own, its build recorded once, its program shipped stripped."""
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "project"
    root.mkdir()
    (root / "server.c").write_bytes(SERVER.encode("latin-1"))
    (root / "limit.h").write_text("#define LIMIT 1000\n")
    (root / "Makefile").write_text("server: server.o\n\tgcc -o server server.o\n%.o: %.c\n\tgcc -O2 -c $< -o $@\n")
    suture("record", "--", "make", cwd=root, check=True)
    subprocess.run(["strip", "-o", tmp_path / "shipped", root / "server"], check=True)
    return root


def difference(name: str, old: bytes, new: bytes) -> bytes:
    rows = difflib.diff_bytes(
        difflib.unified_diff, old.splitlines(True), new.splitlines(True), f"a/{name}".encode(), f"b/{name}".encode()
    )
    return b"".join(rows)


def test_a_stripped_program_of_ones_own_is_fixed_while_it_runs(tree: Path, tmp_path: Path) -> None:
    """The fix touches a line beside one that is not UTF-8, which has to survive making, showing and making again."""
    old = (tree / "server.c").read_bytes()
    fix = tmp_path / "limit.patch"
    fix.write_bytes(difference("server.c", old, old.replace(b"x <= LIMIT", b"x >= 0 && x <= LIMIT")))
    assert b"\xe9" in fix.read_bytes()
    shipped = tmp_path / "shipped"
    out = tmp_path / "out"
    made = run(
        "make", "--tree", ".", "--binary", shipped, "--fix", fix, "--cve", "CVE-2099-0001", "--output", out, cwd=tree
    )
    (patch,) = made["patches"]
    assert patch["functions"] == ["allowed"] and patch["cves"] == ["CVE-2099-0001"] and patch["safe"]
    assert (tree / "server.c").read_bytes() == old
    assert run("show", patch["path"])["patch"]["id"] == patch["id"]
    verified = run("verify", patch["path"], "--tree", ".", "--binary", shipped, cwd=tree)
    assert (verified["id"], verified["source"]) == (patch["id"], str(tree))
    with running(shipped) as server:
        assert ask(server, "-5") == "990"
        run("apply", patch["path"], server.pid)
        assert (ask(server, "-5"), ask(server, "7"), ask(server, "2000")) == ("999", "1014", "999")
        run("revert", patch["id"], server.pid)
        assert ask(server, "-5") == "990"
        assert run("revert", "0" * 16, server.pid, code=ExitCode.NO_PROCESS)["remedy"].endswith(f"status {server.pid}")
        assert "no patch 9952" in run("revert", "9952", server.pid, code=ExitCode.NOT_FOUND)["error"]


def test_a_patch_does_not_choose_what_verify_runs(tree: Path, tmp_path: Path) -> None:
    """The tree that a patch names may be anybody's, and its compile commands any program."""
    fix, shipped = tmp_path / "limit.patch", tmp_path / "shipped"
    fix.write_bytes(difference("limit.h", b"#define LIMIT 1000\n", b"#define LIMIT 10\n"))
    (patch,) = run("make", "--tree", tree, "--binary", shipped, "--fix", fix, "--output", tmp_path)["patches"]
    mark, own, database = tmp_path / "mark", tmp_path / "cc", tree / "compile_commands.json"
    own.write_text(f'#!/bin/sh\ntouch {mark} {tmp_path}/cache/mark\nexec gcc "$@"\n')
    own.chmod(0o755)
    database.write_text(database.read_text().replace('"gcc"', f'"{own}"'))
    said = run("verify", patch["path"], code=ExitCode.REFUSED)
    assert str(tree) in said["error"] and "--tree DIR --binary FILE" in said["remedy"]
    assert not mark.exists() and not list(tmp_path.rglob("mark"))
    # named by the user it runs, where it can write nothing
    run("verify", patch["path"], "--tree", tree, "--binary", shipped)
    assert not list(tmp_path.rglob("mark"))


def test_words_of_a_patch_are_neither_options_nor_paths(tree: Path, tmp_path: Path) -> None:
    fix = tmp_path / "x.patch"
    fix.write_bytes(difference("a.c", b"1\n", b"2\n"))
    for spec in ("-oAPT::Update::Pre-Invoke::=x=1", "../../../etc=1-1", "zlib=../../x", "a/b=1", "zlib=-1", "A=1"):
        said = run("make", f"--source={spec}", "--fix", fix, code=ExitCode.USAGE)
        assert said["remedy"], spec


def test_a_fix_of_a_header_takes_the_units_that_include_it(tree: Path, tmp_path: Path) -> None:
    fix = tmp_path / "limit.patch"
    fix.write_bytes(difference("limit.h", b"#define LIMIT 1000\n", b"#define LIMIT 10\n"))
    made = run("make", "--tree", tree, "--binary", tmp_path / "shipped", "--fix", fix, "--output", tmp_path)
    (patch,) = made["patches"]
    with running(tmp_path / "shipped") as server:
        run("apply", patch["path"], server.pid)
        assert (ask(server, "10"), ask(server, "11")) == ("1020", "999")


def test_a_binary_that_was_not_built_from_the_tree_is_told(tree: Path, tmp_path: Path) -> None:
    source, other = tmp_path / "other.c", tmp_path / "other"
    source.write_text("#include <stdio.h>\nint main(void) { return getchar(); }\n")
    subprocess.run(["gcc", "-O2", "-o", other, source], check=True)
    fix = tmp_path / "limit.patch"
    fix.write_bytes(difference("limit.h", b"#define LIMIT 1000\n", b"#define LIMIT 10\n"))
    said = run("make", "--tree", tree, "--binary", other, "--fix", fix, "--output", tmp_path, code=ExitCode.REFUSED)
    assert said["patches"] == [] and "not found in" in said["refused"][0]["reason"]


def test_a_tree_without_a_binary_is_a_wrong_command_line(tree: Path) -> None:
    assert "--binary FILE" in run("make", "--tree", tree, code=ExitCode.USAGE)["remedy"]


def test_a_cve_that_is_no_number_is_a_usage_error(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "a.patch").write_text("--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-old\n+new\n")
    words = ("--tree", tree, "--binary", tmp_path / "shipped", "--fix", tmp_path / "a.patch")
    for word in ("foo", "CVE-2025-1", "cve-2025-1111x"):
        assert word in run("make", *words, "--cve", word, code=ExitCode.USAGE)["error"]


ZLIB = "1:1.2.13.dfsg-1"
NEWER = "1:1.2.13.dfsg-1+deb12u98"
FLAGS = """
#include <stdio.h>
#include <string.h>
unsigned long zlibCompileFlags(void);
int main(void) { char l[64]; setvbuf(stdout, 0, _IOLBF, 0);
    while (fgets(l, 64, stdin)) printf("%lx\\n", zlibCompileFlags()); return 0; }
"""
# In a mount namespace of its own /mnt is the made-up file system of a machine whose dpkg has upgraded the library.
UPGRADED = """
mount -t tmpfs none /mnt
cp "$1" /mnt/libz.so.1.2.13; ln -s libz.so.1.2.13 /mnt/libz.so.1
mount --bind "$2" /var/lib/dpkg
exec env LD_LIBRARY_PATH=/mnt "$3"
"""


@pytest.fixture
def zlib_fix(tmp_path: Path) -> Path:
    source = (archive_for("zlib", ZLIB).source("zlib", ZLIB).tree / "zutil.c").read_bytes()
    fix = tmp_path / "flags.patch"
    fix.write_bytes(difference("zutil.c", source, source.replace(b"    flags = 0;", b"    flags = 0x10000000;", 1)))
    return fix


@pytest.fixture
def flags(tmp_path: Path) -> Path:
    """A program that prints what zlib's zlibCompileFlags says."""
    shipped = archive_for("zlib", ZLIB).binary("zlib1g", ZLIB) / "lib/x86_64-linux-gnu/libz.so.1.2.13"
    source, program = tmp_path / "flags.c", tmp_path / "flags"
    source.write_text(FLAGS)
    subprocess.run(["gcc", "-o", program, source, shipped], check=True)
    return program


def upgraded(folder: Path) -> Path:
    """The database of a dpkg that has installed a newer zlib1g."""
    (folder / "info").mkdir(parents=True)
    (folder / "updates").mkdir()
    fields = {"Package": "zlib1g", "Status": "install ok installed", "Version": NEWER, "Architecture": "amd64"}
    fields |= {"Maintainer": "a <a@b>", "Description": "x", "Source": "zlib"}
    (folder / "status").write_text("".join(f"{k}: {v}\n" for k, v in fields.items()) + "\n")
    (folder / "info/format").write_text("1\n")
    (folder / "info/zlib1g.list").write_text("/.\n/mnt\n/mnt/libz.so.1\n/mnt/libz.so.1.2.13\n")
    return folder


@pytest.mark.archive
def test_a_library_whose_file_was_replaced_under_a_process_is_fixed_in_that_process(
    zlib_fix: Path, flags: Path, tmp_path: Path
) -> None:
    """The package was upgraded: dpkg names a newer version, another file lies there, the process runs the old one."""
    shipped = archive_for("zlib", ZLIB).binary("zlib1g", ZLIB) / "lib/x86_64-linux-gnu/libz.so.1.2.13"
    database = upgraded(tmp_path / "dpkg")
    with running("unshare", "--mount", "sh", "-euc", UPGRADED, "sh", shipped, database, flags) as process:
        before = int(ask(process, ""), 16)
        inside = Path(f"/proc/{process.pid}/root/mnt/libz.so.1.2.13")
        inside.unlink()
        inside.write_bytes(b"the file of the newer version")
        assert "libz.so.1.2.13 (deleted)" in Path(f"/proc/{process.pid}/maps").read_text()
        for words in (["--file", "libz.so.1"], ["--file", "libz.so.1.2.13"]):
            made = run("make", "--for", f"pid:{process.pid}", *words, "--fix", zlib_fix, "--output", tmp_path / "out")
            (patch,) = made["patches"]
            assert patch["functions"] == ["zlibCompileFlags"] and ZLIB.replace(":", "_") in patch["name"]
        run("apply", patch["path"], process.pid)
        assert int(ask(process, ""), 16) == before | 0x10000000
        run("revert", patch["id"], process.pid)
        assert int(ask(process, ""), 16) == before


@pytest.mark.archive
def test_a_file_is_named_by_the_link_that_it_is_known_by_or_by_itself(zlib_fix: Path, tmp_path: Path) -> None:
    found = []
    for name in ("libz.so.1", "libz.so.1.2.13"):
        path = f"path:/lib/x86_64-linux-gnu/{name}"
        found += run("make", "--for", path, "--fix", zlib_fix, "--output", tmp_path)["patches"]
    assert [p["file"] for p in found] == ["libz.so.1", "libz.so.1"] and found[0]["id"] == found[1]["id"]


@pytest.mark.parametrize(
    ("subject", "code"),
    [("812", ExitCode.USAGE), ("pid:x", ExitCode.USAGE), ("path:/nonexistent", ExitCode.NOT_FOUND),
     (f"pid:{2**22 - 1}", ExitCode.NO_PROCESS), (f"path:{__file__}", ExitCode.NOT_FOUND)],
)  # fmt: skip
def test_what_is_no_subject_is_told_with_a_remedy(subject: str, code: ExitCode, tmp_path: Path) -> None:
    fix = tmp_path / "x.patch"
    fix.write_bytes(difference("a.c", b"1\n", b"2\n"))
    assert run("make", "--for", subject, "--fix", fix, code=code)["remedy"]


def test_a_process_that_maps_no_such_file_is_told_with_those_that_it_maps(tmp_path: Path) -> None:
    fix = tmp_path / "x.patch"
    fix.write_bytes(difference("a.c", b"1\n", b"2\n"))
    with running("cat") as process:
        assert ask(process, "ready") == "ready"
        said = run("make", "--for", f"pid:{process.pid}", "--file", "libnone.so", "--fix", fix, code=ExitCode.NOT_FOUND)
    assert "libnone.so" in said["error"] and "libc.so.6" in said["remedy"]


def test_the_folder_of_the_patches_never_shows_half_of_one(tmp_path: Path) -> None:
    """Written under another name and renamed: whoever lists *.suture.o meets whole files only."""
    from suture.make.make import Made, write

    data = os.urandom(1 << 16)
    made = Made("p.suture.o", "id", data, cast(Any, None))
    path = write(made, tmp_path / "out").path
    assert path.read_bytes() == data and [p.name for p in path.parent.iterdir()] == ["p.suture.o"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_verify_of_a_tree_that_lies_elsewhere_says_so(tree: Path, tmp_path: Path) -> None:
    fix, shipped, copy = tmp_path / "limit.patch", tmp_path / "shipped", tmp_path / "copy"
    fix.write_bytes(difference("limit.h", b"#define LIMIT 1000\n", b"#define LIMIT 10\n"))
    (patch,) = run("make", "--tree", tree, "--binary", shipped, "--fix", fix, "--output", tmp_path)["patches"]
    shown = suture("show", patch["path"], "--disassemble")
    assert shown.returncode == ExitCode.NOT_FOUND and "with --binary FILE" in shown.stderr
    shutil.copytree(tree, copy)
    database = copy / "compile_commands.json"
    database.write_text(database.read_text().replace(str(tree), str(copy)))
    said = run("verify", patch["path"], "--tree", copy, "--binary", shipped, code=ExitCode.REFUSED)
    assert str(tree) in said["error"] and str(copy) in said["error"]
