"""What differs in a file, by runs of lines, their statements and functions."""

from __future__ import annotations

import difflib
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

OLD = """\
struct ops {
	int (*dump)(struct a *,
			struct b *);
	int (*validate)(struct a *,
			struct b **b);
	int more;
};

enum { ONE, TWO,
       THREE };

#define GET(mask, reg) \\
	((reg) & (mask))

static __must_hold(x) int first(struct a *a,
				struct b *b)
{
	int y = 1;

	if (y)
		step(a,
			b);

	/* twice (or more */
	return y;
}

int second(void)
{
	return first(0, 0);
}
"""
NEW = (
    OLD.replace("struct b *);", "struct b *, bool reset);")
    .replace("struct b **b);", "void);")
    .replace("TWO,\n", "TWO = 4,\n")
    .replace("((reg)", "((fresh)")
    .replace("struct b *b)\n{", "struct b *b, bool reset)\n{")
    .replace("			b);", "			reset);")
    .replace("twice", "thrice")
    .replace("int second(void)\n{\n", "int second(void)\n{\n\tinto();\n")
)


@pytest.fixture(scope="module")
def module() -> Iterator[ModuleType]:
    folder = str(Path(__file__).resolve().parents[2] / "bench")
    sys.path.insert(0, folder)
    yield importlib.import_module("kernel_run")
    sys.path.remove(folder)


def difference(old: str, new: str) -> str:
    return "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "a/f.c", "b/f.c"))


def test_two_members_of_one_hunk_are_two_runs(module: ModuleType) -> None:
    found = module.runs(difference(OLD, NEW), OLD, NEW)
    assert [(r.at, len(r.removed), len(r.added)) for r in found] == [
        (2, 1, 1), (4, 1, 1), (8, 1, 1), (12, 1, 1), (15, 1, 1), (21, 1, 1), (23, 1, 1), (29, 0, 1),
    ]  # fmt: skip
    assert "dump" in found[0].words and "validate" not in found[0].words
    assert "validate" in found[1].words and "more" not in found[1].words


def test_statements_are_whole_and_no_more_than_that(module: ModuleType) -> None:
    found = module.runs(difference(OLD, NEW), OLD, NEW)
    assert found[2].words >= {"TWO"} and "THREE" not in found[2].words and "ONE" not in found[2].words - {"ONE", "TWO"}
    assert found[3].words == {"define", "GET", "fresh"}, "what a macro calls its arguments is no name"
    assert "first" in found[4].words and found[4].functions == ("__must_hold", "first")
    assert found[5].words == {"if", "y", "step", "a", "b", "reset"} and "first" in found[5].functions
    assert found[6].words == frozenset(), "words of a comment are none"
    assert found[7].functions == ("second",) and found[7].words == {"into"}


def test_what_shares_a_name_that_comes_is_one_change(module: ModuleType) -> None:
    own = module.runs(difference(OLD, NEW), OLD, NEW)
    assert [[own.index(r) for r in g] for g in module.groups(own, OLD, NEW)] == [[0, 4, 5], [1], [2], [3], [6], [7]]


@pytest.mark.parametrize("wanted", [range(8), [0], [1, 7], [2, 3, 4], [5, 6]])
def test_a_difference_of_some_runs_applies_and_makes_these(
    module: ModuleType, tmp_path: Path, wanted: list[int]
) -> None:
    own = module.runs(difference(OLD, NEW), OLD, NEW)
    some = [own[n] for n in wanted]
    (tmp_path / "f.c").write_text(OLD)
    text = module.written("f.c", OLD, list(reversed(some)))
    subprocess.run(["patch", "--strip=1", "--fuzz=0", "--quiet"], input=text, text=True, cwd=tmp_path, check=True)
    made = (tmp_path / "f.c").read_text()
    assert {(r.removed, r.added) for r in module.runs(difference(OLD, made))} == {(r.removed, r.added) for r in some}
    assert len(wanted) < 8 or made == NEW


def test_a_file_that_is_new(module: ModuleType, tmp_path: Path) -> None:
    text = module.written("f.h", "", [module.Run(0, 0, (), ("int a;", "int b;"))])
    assert text == "--- /dev/null\n+++ b/f.h\n@@ -0,0 +1,2 @@\n+int a;\n+int b;\n"
    subprocess.run(["patch", "--strip=1", "--quiet"], input=text, text=True, cwd=tmp_path, check=True)
    assert (tmp_path / "f.h").read_text() == "int a;\nint b;\n"


def test_lines_that_bring_only_includes(module: ModuleType) -> None:
    assert module.Run(3, 3, (), ("#include <a.h>", "")).only_includes
    assert not module.Run(3, 3, ("int x;",), ("#include <a.h>",)).only_includes
    assert not module.Run(3, 3, (), ("",)).only_includes


def test_runs_whose_braces_belong_together(module: ModuleType) -> None:
    old = (
        "int f(int a)\n{\n\tone();\n\n\tif (a)\n\t\ttwo();\n\telse\n\t\tthree();\n\tfour();\n}\n\n"
        "int g(void)\n{\n\treturn 1;\n}\n"
    )
    new = old.replace("one()", "uno()").replace("if (a)", "if (a) {").replace("\telse", "\t} else").replace("1;", "2;")
    own = module.runs(difference(old, new), old, new)
    assert [[own.index(r) for r in module.whole(own)[x]] for x in own] == [[0], [1, 2], [1, 2], [3]]
    broken = old.replace("if (a)", "if (a) {").replace("1;", "2;")
    own = module.runs(difference(old, broken), old, broken)
    assert [len(module.whole(own)[x]) for x in own] == [1, 1], "no function lends braces to another"
