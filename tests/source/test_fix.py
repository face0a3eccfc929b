"""Unified diffs: read by their counts, with the path stripped as patch(1) would."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suture.error import Refused
from suture.source.fix import parse, read

ONE = "--- a/lib/x.c\n+++ b/lib/x.c\n@@ -1,2 +1,2 @@\n-old\n+new\n same\n"


def test_files_hunks_and_cves_are_read() -> None:
    fix = parse("Description: fixes CVE-2025-1234\n\n" + ONE + ONE.replace("x.c", "y.h"), "fix")
    assert [f.path for f in fix.files] == ["lib/x.c", "lib/y.h"]
    assert fix.cves == ("CVE-2025-1234",)
    assert fix.files[0].text == ONE


def test_a_removed_line_that_looks_like_a_header_is_no_header() -> None:
    text = "--- a/x.c\n+++ b/x.c\n@@ -1,3 +1,1 @@\n--- a/z.c\n-++ b/z.c\n x\n"
    assert [f.path for f in parse(text, "fix").files] == ["x.c"]


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("pkg.orig/lib/x.c", "pkg/lib/x.c", "lib/x.c"),
        ("lib/x.c", "lib/x.c", "lib/x.c"),
        ("a/lib/x.c", "/dev/null", "lib/x.c"),
    ],
)
def test_names_are_stripped_by_one_or_none_as_the_source_has_them(old: str, new: str, path: str) -> None:
    text = f"--- {old}\t2020-01-01\n+++ {new}\n@@ -1 +1 @@\n-a\n+b\n"
    assert parse(text, "fix", lambda p: p == "lib/x.c").files[0].path == path


STAMPS = ("2016-02-02 18:05:48.880037651 +0300", "2016-02-02 18:05:48", "Tue Feb  2 18:05:48 2016", "(revision 12)")


@pytest.mark.parametrize("stamp", STAMPS)
@pytest.mark.parametrize("gap", ["\t", " ", "     ", " \t "])
def test_a_time_behind_a_name_is_no_part_of_it_whatever_stands_between(stamp: str, gap: str) -> None:
    text = f"--- a/lib/a.c{gap}{stamp}\n+++ b/lib/a.c{gap}{stamp}\n@@ -1 +1 @@\n-a\n+b\n"
    assert [f.path for f in parse(text, "fix").files] == ["lib/a.c"]


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("a/my file.c", "my file.c"),
        ("a/my file.c\t2016-02-02 18:05:48", "my file.c"),
        ("a/Mon 12.c", "Mon 12.c"),
        (r'"a/na\303\257ve\"\t.c"', 'na\xefve"\t.c'),
        (r'"a/x.c" 2016-02-02 18:05:48', "x.c"),
    ],
)
def test_names_with_blanks_and_quoted_names_are_whole(written: str, path: str) -> None:
    text = f"--- {written}\n+++ {written}\n@@ -1 +1 @@\n-a\n+b\n"
    assert [f.path for f in parse(text, "fix").files] == [path]


def test_a_patch_whose_headers_end_in_carriage_returns_is_read_without_them() -> None:
    """As patch(1) does; a patch of a file with such lines has them in its hunks alone, and keeps them."""
    assert parse(ONE.replace("\n", "\r\n"), "fix").files == parse(ONE, "fix").files


GIT = """diff --git a/x.c b/y.c
similarity index 90%
rename from x.c
rename to y.c
index 1..2 100644
--- a/x.c
+++ b/y.c
@@ -1 +1 @@
-a
+b
diff --git a/run.sh b/run.sh
old mode 100644
new mode 100755
diff --git a/empty.h b/empty.h
new file mode 100644
index 0..0
diff --git "a/gone \\303\\251.h" "b/gone \\303\\251.h"
deleted file mode 100644
index 0..0
diff --git a/t.png b/t.png
index 1..2 100644
GIT binary patch
literal 3
KcmZQzfB+Q$00962

literal 3
KcmZQzfB+Q$00962

diff --git a/u.bin b/u.bin
index 1..2
Binary files a/u.bin and b/u.bin differ
diff --git a/old.h b/new.h
similarity index 100%
copy from old.h
copy to new.h
-- 
2.39
"""


def test_what_only_gits_headers_tell_is_not_passed_over() -> None:
    found = {f.path: f for f in parse(GIT, "fix").files}
    assert list(found) == ["y.c", "run.sh", "empty.h", "gone \xe9.h", "t.png", "u.bin", "new.h"]
    assert found["y.c"].source == "x.c" and found["new.h"].source == "old.h" and not found["run.sh"].source
    assert found["empty.h"].creates and found["gone \xe9.h"].deletes
    assert [p for p, f in found.items() if f.is_binary] == ["t.png", "u.bin"]


BINARY = """diff --git a/data.bin b/data.bin
index 1..2 100644
GIT binary patch
literal 3
KcmZQzfB+Q$00962

literal 3
KcmZQzfB+Q$00962

"""


@pytest.mark.parametrize(
    ("before", "path", "is_binary"),
    [
        (BINARY, "data.bin", True),
        (
            "diff --git a/data.bin b/data.bin\nindex 1..2\nBinary files a/data.bin and b/data.bin differ\n",
            "data.bin",
            True,
        ),
        ("Binary files a/data.bin and b/data.bin differ\ndiff -ru a/x.c b/x.c\n", "data.bin", True),
        ("Binary files old/a and b/c d and new/a and b/c d differ\n", "a and b/c d", True),
        ("Binary files /dev/null and b/new.png differ\n", "new.png", True),
        ("diff --git a/Makefile b/Makefile\nold mode 100644\nnew mode 100755\n", "Makefile", False),
        ("diff --git a/dir one/a b b/dir one/a b\nold mode 100644\nnew mode 100755\n", "dir one/a b", False),
        ("diff --git a/empty.h b/empty.h\nnew file mode 100644\nindex 0..0\n", "empty.h", False),
    ],
)
@pytest.mark.parametrize(
    "after", [ONE, "diff --git a/lib/x.c b/lib/x.c\nindex 1..2 100644\n" + ONE, "Index: lib/x.c\n====\n" + ONE]
)
def test_each_file_keeps_its_own_change_whatever_stands_before_it(
    before: str, path: str, is_binary: bool, after: str
) -> None:
    first, second = parse(before + after, "fix").files
    assert (first.path, first.is_binary, first.has_hunks) == (path, is_binary, False)
    assert (second.path, second.is_binary, second.text) == ("lib/x.c", False, parse(ONE, "fix").files[0].text)
    assert not second.creates and first.changes == (path not in ("Makefile", "dir one/a b"))


def test_a_symbolic_link_is_told_apart_from_a_file() -> None:
    text = (
        "diff --git a/l.h b/l.h\nnew file mode 120000\nindex 0..1\n--- /dev/null\n+++ b/l.h\n@@ -0,0 +1 @@\n"
        "+/etc/shadow\n"
    )
    changed = "diff --git a/l.h b/l.h\nindex 1..2 120000\n--- a/l.h\n+++ b/l.h\n@@ -1 +1 @@\n-a\n+/etc/shadow\n"
    assert [f.is_link for f in (*parse(text + ONE, "fix").files, *parse(changed + ONE, "fix").files)] == [
        True,
        False,
    ] * 2


def test_a_file_that_a_diff_of_folders_only_names_is_refused() -> None:
    with pytest.raises(Refused, match=r"lib/new\.c"):
        parse("Only in b/lib: new.c\n" + ONE, "fix")
    assert parse("Only in rare cases: see below.\n" + ONE, "fix").files


@pytest.mark.parametrize(
    "text",
    [
        ONE + "--- a/y.c\n+++ b/y.c\n@@@ -1 -1 +1 @@@\n- a\n++b\n",
        "@@ -9 +9 @@\n-a\n+b\n" + ONE,
        ONE + "--- a/y.c\n+++ b/y.c\n",
    ],
)
def test_a_hunk_without_a_file_and_a_file_without_a_hunk_are_refused_rather_than_passed_over(text: str) -> None:
    with pytest.raises(Refused):
        parse(text, "fix")


@pytest.mark.parametrize(
    "text",
    [
        "no diff at all\n",
        ONE[:-6],
        "--- a/../x.c\n+++ b/../x.c\n@@ -1 +1 @@\n-a\n+b\n",
        "GIT binary patch\n" + ONE,
        "diff --git a/../x b/y\nrename from ../x\nrename to y\n",
    ],
)
def test_what_is_no_whole_patch_within_the_tree_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse(text, "fix")


def test_form_feeds_and_foreign_bytes_and_carriage_returns_survive(tmp_path: Path) -> None:
    body = b"--- a/x.c\n+++ b/x.c\n@@ -1,3 +1,3 @@\n-a\x0cb\r\n+c\x0cd\r\n \xe9\x1c\n z\n"
    (tmp_path / "p").write_bytes(body)
    assert read(tmp_path / "p").files[0].text.encode(errors="surrogateescape") == body


@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(Refused):
        parse("--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n" + text, "fix")


def test_only_narrows_by_file_folder_and_pattern_and_refuses_nothing_left() -> None:
    fix = parse(ONE + ONE.replace("lib/x.c", "src/y.c"), "fix")
    for pattern in ("lib/x.c", "lib", "lib/", "*x.c"):
        assert [f.path for f in fix.only([pattern]).files] == ["lib/x.c"]
    with pytest.raises(Refused):
        fix.only(["doc"])
