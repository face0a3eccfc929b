"""Objects are named by all that their unit may read, and by nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.compile.host import HostRoom
from suture.compile.tree import Tree
from suture.compile.unit import Unit, Variant
from suture.source.fix import Fix, parse

FILES = {
    "a.c": '#include "deep.h"\nint a(void) { return DEEP; }\n',
    "b.c": "int b(void) { return 2; }\n",
    "any.c": "#include HEADER\nint any(void) { return 3; }\n",
    "deep.h": '#include "deeper.h"\n',
    "deeper.h": "#define DEEP 1\n",
}
DEEPER = "--- a/deeper.h\n+++ b/deeper.h\n@@ -1 +1 @@\n-#define DEEP 1\n+#define DEEP 7\n"
OTHER = "--- a/b.c\n+++ b/b.c\n@@ -1 +1 @@\n-int b(void) { return 2; }\n+int b(void) { return 9; }\n"


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    files = tmp_path / "tree"
    files.mkdir()
    for name, text in FILES.items():
        (files / name).write_text(text)
    tmp_path.chmod(0o755)
    commands = {n: ("gcc", "-O2", *(("-DHEADER=<stddef.h>",) if n == "any.c" else ())) for n in FILES if n[-1] == "c"}
    units = tuple(Unit(n, f"{n}.o", str(files), (*c, n), "c") for n, c in commands.items())
    return Tree("x", "1", units, (), "gcc", "key", str(files), files, tmp_path / "facts", HostRoom(str(files)), {})


def states(tree: Tree) -> dict[str, str]:
    return {u.source: tree.state_of(u) for u in tree.units}


def fix(text: str) -> Fix:
    return parse(text, "x.patch")


def test_a_unit_that_reads_nothing_of_a_fix_is_what_it_was(tree: Tree) -> None:
    before, after = states(tree), states(tree.post(fix(DEEPER)))
    assert {n for n in before if before[n] != after[n]} == {"a.c"}
    other = states(tree.post(fix(OTHER)))
    assert {n for n in before if before[n] != other[n]} == {"b.c"}


def test_fixes_that_change_the_same_for_a_unit_share_its_state_and_others_do_not(tree: Tree) -> None:
    one, both = states(tree.post(fix(DEEPER))), states(tree.post(fix(DEEPER + OTHER)))
    assert one["a.c"] == both["a.c"] and one["b.c"] != both["b.c"]
    assert states(tree.post(fix(DEEPER.replace("7", "8"))))["a.c"] != one["a.c"]


def test_a_header_that_a_fix_brings_in_counts_for_who_includes_it_then(tree: Tree) -> None:
    new = '--- a/b.c\n+++ b/b.c\n@@ -1 +1,2 @@\n+#include "new.h"\n int b(void) { return 2; }\n'
    made = "--- /dev/null\n+++ b/new.h\n@@ -0,0 +1 @@\n+#define NEW {}\n"
    first, second = (states(tree.post(fix(new + made.format(n)))) for n in (1, 2))
    assert first["b.c"] != second["b.c"] and first["a.c"] == second["a.c"]


def test_texts_over_a_fix_count_instead_of_it(tree: Tree) -> None:
    post = tree.post(fix(DEEPER))
    back = post.with_texts({"deeper.h": b"#define DEEP 3\n"})
    assert len({states(t)["a.c"] for t in (tree, post, back)}) == 3
    assert states(back)["b.c"] == states(tree)["b.c"]


def test_what_is_compiled_is_what_the_state_names(tree: Tree) -> None:
    """The same object where nothing of the fix is read, another where a header of a header is."""
    unit = {u.source: u for u in tree.units}
    jobs = [(unit["a.c"], Variant.PLAIN), (unit["b.c"], Variant.PLAIN)]
    old, new = tree.compile(jobs), tree.post(fix(DEEPER)).compile(jobs)
    assert old[1].path == new[1].path
    assert b"\xb8\x01\0\0\0" in old[0].path.read_bytes() and b"\xb8\x07\0\0\0" in new[0].path.read_bytes()
