"""patch(1) as a second opinion, and differences that it takes."""

from __future__ import annotations

from pathlib import Path

from suture.els.patching import difference, patched
from suture.source.patch_command import apply_patch

BASE = "".join(f"line {n}\n" for n in range(12))
THEIRS = BASE.replace("line 6\n", "line six\n")


def test_a_difference_applies_at_another_place_and_not_to_other_context() -> None:
    assert patched(BASE, "new\n" * 5 + BASE, THEIRS, fuzz=0) == "new\n" * 5 + THEIRS
    other = BASE.replace("line 4\n", "another\n")
    assert patched(BASE, other, THEIRS, fuzz=0) is None
    assert patched(BASE, other, THEIRS, fuzz=2) == other.replace("line 6\n", "line six\n")


def test_a_text_without_a_line_end_and_bytes_of_no_encoding_go_through() -> None:
    old, new = BASE + "caf\udce9", BASE.replace("line 2", "two") + "caf\udce9"
    assert patched(old, old, new, fuzz=0) == new


def test_a_new_file_is_made_of_nothing_and_one_that_is_emptied_becomes_nothing(tmp_path: Path) -> None:
    text = difference("a.c", "", "x\n", creates=True)
    assert text.startswith("--- /dev/null")
    apply_patch(tmp_path, text)
    assert (tmp_path / "a.c").read_text() == "x\n"
    assert patched("x\n", "x\n", "", fuzz=0) in ("", None)
