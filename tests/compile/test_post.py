"""A fix over a tree: applied exactly, or refused by file and hunk."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.compile.post import apply, layer
from suture.error import Refused
from suture.source.fix import Fix, parse

LINES = [f"line {n}" for n in range(1, 21)]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SUTURE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "files/lib").mkdir(parents=True)
    (tmp_path / "files/lib/x.c").write_text("\n".join(LINES) + "\n")
    return tmp_path / "files"


def patch(at: int, old: str, new: str, path: str = "lib/x.c") -> str:
    n = int(old.split()[1])
    before, after = f" line {n - 1}\n", f" line {n + 1}\n"
    return f"--- a/{path}\n+++ b/{path}\n@@ -{at},3 +{at},3 @@\n{before}-{old}\n+{new}\n{after}"


def over(files: Path, text: str) -> Path:
    return layer("key", files, "/build/x", parse(text, "fix"), lambda p: (p,)) / "build/x"


def test_a_fix_becomes_a_layer_and_the_tree_stays_as_it_is(files: Path) -> None:
    made = over(files, patch(4, "line 5", "fixed"))
    assert (made / "lib/x.c").read_text().splitlines()[4] == "fixed"
    assert (files / "lib/x.c").read_text().splitlines() == LINES


def test_a_link_of_the_source_does_not_lead_a_fix_out_of_it(files: Path, tmp_path: Path) -> None:
    """As the unpacked source lies before it is configured anew, links and all."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.c").write_text((files / "lib/x.c").read_text())
    (files / "out").symlink_to(outside)
    with pytest.raises(Refused, match="leads out of the source"):
        apply(parse(patch(4, "line 5", "fixed", "out/x.c"), "fix").files[0], files, files, "out/x.c", "fix")
    assert "fixed" not in (outside / "x.c").read_text()


def test_an_offset_is_allowed(files: Path) -> None:
    assert "fixed" in (over(files, patch(11, "line 5", "fixed")) / "lib/x.c").read_text()


def test_fuzz_is_refused_with_file_and_hunk(files: Path) -> None:
    good = patch(4, "line 5", "fixed")
    bad = "@@ -14,3 +14,3 @@\n line 14\n-line 15\n+other\n no such context\n"
    with pytest.raises(Refused) as raised:
        over(files, good + bad)
    assert "lib/x.c: hunk 2 (@@ -14,3 +14,3 @@)" in raised.value.what
    assert not list((files.parent / "cache/post").glob("[!.]*"))


def test_a_fix_that_is_already_there_is_refused(files: Path) -> None:
    (files / "lib/x.c").write_text("\n".join(LINES).replace("line 5\n", "fixed\n") + "\n")
    with pytest.raises(Refused, match=r"lib/x\.c: the source has the change already") as raised:
        over(files, patch(4, "line 5", "fixed"))
    assert "nothing to do" in raised.value.remedy


def test_a_fix_that_is_there_in_part_is_refused_by_the_hunk_that_does_not_apply(files: Path) -> None:
    (files / "lib/x.c").write_text("\n".join(LINES).replace("line 5\n", "fixed\n") + "\n")
    second = "".join(patch(14, "line 15", "fixed too").splitlines(True)[2:])
    with pytest.raises(Refused, match=r"hunk 1 \(@@ -4,3 \+4,3 @@\) does not apply"):
        over(files, patch(4, "line 5", "fixed") + second)


def test_a_missing_file_is_refused(files: Path) -> None:
    with pytest.raises(Refused, match="no such file"):
        over(files, patch(4, "line 5", "fixed", "lib/y.c"))


def test_a_new_file_is_created_and_two_patches_of_one_file_follow_each_other(files: Path) -> None:
    text = (
        patch(4, "line 5", "fixed")
        + patch(14, "line 15", "too")
        + "--- /dev/null\n+++ b/lib/new.h\n@@ -0,0 +1 @@\n+new\n"
    )
    made = over(files, text)
    assert (made / "lib/new.h").read_text() == "new\n"
    assert {"fixed", "too"} <= set((made / "lib/x.c").read_text().splitlines())


def test_a_copied_source_is_patched_where_it_is_compiled(files: Path) -> None:
    (files / "built").mkdir()
    (files / "built/x.c").write_text((files / "lib/x.c").read_text())
    fix: Fix = parse(patch(4, "line 5", "fixed"), "fix")
    made = layer("key", files, "/build/x", fix, lambda p: (p.replace("lib/", "built/"),))
    assert "fixed" in (made / "build/x/built/x.c").read_text()


def test_a_fix_reaches_the_copies_of_a_file(files: Path) -> None:
    (files / "copy").mkdir()
    (files / "copy/x.c").write_text((files / "lib/x.c").read_text())
    fix = parse(patch(4, "line 5", "fixed"), "fix")
    made = layer("key", files, "/build/x", fix, lambda p: (p, "copy/x.c")) / "build/x"
    assert all((made / p).read_text().splitlines()[4] == "fixed" for p in ("lib/x.c", "copy/x.c"))
