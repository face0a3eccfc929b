"""A difference taken apart into single changes."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace

from suture.source.fix import Fix, parse
from suture.source.split import placed, single_changes

OLD = """\
#include <stdio.h>

static int limit = 3;

int first(int a)
{
  return a + 1;
}

int second(int a) {
  int b = a;



  return b * 2;
}

int third(int a)
{
  return a - 1;
}
"""


def split(changes: dict[str, tuple[str, str]]) -> tuple[Fix, ...]:
    text = "".join(
        "".join(difflib.unified_diff(a.splitlines(True), b.splitlines(True), f"a/{p}", f"b/{p}", n=1))
        for p, (a, b) in changes.items()
    )
    return single_changes(parse(text, "whole"), lambda p: changes[p][0], lambda p: changes[p][1])


def hunks(fix: Fix) -> int:
    return sum(f.text.count("\n@@ ") for f in fix.files)


def test_two_functions_that_change_for_themselves_are_two_changes() -> None:
    new = OLD.replace("a + 1", "a + 2").replace("a - 1", "a - 2")
    assert [hunks(f) for f in split({"x.c": (OLD, new)})] == [1, 1]


def test_two_hunks_of_one_function_are_one_change_also_where_its_brace_ends_the_head() -> None:
    new = OLD.replace("int b = a;", "int b = a + 1;").replace("b * 2", "b * 3")
    assert [hunks(f) for f in split({"x.c": (OLD, new)})] == [2]


def test_what_shares_a_new_name_belongs_together_also_in_another_file() -> None:
    header = "int first(int a);\n"
    new = OLD.replace("return a + 1", "return checked_value(a)")
    found = split({"x.c": (OLD, new), "x.h": (header, header + "int checked_value(int a);\n")})
    assert [[f.path for f in one.files] for one in found] == [["x.c", "x.h"]]


def test_a_name_in_a_comment_joins_nothing() -> None:
    new = OLD.replace("a + 1", "a + 2 /* novel */").replace("a - 1", "a - 2 /* novel */")
    assert len(split({"x.c": (OLD, new)})) == 2


def test_documents_and_tests_are_one_change_of_their_own() -> None:
    found = split(
        {"x.c": (OLD, OLD.replace("a + 1", "a + 2")), "NEWS": ("a\n", "b\n"), "tests/t.c": ("int a;\n", "int b;\n")}
    )
    assert [[f.path for f in one.files] for one in found] == [["x.c"], ["NEWS", "tests/t.c"]]


def test_the_changes_together_are_the_whole_and_name_no_cve() -> None:
    new = OLD.replace("a + 1", "a + 2").replace("a - 1", "a - 2").replace("limit = 3", "limit = 4")
    found = split({"x.c": (OLD, new)})
    assert sum(hunks(f) for f in found) == 3
    assert all(f.cves == () for f in found) and len({f.name for f in found}) == len(found)


def test_changes_that_are_applied_one_after_another_say_where_their_lines_have_moved_to() -> None:
    """Equal lines stand above, where patch(1) would find the hunk's context too."""
    old = "".join(f"{n}\nsame\nsame\nint x;\nsame\nsame\n" for n in range(3))
    new = old.replace("0\n", "0\n" + "more\n" * 6, 1)
    new = new[: new.rindex("int x;")] + "int y;" + new[new.rindex("int x;") + 6 :]
    lines = difflib.unified_diff(old.splitlines(True), new.splitlines(True), "a/f.c", "b/f.c", n=1)
    whole = parse("".join(lines), "whole").files[0]
    head, first, second = re.split(r"^(?=@@ )", whole.text, flags=re.MULTILINE)
    one, two = (Fix(n, (replace(whole, text=head + hunk),)) for n, hunk in (("one", first), ("two", second)))
    assert [h for f in placed((one, two)) for h in re.findall("@@ .* @@", f.text)] == [
        "@@ -1,2 +1,8 @@", "@@ -21,3 +21,3 @@",
    ]  # fmt: skip
    assert [h for f in placed((two, one)) for h in re.findall("@@ .* @@", f.text)] == [
        "@@ -15,3 +15,3 @@", "@@ -1,2 +1,8 @@",
    ]  # fmt: skip
