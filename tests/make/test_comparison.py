"""What a unit comes to with a fix is worked out once for all fixes that change the same for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from suture.compile import database, host
from suture.compile.tree import Tree
from suture.compile.unit import Unit
from suture.make import comparison
from suture.make.account import Compared
from suture.make.comparison import Known, compared
from suture.progress import Progress
from suture.source.fix import Fix, parse

ONE = "--- a/one.c\n+++ b/one.c\n@@ -1 +1 @@\n-int one(void) { return 1; }\n+int one(void) { return 3; }\n"
TWO = "--- a/two.c\n+++ b/two.c\n@@ -1 +1 @@\n-int two(void) { return 2; }\n+int two(void) { return 4; }\n"
NOTED = ONE.replace("+int", "+/* why */\n+int").replace("return 3", "return 1").replace("+1 @@", "+1,2 @@")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "tree"
    root.mkdir()
    (root / "one.c").write_text("int one(void) { return 1; }\n")
    (root / "two.c").write_text("int two(void) { return 2; }\nint main(void) { return two(); }\n")
    database.build(["sh", "-c", "gcc -O2 -c one.c; gcc -O2 -c two.c; gcc -o prog *.o"], root)
    return host.open_tree(root, root / "prog")


def fix(text: str) -> Fix:
    return parse(text, "x.patch")


def changed(tree: Tree, text: str, known: Known) -> dict[str, set[str]]:
    found = compared(tree, tree.post(fix(text)), tree.units, known=known)
    by_source = {u.source: found[u.object].difference for u in tree.units}
    return {n: set(d.changed) for n, d in by_source.items() if d is not None}


def test_another_fix_for_the_same_unit_is_compared_and_the_same_one_is_not(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = comparison._compared

    def counting(tree: Tree, post: Tree, units: Sequence[Unit], progress: Progress) -> dict[str, Compared]:
        asked.append(len(units))
        return real(tree, post, units, progress)

    monkeypatch.setattr(comparison, "_compared", counting)
    known: Known = {}
    assert changed(tree, ONE, known) == {"one.c": {"one"}}
    assert changed(tree, ONE + TWO, known) == {"one.c": {"one"}, "two.c": {"two", "main"}}
    assert changed(tree, TWO, known) == {"two.c": {"two", "main"}}
    assert changed(tree, NOTED, known) == {}
    assert asked == [2, 1, 1, 1], "not known yet: all, two.c changed, one.c as it was, one.c with a comment"


def test_what_is_known_says_the_same_as_looking_again(tree: Tree) -> None:
    known: Known = {}
    for text in (ONE, NOTED, TWO, ONE + TWO, ONE):
        post = tree.post(fix(text))
        assert compared(tree, post, tree.units, known=known) == compared(tree, post, tree.units)
