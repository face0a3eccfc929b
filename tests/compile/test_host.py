"""A tree of a user's own, as root and as nobody: recorded, compiled, post over pre at the same path."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from suture.compile import database, host
from suture.compile.job import CompileFailed
from suture.compile.tree import Tree
from suture.compile.unit import Variant
from suture.delta.atom import AtomObject
from suture.delta.compare import difference
from suture.elf.file import ElfFile
from suture.error import NotFound, Unsupported
from suture.source.fix import parse
from tests.nobody import run_as_nobody

FIX = "--- a/lib/a.h\n+++ b/lib/a.h\n@@ -1 +1 @@\n-#define N 1\n+#define N 41\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "tree"
    (root / "lib").mkdir(parents=True)
    (root / "lib/a.h").write_text("#define N 1\n")
    (root / "lib/a.c").write_text('#include "a.h"\n#include <assert.h>\nint a(int x) { assert(x); return N + x; }\n')
    (root / "b.c").write_text("int b(void) { return 2; }\n")
    (root / "main.c").write_text("int a(int);\nint b(void);\nint main(void) { return a(b()); }\n")
    (root / "Makefile").write_text(
        "prog: lib/a.o b.o main.o\n\tgcc -o prog lib/a.o b.o main.o\n%.o: %.c\n\tgcc -O2 -g -c $(CURDIR)/$< -o $@\n"
    )
    database.build(["make"], root)
    return root


def opened(folder: Path) -> Tree:
    return host.open_tree(folder, folder / "prog")


def test_a_plain_object_is_the_one_that_the_build_made(folder: Path) -> None:
    tree = opened(folder)
    unit = next(u for u in tree.units if u.source == "lib/a.c")
    ours = tree.compile([(unit, Variant.PLAIN)])[0].path
    assert text_of(ours) == text_of(folder / "lib/a.o")


def test_a_header_affects_the_units_that_include_it_and_no_others(folder: Path) -> None:
    tree = opened(folder)
    assert [u.source for u in tree.units_of("lib/a.h")] == ["lib/a.c"]
    assert [u.source for u in tree.units_of("b.c")] == ["b.c"]
    assert tree.units_of("nothing.h") == ()


def test_post_differs_by_the_fix_alone_and_the_tree_is_not_touched(folder: Path) -> None:
    tree = opened(folder)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    post = tree.post(parse(FIX, "fix"))
    unit = tree.units_of("lib/a.h")[0]
    pre_object, post_object = (t.compile([(unit, Variant.PLAIN)])[0].path for t in (tree, post))
    assert text_of(pre_object) != text_of(post_object)
    assert str(folder / "lib/a.c").encode() in post_object.read_bytes()  # __FILE__ of the assertion: the same path
    assert before == {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_objects_are_kept_and_a_change_of_the_tree_makes_new_ones(folder: Path) -> None:
    tree = opened(folder)
    job = (tree.units[0], Variant.SECTIONS)
    first = tree.compile([job])[0].path
    assert tree.compile([job])[0].path == first
    (folder / "b.c").write_text("int b(void) { return 3000; }\n")
    assert opened(folder).compile([job])[0].path != first


def test_the_compilers_own_words_are_kept_on_failure(folder: Path) -> None:
    tree = opened(folder).post(parse(FIX.replace("N 41", "N ]"), "fix"))
    with pytest.raises(CompileFailed) as raised:
        tree.compile([(u, Variant.PLAIN) for u in tree.units])
    (rejected,) = raised.value.rejected
    assert rejected.source == "lib/a.c"
    assert "lib/a.c" in rejected.output and "error:" in rejected.output


def test_line_numbers_do_not_count_in_a_comparison(folder: Path) -> None:
    tree = opened(folder)
    unit = next(u for u in tree.units if u.source == "lib/a.c")
    moved = tree.post(parse('--- a/lib/a.c\n+++ b/lib/a.c\n@@ -1 +1,2 @@\n+\n #include "a.h"\n', "fix"))
    for variant, same in ((Variant.COMPARE, True), (Variant.PLAIN, False)):
        pre, post = (t.compile([(unit, variant)])[0].path for t in (tree, moved))
        assert (disassembled(pre) == disassembled(post)) is same


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming nobody needs root")
def test_nobody_can_compile_a_tree_too(folder: Path, tmp_path: Path) -> None:
    program = (
        "import os; from pathlib import Path; from suture.compile import host; from suture.compile.unit import "
        f"Variant\nfrom suture.source.fix import parse\ntree = host.open_tree(Path({str(folder)!r}), "
        f"Path({str(folder / 'prog')!r}))\npost = tree.post(parse({FIX!r}, 'fix'))\n"
        "unit = tree.units_of('lib/a.h')[0]\none, two = (t.compile([(unit, Variant.PLAIN)])[0].path.read_bytes() "
        "for t in (tree, post))\nprint(os.geteuid(), one != two)\n"
    )
    for path in (*tmp_path.parents, tmp_path, *tmp_path.rglob("*")):
        if path.owner() == "root" and str(path).startswith(str(tmp_path.parents[1])):
            path.chmod(path.stat().st_mode | 0o755)
    cache = tmp_path / "nobody"
    cache.mkdir(mode=0o777)
    cache.chmod(0o777)
    done = run_as_nobody(program, tmp_path, {"SUTURE_CACHE": str(cache)})
    assert done.stdout == "65534 True\n", done.stderr


READING = {
    "included": '#include "{}"',
    "taken in by assembly": 'asm(".section .rodata\\n.incbin \\"{}\\"\\n.previous");',
    "read by assembly": 'asm(".include \\"{}\\"");',
    "named by a relative path": '#include "../../../../../../../../../..{}"',
}


@pytest.mark.skipif(os.geteuid() != 0, reason="a file that only root may read")
@pytest.mark.parametrize("how", READING)
def test_a_fix_reads_nothing_that_only_root_may_read(folder: Path, tmp_path: Path, how: str) -> None:
    """The tree is root's, in a folder of root's own that keeps others out, as /root does."""
    secret = tmp_path / "secret"
    secret.write_text("int word_of_root;\n")
    secret.chmod(0o600)
    tmp_path.chmod(0o700)
    fix = f"--- a/b.c\n+++ b/b.c\n@@ -1 +1,2 @@\n int b(void) {{ return 2; }}\n+{READING[how].format(secret)}\n"
    tree = opened(folder).post(parse(fix, "fix"))
    unit = next(u for u in tree.units if u.source == "b.c")
    with pytest.raises(CompileFailed) as raised:
        tree.compile([(unit, Variant.PLAIN)])
    assert "word_of_root" not in raised.value.rejected[0].output and "secret" in raised.value.rejected[0].output


def test_a_fix_does_not_read_the_environment_of_whoever_makes_the_patch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_OF_MINE", "int word_of_mine;")
    script = "tr '\\0' '\\n' </proc/self/environ"
    assert "word_of_mine" not in opened(folder).room.enter(script)


@pytest.mark.skipif(os.geteuid() != 0, reason="a tree that only root may read")
def test_a_tree_in_folders_that_keep_others_out_is_compiled_and_a_shut_tree_is_told(folder: Path) -> None:
    folder.chmod(0o700)
    folder.parent.chmod(0o700)
    tree = opened(folder)
    assert len(tree.compile([(u, Variant.PLAIN) for u in tree.units])) == 3
    post = tree.post(parse(FIX, "fix"))
    assert len(post.compile([(tree.units_of("lib/a.h")[0], Variant.PLAIN)])) == 1
    (folder / "lib").chmod(0o700)
    with pytest.raises(Unsupported, match="only root may read it"):
        opened(folder)


def test_a_tree_that_the_sandbox_would_hide_is_told_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_HIDDEN", (str(folder.parent),))
    with pytest.raises(Unsupported, match="of its own"):
        opened(folder)


@pytest.mark.parametrize("place", ["", "below/the/tree"])
def test_a_cache_within_the_tree_is_told_with_the_remedy(
    folder: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUTURE_CACHE", str(folder / place))
    with pytest.raises(Unsupported) as raised:
        opened(folder)
    assert "SUTURE_CACHE" in raised.value.remedy and str(folder) in raised.value.what


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("b.c", "neither a program nor a library"),
        ("b.o", "not linked yet"),
        ("lib", "a folder"),
        ("nothing", "no such file"),
        ("wrapper", "a script"),
        ("lib.a", "an archive"),
    ],
)
def test_what_is_no_program_is_told_and_the_remedy_asks_for_one(folder: Path, name: str, word: str) -> None:
    (folder / "wrapper").write_text("#!/bin/sh\n")
    subprocess.run(["ar", "rc", "lib.a", "b.o"], cwd=folder, check=True)
    with pytest.raises((NotFound, Unsupported), match=word) as raised:
        host.open_tree(folder, folder / name)
    assert "--binary FILE" in raised.value.remedy


def test_a_tree_without_a_database_is_said_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as raised:
        database.read(tmp_path)
    assert "suture record" in raised.value.remedy


def text_of(path: Path) -> bytes:
    """The .text of an object, by objcopy."""
    out = path.with_name("text-of")
    folder = Path(os.environ["SUTURE_CACHE"])
    out = folder / "text-of"
    subprocess.run(["objcopy", "--only-section=.text", "--output-target=binary", path, out], check=True)
    return out.read_bytes()


def disassembled(path: Path) -> str:
    out = subprocess.run(["objdump", "-dr", path], capture_output=True, text=True, check=True).stdout
    return out.split("\n", 3)[3]


def test_time_and_file_of_the_compilation_are_no_change(folder: Path) -> None:
    """An untouched function tells when and where it was compiled; post is compiled later, at the same path."""
    source = (folder / "lib/a.c").read_text() + "const char *built(void) { return __FILE__ __DATE__ __TIME__; }\n"
    (folder / "lib/a.c").write_text(source)
    tree = opened(folder)
    unit = tree.units_of("lib/a.h")[0]
    pre = tree.compile([(unit, Variant.COMPARE), (unit, Variant.SECTIONS)])
    time.sleep(1.1)
    post = tree.post(parse(FIX, "fix")).compile([(unit, Variant.COMPARE), (unit, Variant.SECTIONS)])
    for one, other in zip(pre, post, strict=True):
        assert difference(*(AtomObject(ElfFile.read(o.path)) for o in (one, other))).changed == {"a"}
