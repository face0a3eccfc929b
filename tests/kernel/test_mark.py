"""The mark of the boot in which a kernel patch is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from suture.kernel import mark


def test_a_mark_tells_this_boot_from_an_earlier_one_until_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch = tmp_path / "kernel" / "one.ko"
    assert not mark.died(patch) and not mark.is_loading(patch)
    mark.begin(patch)
    assert mark.is_loading(patch) and not mark.died(patch)
    (tmp_path / "boot_id").write_text("another\n")
    monkeypatch.setattr(mark, "_BOOT_ID", tmp_path / "boot_id")
    assert mark.died(patch) and not mark.is_loading(patch)
    mark.begin(patch)
    assert mark.is_loading(patch) and not mark.died(patch)
    mark.drop(patch)
    mark.drop(patch)
    assert not mark.died(patch) and not mark.is_loading(patch) and list(patch.parent.iterdir()) == []
