"""Diffs file by file: what stands between them is prose, and a hunk is as long as it says."""

from __future__ import annotations

import pytest

from suture.error import Refused
from suture.source.unified_diff import file_diffs, lines_of

ONE = "--- a/lib/x.c\n+++ b/lib/x.c\n@@ -1,2 +1,2 @@\n-old\n+new\n same\n"


def test_only_a_newline_ends_a_line() -> None:
    assert lines_of("a\fb\r\nc\x85d\u2028e\n") == ["a\fb\r\n", "c\x85d\u2028e\n"]
    assert lines_of("a\n\nb") == ["a\n", "\n", "b\n"] and lines_of("") == []


def test_each_file_has_its_hunks_and_the_rest_is_prose() -> None:
    prose: list[str] = []
    text = f"Subject: one\n{ONE}between\n{ONE.replace('x.c', 'y.c')}@@ -9 +9 @@\n-a\n+b\n-- \n2.39\n"
    first, second = file_diffs(lines_of(text), prose, "fix")
    assert prose == ["Subject: one\n", "between\n", "-- \n", "2.39\n"]
    assert (first.old, first.new, len(first.hunks)) == ("a/lib/x.c", "b/lib/x.c", 4)
    assert second.old == "a/lib/y.c" and "".join(second.hunks).count("@@ -") == 2


def test_what_git_says_of_a_file_without_hunks_is_a_change_of_it() -> None:
    text = (
        "diff --git a/old name.c b/new name.c\nsimilarity index 100%\nrename from old name.c\nrename to new name.c\n"
        "diff --git a/run b/run\nold mode 100644\nnew mode 100755\n"
        "diff --git a/none b/none\nindex 123..456\n"
    )
    moved, made = file_diffs(lines_of(text), [], "fix")
    assert (moved.old, moved.new, moved.moves, moved.hunks) == ("a/old name.c", "b/new name.c", True, [])
    assert (made.old, made.new, made.creates, made.deletes) == ("a/run", "b/run", False, False)


@pytest.mark.parametrize(
    ("text", "line"),
    [(ONE.removesuffix(" same\n"), 6), ("@@ -1 +1 @@\n-a\n+b\n", 1), ("x\n--- a/x\n+++ b/x\nno hunk\n", 4)],
)
def test_what_is_cut_off_is_refused_by_its_line(text: str, line: int) -> None:
    with pytest.raises(Refused, match=f"fix: line {line}: "):
        list(file_diffs(lines_of(text), [], "fix"))
