"""Changed lines by their numbers in the files; the files themselves are the judge."""

from __future__ import annotations

import difflib

from hypothesis import given
from hypothesis import strategies as st

from suture.source.changed_line import ChangedLines, changed_lines
from suture.source.fix import Fix, parse

texts = st.lists(st.sampled_from("abcd") | st.sampled_from(["", "@@ -1 +1 @@", "--- x", "+y"]), min_size=1, max_size=14)


def patch(old: list[str], new: list[str]) -> Fix:
    rows = difflib.unified_diff([x + "\n" for x in old], [x + "\n" for x in new], "a/f.c", "b/f.c", n=1)
    return parse("".join(rows), "x.patch")


def whole(lines: list[str]) -> bytes:
    return "".join(x + "\n" for x in lines).encode()


def lines_of(fixes: list[Fix], old: bytes | None, new: bytes | None) -> dict[int, ChangedLines]:
    found = changed_lines(fixes, lambda _: old, lambda _: new)
    return {number: lines for (number, _), lines in found.items()}


@given(texts, texts)
def test_removed_lines_are_in_the_old_file_and_added_ones_in_the_new(old: list[str], new: list[str]) -> None:
    if old == new:
        return
    fix = patch(old, new)
    lines = lines_of([fix], whole(old), whole(new))[0]
    assert lines.exact
    assert all(old[n - 1] == text for n, text in lines.removed.items())
    assert all(new[n - 1] == text for n, text in lines.added.items())
    rows = [r for r in fix.files[0].text.split("\n")[2:]]
    assert [x for n, x in enumerate(old, 1) if n not in lines.removed] == [
        x for n, x in enumerate(new, 1) if n not in lines.added
    ], rows


@given(texts, texts, texts)
def test_each_of_two_fixes_has_its_own_lines(old: list[str], middle: list[str], new: list[str]) -> None:
    if middle in (old, new):
        return
    found = lines_of([patch(old, middle), patch(middle, new)], whole(old), whole(new))
    assert all(lines.exact for lines in found.values())
    kept_old = [x for n, x in enumerate(old, 1) if n not in {*found[0].removed, *found[1].removed}]
    kept_new = [x for n, x in enumerate(new, 1) if n not in {*found[0].added, *found[1].added}]
    assert kept_old == kept_new
    assert not found[0].added.keys() & found[1].added.keys() and not found[0].removed.keys() & found[1].removed.keys()


def test_a_hunk_that_applies_some_lines_away_has_the_numbers_of_the_file() -> None:
    old, new = ["1", "2", "x", "3"], ["1", "2", "y", "3"]
    lines = lines_of([patch(old, new)], whole(["0"] * 5 + old), whole(["0"] * 5 + new))[0]
    assert (dict(lines.removed), dict(lines.added), lines.exact) == ({8: "x"}, {8: "y"}, True)


def test_where_the_file_with_the_fix_is_another_the_numbers_are_the_patchs_own() -> None:
    lines = lines_of([patch(["1", "x"], ["1", "y", "z"])], whole(["1", "x"]), None)[0]
    assert (dict(lines.removed), dict(lines.added), lines.exact) == ({2: "x"}, {2: "y", 3: "z"}, False)


def test_a_new_file_and_one_that_goes_have_all_their_lines() -> None:
    new = parse("--- /dev/null\n+++ b/f.c\n@@ -0,0 +1,2 @@\n+a\n+b\n", "x")
    gone = parse("--- a/f.c\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-a\n-b\n", "x")
    assert lines_of([new], None, b"a\nb\n")[0].added == {1: "a", 2: "b"}
    assert lines_of([gone], b"a\nb\n", None)[0].removed == {1: "a", 2: "b"}
