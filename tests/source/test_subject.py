"""Which CVEs a fix is for, by what its patch says."""

from __future__ import annotations

import pytest

from suture.source.fix import parse

DIFF = "--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-old\n+new\n"
HASH = "0123456789" * 4


@pytest.mark.parametrize(
    ("prose", "cves"),
    [
        ("Description: fixes CVE-2025-1111\n CVE-2025-2222\nAuthor: a\n", {"1111", "2222"}),
        ("Description: stop an overflow\n This is like CVE-2025-1111, which was found first.\n", set()),
        ("Subject: [PATCH 1/1] Overflow in x\n (CVE-2025-1111)\nDate: today\n\nRelated: CVE-2025-2222\n", {"1111"}),
        ("Subject: Fix a regression of CVE-2025-1111\n", set()),
        ("Subject: CVE-2025-1111: mend the incomplete fix of CVE-2025-2222\n", {"1111"}),
        ("Bug-Debian-Security: https://x.org/CVE-2025-1111\nOrigin: https://x.org/CVE-2025-2222.patch\n",
        {"1111", "2222"}),
        ("CVE: CVE-2025-1111 CVE-2025-2222\nUpstream-Status: Backport\n", {"1111", "2222"}),
        ("Fixes: CVE-2025-1111\nReported-by: who found CVE-2025-2222\n", {"1111"}),
        ("Title\n\nThis fixes CVE-2025-1111, CVE-2025-2222 and CVE-2025-3333.\n", {"1111", "2222", "3333"}),
        ("Title\n\nThe check was broken by the fix of CVE-2025-1111. It fixes\nCVE-2025-2222 now.\n", {"2222"}),
        ("Title\n\nThis fixes CVE-2025-1111 (similar to CVE-2025-2222).\n", {"1111"}),
        ("Title\n\nSee CVE-2025-1111 for the same mistake elsewhere.\n", set()),
        ("Title\n\nCVE-2025-1111\n", {"1111"}),
        (f"commit {HASH}\nAuthor: a\nDate:   b\n\n    x: no overflow (CVE-2025-1111)\n\n"
            "    Needed for CVE-2025-2222.\n", {"1111"}),
        (f"From {HASH} Mon\nFrom: a\nSubject: one CVE-2025-1111\n---\n x.c | 2 +-\n", {"1111"}),
        ("# HG changeset patch\n# User a\nCVE-2025-1111 x: check\n", {"1111"}),
        ("", set()),
    ],
)  # fmt: skip
def test_a_number_counts_where_the_patch_says_what_it_is(prose: str, cves: set[str]) -> None:
    assert set(parse(prose + DIFF, "x.patch").cves) == {f"CVE-2025-{n}" for n in cves}


@pytest.mark.parametrize(
    ("name", "cves"),
    [
        ("CVE-2025-1111.patch", ("CVE-2025-1111",)),
        ("CVE-2025-1111+CVE-2025-2222.diff", ("CVE-2025-1111", "CVE-2025-2222")),
        ("0001-CVE-2025-1111-x-2.36.patch", ("CVE-2025-1111",)),
        ("CVE-2025-1111-2.36.patch", ("CVE-2025-1111",)),
        ("CVE-2025-1111+CVE-2025-2222-2.diff", ()),
        ("CVE-2025-1111-1.patch", ()),
        ("CVE-2025-1111_0001-check-the-length.patch", ()),
        ("CVE-2025-1111-b.patch", ()),
        ("CVE-2025-1111-1of2.patch", ()),
        ("CVE-2025-1111-pre1.patch", ()),
        ("CVE-2025-1111-test.patch", ()),
        ("CVE-2025-1111-part2.patch", ()),
        ("CVE-2025-1111-mitigation.patch", ()),
    ],
)
def test_the_name_of_the_file_counts_unless_it_says_that_it_only_comes_before(name: str, cves: tuple[str, ...]) -> None:
    assert parse(DIFF, name).cves == cves


@pytest.mark.parametrize(
    "prose",
    [
        "CVE-2025-1111: part 1 of 2",
        "Subject: [PATCH 1/3] fix CVE-2025-1111",
        "Subject: [PATCH v2 02/17] x: check the length\n\nThis fixes CVE-2025-1111.",
        "Partial mitigation for CVE-2025-1111",
        "Test for CVE-2025-1111 added",
        "Subject: Add tests for CVE-2025-1111",
        "CVE-2025-1111 remains open; a follow-up patch is needed",
        "Backport only the first hunk for CVE-2025-1111",
        "Documentation of CVE-2025-1111",
        "This patch almost fixes CVE-2025-1111",
        "Fixes a crash that the patch for CVE-2025-1111 left behind",
        "Backport for CVE-2025-1111 (the second hunk is left out)",
        "Bug: CVE-2025-1111\nApplied-Upstream: no, this reverts it",
        "Lowers the impact of CVE-2025-1111",
        "Logs attempts at CVE-2025-1111",
        "Makes CVE-2025-1111 harder to exploit",
        "Hardening for CVE-2025-1111",
        "Description: fix CVE-2025-1111 (TODO: second half)",
        "Title\n\nThis mitigates CVE-2025-1111.",
        "Title\n\nThis fixes CVE-2025-1111 in part.",
    ],
)
def test_a_patch_that_says_it_is_less_than_the_fix_claims_nothing(prose: str) -> None:
    assert parse(f"{prose}\n\n{DIFF}", "x.patch").cves == ()


@pytest.mark.parametrize(
    "title",
    [
        "[CVE-2025-1111] schemas: Fix heap buffer overflow in the log",
        "CVE-2025-1111: add a missing check to logging",
        "server: read no header without its end (CVE-2025-1111)",
        "ssl: an attempt to read past the end fails (CVE-2025-1111)",
        "lib: Detect integer overflow in dtdCopy (CVE-2025-1111)",
        "net/sched: fix pedit partial COW (CVE-2025-1111)",
        "x: multipart bodies of a limited size (CVE-2025-1111)",
    ],
)
def test_a_plain_fix_claims_its_cve_whatever_it_is_about(title: str) -> None:
    found = parse(f"Subject: {title}\n\nA test is added. What still works stays as it was.\n\n{DIFF}", "x.patch").cves
    assert found == ("CVE-2025-1111",)


def test_the_name_of_a_file_claims_for_a_patch_of_a_series() -> None:
    assert parse(f"Subject: [PATCH 1/3] x: check\n\n{DIFF}", "CVE-2025-1111.patch").cves == ("CVE-2025-1111",)
    assert parse(f"Subject: [PATCH 1/3] Partial fix\n\n{DIFF}", "CVE-2025-1111.patch").cves == ()


def test_what_the_changed_lines_say_does_not_count() -> None:
    assert parse(DIFF.replace("+new", "+/* CVE-2025-1111 */"), "x.patch").cves == ()
