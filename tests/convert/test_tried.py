"""Changes that were tried are there after a kill, and go with the conversion."""

from __future__ import annotations

from pathlib import Path

from suture.convert.result import ConvertOutcome, FixResult
from suture.convert.tried import TriedChange, TriedChanges
from suture.source.fix import parse

FIX = parse("--- a/x.c\n+++ b/x.c\n@@ -1 +1 @@\n-a\n+b\n", "x")
TRIED = TriedChange(FixResult("x", (), ConvertOutcome.LIVE, {"image": ("vmlinux:f",)}, (), ("look",)), ("y",))


def test_what_was_tried_is_read_back_as_it_was(tmp_path: Path) -> None:
    TriedChanges.open(tmp_path).add(FIX, TRIED)
    again = TriedChanges.open(tmp_path)
    assert again.get(FIX) == TRIED
    assert again.get(parse(FIX.text.replace("+b", "+c"), "x")) is None, "another text is another change"
    again.close()
    assert TriedChanges.open(tmp_path).get(FIX) is None and not list(tmp_path.iterdir())
