"""What a newer version brings: the patches of its series, and single changes of the rest."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Collection
from pathlib import Path

import pytest

from suture.error import Refused
from suture.source.archive import SourceVersion
from suture.source.fix import parse
from suture.source.plan import plan
from suture.source.witness import Witness

CODE = "int first(int a)\n{\n  return a + 1;\n}\n\n\n\n\nint second(int a)\n{\n  return a - 1;\n}\n"
FIXED = CODE.replace("a + 1", "a + 2")


def source(folder: Path, version: str, code: str, patches: dict[str, str], log: str = "") -> SourceVersion:
    tree = folder / version / "tree"
    (tree / "debian/patches").mkdir(parents=True)
    (tree / "x.c").write_text(code)
    (tree / "debian/changelog").write_text(
        f"x ({version}) bookworm; urgency=low\n\n  * {log}\n\n -- N <n@x>  Mon, 01 Jan 2026 00:00:00 +0000\n"
    )
    (tree / "debian/patches/series").write_text("".join(f"{name}\n" for name in patches))
    for name, text in patches.items():
        (tree / "debian/patches" / name).write_text(text)
    return SourceVersion("x", version, "bookworm", folder / "x.dsc", tree)


def diff(old: str, new: str) -> str:
    return "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), "a/x.c", "b/x.c"))


PATCH = "Description: close it (CVE-2026-1111)\n" + diff(CODE, FIXED)


def test_a_patch_that_the_newer_series_adds_is_a_fix_wherever_it_stands(tmp_path: Path) -> None:
    kept = diff("int y;\n", "int z;\n")
    old = source(tmp_path, "1-1", CODE, {"kept.patch": kept})
    new = source(tmp_path, "1-2", FIXED, {"fix.patch": PATCH, "kept.patch": kept}, "fix CVE-2026-1111")
    found = plan(old, new)
    assert [(f.name, f.cves) for f in found.patches] == [("fix.patch", ("CVE-2026-1111",))]
    assert (found.rest, found.cves, found.candidates) == ((), ("CVE-2026-1111",), {})


def test_what_differs_beside_the_series_is_single_changes_that_may_close_what_no_patch_names(tmp_path: Path) -> None:
    both = FIXED.replace("a - 1", "a - 2")
    old = source(tmp_path, "1-1", CODE, {})
    new = source(tmp_path, "2-1", both, {}, "new upstream version, fixes CVE-2026-2222")
    found = plan(old, new)
    assert found.patches == () and len(found.rest) == 2
    assert found.candidates == {"CVE-2026-2222": tuple(f.name for f in found.rest)}


def test_what_another_version_shows_to_be_for_a_cve_is_a_fix_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = FIXED.replace("a - 1", "a - 2")
    old = source(tmp_path, "1-1", CODE, {})
    new = source(tmp_path, "2-1", both, {}, "fixes CVE-2026-1111 and CVE-2026-2222")
    asked: list[str] = []

    def known(cves: Collection[str]) -> list[Witness]:
        asked.extend(cves)
        return [Witness("CVE-2026-1111", "0-1", (parse(PATCH, "fix.patch"),))]

    found = plan(old, new, (), known)
    assert asked == ["CVE-2026-1111", "CVE-2026-2222"] and "1 that other releases' patches" in found.text
    assert [f.cves for f in found.fixes] == [("CVE-2026-1111",), ()] and "a + 2" in found.fixes[0].text
    assert found.candidates == {"CVE-2026-2222": (found.rest[0].name,)}
    monkeypatch.setattr("suture.source.plan.MOST_SINGLE", 0)
    assert found.fixes == found.shown and found.candidates == {"CVE-2026-2222": ()}


def test_a_patch_that_was_only_renamed_brings_nothing(tmp_path: Path) -> None:
    old = source(tmp_path, "1-1", FIXED, {"a.patch": PATCH})
    new = source(tmp_path, "1-2", FIXED.replace("a - 1", "a - 2"), {"b.patch": PATCH})
    found = plan(old, new)
    assert found.patches == () and len(found.rest) == 1


def test_a_patch_that_was_rewritten_brings_what_is_new_in_it(tmp_path: Path) -> None:
    whole = FIXED.replace("a - 1", "a - 2")
    old = source(tmp_path, "1-1", FIXED, {"a.patch": PATCH})
    new = source(tmp_path, "1-2", whole, {"a.patch": diff(CODE, whole)})
    found = plan(old, new)
    assert found.patches == () and "-  return a - 1;" in found.rest[0].files[0].text


def test_nothing_that_differs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused):
        plan(source(tmp_path, "1-1", CODE, {}), source(tmp_path, "1-2", CODE, {}))


def test_a_patch_that_applies_with_fuzz_is_a_fix_with_its_cves_that_applies_exactly(tmp_path: Path) -> None:
    elsewhere = CODE.replace("int first(int a)\n", "int first(int a) /* newer */\n")
    patch = "Description: close it (CVE-2026-1111)\n" + diff(elsewhere, elsewhere.replace("a + 1", "a + 2"))
    old = source(tmp_path, "1-1", CODE, {})
    new = source(tmp_path, "1-2", elsewhere.replace("a + 1", "a + 2"), {"fix.patch": patch}, "fix CVE-2026-1111")
    found = plan(old, new)
    assert [(f.name, f.cves) for f in found.patches] == [("fix.patch", ("CVE-2026-1111",))]
    assert "/* newer */" not in found.patches[0].text and found.candidates == {}


def test_a_patch_that_the_tree_has_in_another_form_is_not_applied_a_second_time_with_fuzz(tmp_path: Path) -> None:
    lines = ["int f;\n", "int g;\n", "a();\n", "a();\n", "int h;\n", "int i;\n"]
    there = "".join([*lines[:3], "b(1);\n", "a();\n", *lines[3:]])
    patch = diff("".join(lines), "".join([*lines[:3], "b();\n", *lines[3:]]))
    old = source(tmp_path, "1-1", there, {})
    new = source(tmp_path, "1-2", there + "\nint z;\n", {"fix.patch": patch})
    found = plan(old, new)
    assert found.patches == () and len(found.rest) == 1


def test_a_cve_that_only_others_say_is_fixed_may_be_any_of_the_rest(tmp_path: Path) -> None:
    old, new = source(tmp_path, "1-1", CODE, {}), source(tmp_path, "2-1", FIXED, {})
    assert plan(old, new, ["CVE-2026-3333"]).candidates.keys() == {"CVE-2026-3333"}


def test_a_cve_that_no_patch_claims_may_be_any_that_claims_none_or_that_names_it(tmp_path: Path) -> None:
    third = FIXED + "int third;\n"
    patches = {
        "CVE-2026-1111.patch": PATCH,
        "quiet.patch": diff(FIXED, third),
        "like.patch": "Description: harden against CVE-2026-2222\n" + diff(third, third + "int fourth;\n"),
    }
    old = source(tmp_path, "1-1", CODE, {})
    new = source(tmp_path, "1-2", third + "int fourth;\n", patches, "fix CVE-2026-1111, CVE-2026-2222, CVE-2026-3333")
    found = plan(old, new)
    assert found.candidates == {c: ("quiet.patch", "like.patch") for c in ("CVE-2026-2222", "CVE-2026-3333")}


def test_a_cve_that_the_older_changelog_names_was_closed_before(tmp_path: Path) -> None:
    old = source(tmp_path, "1-1", CODE, {}, "fix CVE-2026-1111")
    new = source(tmp_path, "1-2", FIXED, {}, "fix the test of CVE-2026-1111; fix CVE-2026-2222")
    assert plan(old, new).cves == ("CVE-2026-2222",)


def test_files_that_neither_differ_nor_are_patched_are_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = source(tmp_path, "1-1", CODE, {}), source(tmp_path, "1-2", FIXED, {"fix.patch": PATCH})
    for tree in (old.tree, new.tree):
        (tree / "other.c").write_text("int same;\n")
    held: list[str] = []
    copy = shutil.copyfile

    def noted(source: Path, target: Path, **more: bool) -> Path:
        held.append(source.name)
        return copy(source, target, **more)

    monkeypatch.setattr(shutil, "copyfile", noted)
    assert [f.name for f in plan(old, new).fixes] == ["fix.patch"]
    assert held == ["x.c", "x.c"]


def test_a_patch_of_a_file_that_does_not_differ_is_read_from_the_whole_tree(tmp_path: Path) -> None:
    back = diff(FIXED, CODE)
    old, new = (
        source(tmp_path, "1-1", CODE, {}),
        source(tmp_path, "1-2", CODE, {"fix.patch": PATCH, "back.patch": back}),
    )
    assert [f.name for f in plan(old, new).fixes] == ["fix.patch", "back.patch"]
