"""Changes of a new version that a patch of another version shows to be for a CVE."""

from __future__ import annotations

import difflib
import subprocess
from pathlib import Path

from suture.source.archive import SourceVersion
from suture.source.fix import Fix, parse
from suture.source.split import as_one, single_changes
from suture.source.witness import Witness, of_version, shown

FIRST = "  if (size > buffer->room - 1) return -EINVAL;\n"
PARTS = ("int first(int a)\n{\n", "  return a + 1;\n}\n\n\n\n\n\nint second(int a)\n{\n", "  return 0;\n}\n")
OLD = "".join(PARTS)
LATER = "\n\n\n\n\nint third(int a)\n{\n  return a * 3;\n}\n"


def change(**files: tuple[str, str]) -> str:
    found = ""
    for name, (old, new) in files.items():
        path = name.replace("_", "/") + ".c"
        found += "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), f"a/{path}", f"b/{path}"))
    return found


def changes(**files: tuple[str, str]) -> tuple[Fix, ...]:
    whole = parse(change(**files), "old-to-new")
    texts = {name.replace("_", "/") + ".c": pair for name, pair in files.items()}
    return single_changes(whole, lambda path: texts[path][0], lambda path: texts[path][1])


def patch(text: str, cve: str = "CVE-2026-1001", name: str = "fix.patch") -> Witness:
    return Witness(cve, "1.0-1", (parse(text, name),))


def with_check(line: str = FIRST, second: str = "  return 0;\n") -> str:
    return PARTS[0] + line + PARTS[1] + second + "}\n"


def test_a_change_with_all_lines_of_the_patch_is_for_its_cve_and_the_others_stay() -> None:
    new = (OLD + LATER, with_check(second="  return 1;\n") + LATER.replace("a * 3", "a * 4"))
    given = changes(a=new)
    fixes, rest = shown(given, [patch(change(a=(OLD, with_check())))])
    assert len(given) == 3 and [f.cves for f in fixes] == [("CVE-2026-1001",)] and len(rest) == 2
    assert fixes[0].name == "CVE-2026-1001 (as in fix.patch of 1.0-1)" and FIRST in fixes[0].text
    assert "a * 4" not in fixes[0].text and all(not f.cves for f in rest)


def test_blanks_do_not_count_and_one_missing_line_shows_nothing() -> None:
    tabs = FIRST.replace("  if", "\tif")
    given = changes(a=(OLD, with_check(tabs)))
    assert shown(given, [patch(change(a=(OLD, with_check())))])[0][0].cves == ("CVE-2026-1001",)
    more = patch(change(a=(OLD, with_check(FIRST + "  buffer->room -= size;\n"))))
    assert shown(given, [more]) == ((), given)
    elsewhere = patch(change(b=(OLD, with_check())))
    assert shown(given, [elsewhere]) == ((), given)
    removed = patch(change(a=(OLD, with_check(second="  return 2;\n"))))
    assert shown(given, [removed]) == ((), given)


def test_of_several_witnesses_the_first_that_is_found_whole_tells() -> None:
    given = changes(a=(OLD, with_check()))
    lacking = patch(change(a=(OLD, with_check(FIRST + "  other(buffer);\n"))), name="longer.patch")
    (fix,), _ = shown(given, [lacking, patch(change(a=(OLD, with_check())))])
    assert fix.name == "CVE-2026-1001 (as in fix.patch of 1.0-1)"


def test_the_same_check_at_a_second_place_belongs_to_the_fix() -> None:
    given = changes(a=(OLD, with_check()), b=(OLD, with_check()), c=(OLD, with_check("  log(a);\n")))
    (fix,), rest = shown(given, [patch(change(a=(OLD, with_check())))])
    assert [f.path for f in fix.files] == ["a.c", "b.c"] and len(rest) == 1


def test_a_line_that_stands_everywhere_brings_no_other_change_with_it() -> None:
    common = "  return -1;\n"
    new = with_check("  check(a);\n" + common, second=common + "  return 0;\n")
    given = changes(a=(OLD, new))
    (fix,), rest = shown(given, [patch(change(a=(OLD, with_check("  check(a);\n" + common))))])
    assert len(given) == 2 and len(rest) == 1 and "check(a)" in fix.text


def test_two_cves_that_share_a_change_are_one_fix() -> None:
    both = with_check(FIRST + "  log(a);\n")
    given = changes(a=(OLD, both))
    one = patch(change(a=(OLD, with_check())))
    two = patch(change(a=(OLD, with_check("  log(a);\n"))), "CVE-2026-2002")
    (fix,), rest = shown(given, [one, two])
    assert fix.cves == ("CVE-2026-1001", "CVE-2026-2002") and rest == ()


def test_what_is_a_test_or_a_document_is_not_looked_for() -> None:
    given = changes(a=(OLD, with_check()))
    text = change(a=(OLD, with_check()), tests_a=("", "int main(void) { return first(1); }\n"))
    assert len(shown(given, [patch(text)])[0]) == 1
    assert shown(given, [patch(change(tests_a=("", "int main(void) { return first(1); }\n")))]) == ((), given)


def test_the_parts_of_a_fix_in_several_patches_are_one_witness(tmp_path: Path) -> None:
    patches = tmp_path / "debian" / "patches"
    patches.mkdir(parents=True)
    (patches / "series").write_text(
        "CVE-2026-1001-1.patch\nCVE-2026-1001-2.patch\nCVE-2026-2002-1.patch\nother.patch\n"
    )
    (patches / "CVE-2026-1001-1.patch").write_text(change(a=(OLD, with_check())))
    (patches / "CVE-2026-1001-2.patch").write_text(change(b=(OLD, with_check())))
    (patches / "CVE-2026-2002-1.patch").write_text("no diff")
    (patches / "other.patch").write_text(change(c=(OLD, with_check())))
    found = list(
        of_version(SourceVersion("x", "1-1", "bullseye", tmp_path, tmp_path), ["CVE-2026-1001", "CVE-2026-2002"])
    )
    assert [(w.cve, w.name) for w in found] == [
        ("CVE-2026-1001", "CVE-2026-1001-1.patch, CVE-2026-1001-2.patch of 1-1")
    ]
    assert shown(changes(a=(OLD, with_check())), found)[0] == ()
    assert len(shown(changes(a=(OLD, with_check()), b=(OLD, with_check())), found)[0]) == 1


def test_changes_as_one_have_their_hunks_in_the_order_of_the_file(tmp_path: Path) -> None:
    new = with_check(second="  return 1;\n") + LATER.replace("a * 3", "a * 4")
    one, two, three = changes(a=(OLD + LATER, new))
    whole = as_one([three, one, two], "whole")
    (tmp_path / "a.c").write_text(OLD + LATER)
    subprocess.run(["patch", "-p1", "--fuzz=0"], input=whole.text, cwd=tmp_path, text=True, check=True)
    assert (tmp_path / "a.c").read_text() == new and (whole.name, whole.cves) == ("whole", ())
