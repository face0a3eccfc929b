"""Which CVEs fixes that are made together claim, and which they only name."""

from __future__ import annotations

import pytest

from suture.source.claim import as_told, together, told
from suture.source.fix import Fix, parse

DIFF = "--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-old\n+new\n"
ONE, TWO = "CVE-2025-1111", "CVE-2025-2222"


def fixes(*names: str) -> list[Fix]:
    return together([parse(DIFF, name) for name in names])


def reasons(*names: str) -> list[str]:
    return [n.reason for f in fixes(*names) for n in f.named]


def test_all_parts_by_their_names_claim_together() -> None:
    assert [f.cves for f in fixes(f"{ONE}-2.patch", f"{ONE}-1.patch")] == [(ONE,), (ONE,)]
    assert [f.cves for f in fixes(f"{ONE}_0001-a.patch", f"{ONE}_0002-b.patch", f"{ONE}-3.patch")] == [(ONE,)] * 3
    assert [f.cves for f in fixes(f"{ONE}-a.patch", f"{ONE}-b.patch")] == [(ONE,), (ONE,)]
    assert [f.named for f in fixes(f"{ONE}-part1.patch", f"{ONE}-part2.patch")] == [(), ()]


@pytest.mark.parametrize(
    ("names", "word"),
    [
        ((f"{ONE}-1.patch",), "no other part"),
        ((f"{ONE}-2.patch",), "part 1 was not given"),
        ((f"{ONE}-1.patch", f"{ONE}-3.patch"), "part 2 was not given"),
        ((f"{ONE}-1of3.patch", f"{ONE}-2of3.patch"), "part 3 was not given"),
        ((f"{ONE}-1.patch", f"{TWO}-2.patch"), "was not given"),
    ],
)
def test_a_part_alone_claims_nothing_and_says_why(names: tuple[str, ...], word: str) -> None:
    assert [f.cves for f in fixes(*names)] == [()] * len(names)
    assert any(word in r for r in reasons(*names))


@pytest.mark.parametrize("half", [f"{ONE}-2.patch", f"{ONE}-part2.patch", f"{ONE}-pre1.patch"])
def test_whatever_is_named_for_a_cve_that_another_claims_has_to_be_whole_too(half: str) -> None:
    assert [f.cves for f in fixes(f"{ONE}.patch", half)] == [(ONE,), (ONE,)]


def test_a_patch_that_only_mentions_a_cve_names_it_and_is_not_needed_for_it() -> None:
    found = together(
        [parse(f"Title\n\nLike {ONE}, which was found first.\n{DIFF}", "x.patch"), parse(DIFF, f"{ONE}.patch")]
    )
    assert [f.cves for f in found] == [(), (ONE,)]
    assert [(n.cve, n.is_part) for n in found[0].named] == [(ONE, False)] and "mentions" in found[0].named[0].reason


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (f"Subject: Partial fix of {ONE}\n\n", "partial fix"),
        (f"Subject: [PATCH 1/3] x\n\nThis fixes {ONE}.\n", "1 of a series of 3"),
        (f"Title\n\nThis mitigates {ONE}.\n", "mitigates"),
    ],
)
def test_a_patch_that_is_less_than_the_fix_names_it_with_the_reason(text: str, word: str) -> None:
    (found,) = together([parse(text + DIFF, "x.patch")])
    assert found.cves == () and [n.cve for n in found.named] == [ONE]
    assert word in found.named[0].reason.lower() and found.named[0].is_part


PROSE = f"From: somebody\nSubject: x: fix an overflow\nBug: https://example.org/{ONE}\nSimilar to {TWO}.\n---\n"


def test_what_a_patch_says_of_itself_is_kept_beside_its_changes() -> None:
    """The changes alone do not tell it, so that a patch of them could not be made again with the same bytes."""
    whole = parse(PROSE + DIFF, "overflow.patch")
    alone = parse(whole.text, whole.name)
    assert whole.cves == (ONE,) and [n.cve for n in whole.named] == [TWO] and alone.cves == ()
    again = as_told(alone, told(whole))
    assert (again.cves, again.named, again.sha256) == (whole.cves, whole.named, whole.sha256)


@pytest.mark.parametrize("text", ["", "7", "[]", "[[],[[1]]]", "[[1],[]]", '[["CVE-2025-1111"],[["a","b","c"]]]', "{}"])
def test_claims_that_nobody_told_are_no_claims(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        as_told(parse(DIFF, "x.patch"), text)
