"""patch(1) on files of a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.command import CommandFailed
from suture.source.patch_command import apply_patch

OLD = "".join(f"line {n}\n" for n in range(9))
DIFF = """\
--- a/x.c
+++ b/x.c
@@ -2,7 +2,7 @@
 line 1
 line 2
 line 3
-line 4
+line four
 line 5
 line 6
 line 7
"""


def test_a_difference_is_made_and_taken_back_and_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    place = tmp_path / "x.c"
    place.write_text(OLD)
    apply_patch(tmp_path, DIFF, dry_run=True)
    assert place.read_text() == OLD
    apply_patch(tmp_path, DIFF)
    assert place.read_text() == OLD.replace("line 4", "line four")
    apply_patch(tmp_path, DIFF, reverse=True)
    assert place.read_text() == OLD


def test_context_that_differs_needs_fuzz_and_a_failure_leaves_no_files(tmp_path: Path) -> None:
    place = tmp_path / "x.c"
    place.write_text(OLD.replace("line 1", "another"))
    with pytest.raises(CommandFailed):
        apply_patch(tmp_path, DIFF)
    assert [p.name for p in tmp_path.iterdir()] == ["x.c"]
    apply_patch(tmp_path, DIFF, fuzz=2)
    assert "line four" in place.read_text()
