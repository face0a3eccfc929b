"""Unified diffs: read by their counts, with the path stripped as patch(1) would."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suture.error import Refused
from suture.source.fix import PathKind, classify, parse, read

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


@pytest.mark.parametrize(
    "text",
    ["no diff at all\n", ONE[:-6], "--- a/../x.c\n+++ b/../x.c\n@@ -1 +1 @@\n-a\n+b\n", "GIT binary patch\n" + ONE],
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


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("crypto/x509/v3_addr.c", PathKind.SOURCE),
        ("include/libxml/tree.h", PathKind.HEADER),
        ("sysdeps/x86_64/memcpy.S", PathKind.ASSEMBLY),
        ("include/openssl/x509.h.in", PathKind.GENERATED),
        ("src/backend/parser/gram.y", PathKind.GENERATED),
        ("Makefile.am", PathKind.BUILD),
        ("debian/rules", PathKind.BUILD),
        ("debian/changelog", PathKind.IGNORED),
        ("debian/patches/series", PathKind.IGNORED),
        ("stdlib/tst-qsort.c", PathKind.IGNORED),
        ("test/evp_test.c", PathKind.IGNORED),
        ("CHANGES.md", PathKind.IGNORED),
        ("data/table.bin", PathKind.OTHER),
    ],
)
def test_a_path_has_a_kind(path: str, kind: PathKind) -> None:
    assert classify(path) is kind


def test_only_narrows_by_file_folder_and_pattern_and_refuses_nothing_left() -> None:
    fix = parse(ONE + ONE.replace("lib/x.c", "src/y.c"), "fix")
    for pattern in ("lib/x.c", "lib", "lib/", "*x.c"):
        assert [f.path for f in fix.only([pattern]).files] == ["lib/x.c"]
    with pytest.raises(Refused):
        fix.only(["doc"])
