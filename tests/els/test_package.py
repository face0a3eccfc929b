"""Which fixes go into a package by themselves. Building whole packages of the archive is tests/cli/test_els.py's."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.els.need import fixed
from suture.els.package import PackageWish, meant, sort
from suture.els.patching import difference
from suture.error import Refused
from tests.els.made_up import package

OLD = """int f(int n)
{
  return n;
}

int g(int n)
{
  return n + 1;
}

int h(int n)
{
  return f(n);
}

int i(int n)
{
  return n;
}
"""
GUARDED = OLD.replace("  return n;", "  if (n < 0)\n    return 0;\n  return n;", 1)
BOTH = GUARDED.replace("return n + 1;", "return n + 2;")


def test_a_fix_that_needs_a_look_stays_out_until_it_is_asked_for(tmp_path: Path) -> None:
    patches = [("CVE-2026-1111.patch", "x", {"a.c": GUARDED}), ("CVE-2026-2222.patch", "x", {"a.c": BOTH})]
    # the old release calls a parameter otherwise, so that only the tokens of the second fix fit
    other = OLD.replace("int g(int n)\n{\n  return n + 1;", "int g(int n)\n{\n  return  n + 1; /* plus */")
    old = package(tmp_path, "1.0-1", {"a.c": other})
    newer = package(tmp_path, "1.1-1", {"a.c": OLD}, patches)
    first = sort(fixed(newer), PackageWish(old, newer))
    assert [f.need.cves for f in first.inside] == [("CVE-2026-1111",)]
    assert [n.cves for n, _ in first.left_out] == [("CVE-2026-2222",)]
    both = sort(fixed(newer), PackageWish(old, newer, with_review=True))
    assert [f.need.cves for f in both.inside] == [("CVE-2026-1111",), ("CVE-2026-2222",)]
    assert meant(both.inside).functions == {"f", "g", "h"}  # h calls f, and may hold a copy of it


def test_lines_that_two_fixes_move_are_counted_from_the_first_text_to_the_last(tmp_path: Path) -> None:
    twice = GUARDED.replace("  return n + 1;", "  n++;\n  n--;\n  return n + 1;")
    patches = [("CVE-2026-1111.patch", "x", {"a.c": GUARDED}), ("CVE-2026-2222.patch", "x", {"a.c": twice})]
    newer, old = package(tmp_path, "1.1-1", {"a.c": OLD}, patches), package(tmp_path, "1.0-1", {"a.c": OLD})
    moved = meant(sort(fixed(newer), PackageWish(old, newer)).inside).moved
    lines, after = OLD.split("\n"), twice.split("\n")
    assert all(lines[a - 1] == after[b - 1] for a, b in moved)
    last = lines.index("int i(int n)") + 1
    assert (last, last + 4) in moved and (1, 1) not in moved


def test_a_patch_of_a_person_takes_the_place_of_what_would_be_carried(tmp_path: Path) -> None:
    newer = package(tmp_path, "1.1-1", {"a.c": OLD}, [("CVE-2026-1111.patch", "x", {"a.c": GUARDED})])
    old = package(tmp_path, "1.0-1", {"a.c": OLD.replace("return n;", "return (n);", 1)})
    mine = difference("a.c", OLD.replace("return n;", "return (n);", 1), GUARDED)
    wish = PackageWish(old, newer, by_hand={"CVE-2026-1111": mine})
    [fix] = sort(fixed(newer), wish).inside
    assert fix.found.carried[0].after == GUARDED
    with pytest.raises(Refused, match="CVE-2026-9999"):
        sort(fixed(newer), PackageWish(old, newer, by_hand={"CVE-2026-9999": mine}))
